"""Images of other regions: what comes along is held to what the caller may have, and nothing waits for ever."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from backends.memory import MemoryStore
from harness.given_images import LIMITS
from harness.given_stores import given
from harness.web_imports import WebOrigin, web_origin
from registry.db.database import Database
from registry.db.images import get_image
from registry.db.jobs import claim_job, due_jobs
from registry.db.tasks import image_tasks
from registry.domain.identity import Identity
from registry.domain.image import Image
from registry.domain.importing import GLANCE, LOCK
from registry.domain.notices import Payload, Priority
from registry.domain.protection import Use
from registry.domain.status import Status
from registry.domain.task import Task
from registry.domain.validation import ImageValidator
from registry.fetching.filtering import UriFilter
from registry.fetching.options import FilterSettings
from registry.imports import glances
from registry.imports.building import Importing, Parts, open_importing
from registry.imports.kinds import KINDS
from registry.imports.options import ImportSettings
from registry.imports.requests import Caller
from registry.inspection.options import InspectionSettings
from registry.plugins.options import PluginSettings
from registry.plugins.plugins import Plugins
from registry.quotas.quotas import Quotas
from registry.service import reading
from registry.service.checks import Checks
from registry.service.clock import utc_now
from registry.service.digests import Hashing
from registry.service.discards import Discards
from registry.service.downloads import Downloads
from registry.service.images import Images
from registry.service.leases import Leases
from registry.service.leftovers import Leftovers
from registry.service.stores import Stores

DATA = b"theirs" * 1000
REMOTE = "6b7b8d0e-1d3b-4b5c-9d2b-0a5d3a1f2c4e"
SIGNED = {
    "img_signature": "AAAA",
    "img_signature_hash_method": "SHA-256",
    "img_signature_key_type": "RSA-PSS",
    "img_signature_certificate_uuid": "8b7b8d0e-1d3b-4b5c-9d2b-0a5d3a1f2c4e",
}


@dataclass(frozen=True, slots=True)
class Only:
    """Lets everybody read everything, and make and change what matches."""

    create: str = ""
    update: str = ""

    def allow(self, use: Use, name: str, identity: Identity) -> bool:
        del identity
        pattern = {"create": self.create, "update": self.update}.get(use, ".*")
        return re.fullmatch(pattern, name) is not None


async def _at_once() -> None:
    """Nothing is waited for."""


class Region:
    """A Glance of another region and the Keystone that knows it, on one port."""

    def __init__(self, origin: WebOrigin) -> None:
        self.url = origin.uri("")
        self.properties: dict[str, str] = {}
        self.asked = origin.asked
        self.answer: bytes | None = None  # in place of the record
        self.before_record: Callable[[], Awaitable[object]] = _at_once
        self.before_data: Callable[[], Awaitable[object]] = _at_once
        endpoint = {"region": "there", "interface": "public", "url": self.url}
        catalog = {"catalog": [{"type": "image", "endpoints": [endpoint]}]}
        origin.answers["/v3/auth/catalog"] = lambda _: web.json_response(catalog)
        origin.answers[f"/v2/images/{REMOTE}"] = self._answer
        origin.answers[f"/v2/images/{REMOTE}/file"] = self._data

    def record(self) -> bytes:
        known = {"disk_format": "raw", "container_format": "bare", "size": len(DATA)}
        return json.dumps({"status": "active", **known, **self.properties}).encode()

    async def _answer(self, _: web.BaseRequest) -> web.Response:
        await self.before_record()
        return web.Response(body=self.record() if self.answer is None else self.answer)

    async def _data(self, _: web.BaseRequest) -> web.Response:
        await self.before_data()
        return web.Response(body=DATA)

    @property
    def gave_data(self) -> bool:
        return f"/v2/images/{REMOTE}/file" in self.asked


class Imported:
    """One image, and its import by a caller."""

    def __init__(self, database: Database, images: Images, store: MemoryStore) -> None:
        self.database = database
        self.images = images
        self.store = store
        self.caller = Caller(Identity("p1", "u1", is_admin=False), "req-1", "token")
        self.image_id = ""

    def held_to(self, may: Only) -> None:
        identity = replace(self.caller.identity, protections=may)
        self.caller = replace(self.caller, identity=identity)

    async def run(self, importing: Importing, **described: str) -> Image:
        """Import it; return what it is then."""
        body = {"disk_format": "iso", "container_format": "bare", **described}
        self.image_id = str((await self.images.create(self.caller.identity, body))["id"])
        method = {"name": GLANCE, "glance_region": "there", "glance_image_id": REMOTE}
        asked = {"method": method}
        await importing.requests.request(self.caller, self.image_id, asked, None)
        (due,) = await self.database.ask(due_jobs, dict.fromkeys(KINDS, 9), "here")
        job = await self.database.change(claim_job, due, 60.0)
        assert job is not None
        await importing.handlers[job.kind](job)
        image = await self.database.query(get_image, self.image_id)
        assert image is not None
        assert LOCK not in image.properties
        return image

    async def task(self) -> Task:
        (task,) = await self.database.query(image_tasks, self.image_id, utc_now())
        return task


@pytest.fixture
async def region() -> AsyncIterator[Region]:
    async with web_origin() as origin:
        yield Region(origin)


@pytest.fixture
def imported(database: Database, images: Images, store: MemoryStore) -> Imported:
    return Imported(database, images, store)


class Heard:
    """What others are told of: of tasks, and of images."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []
        self.images: list[str] = []

    def emit(self, event: str, payload: Payload, priority: Priority = "info") -> None:
        if event.startswith("image."):
            self.images.append(f"{event}: {priority}")
            return
        assert priority == "info"
        assert isinstance(payload, dict)
        self.events.append((event, payload))


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def opened(  # what it is made of
    *,
    heard: Heard,
    database: Database,
    hashing: Hashing,
    checks: Checks,
    validator: ImageValidator,
    downloads: Downloads,
    region: Region,
    store: MemoryStore,
    tmp_path: Path,
) -> Any:
    """Return what opens imports with certain limits and options."""
    stores: Stores = given({"memory": store})

    @asynccontextmanager
    async def opening(
        plugins: PluginSettings = PluginSettings(),  # noqa: B008  # frozen
        properties: tuple[str, ...] = ("hw_", "img_"),
        **limits: int,
    ) -> AsyncIterator[Importing]:
        held = replace(LIMITS, **limits)
        parts = Parts(
            lease_seconds=60,
            database=database,
            stores=stores,
            discards=Discards(database, stores),
            downloads=downloads,
            limits=held,
            hashing=hashing,
            leftovers=Leftovers(database, stores, Leases(database, 60)),
            checks=checks,
            uri_filter=UriFilter(FilterSettings(allowed_hosts=("127.0.0.1",), allowed_ports=())),
            validator=validator,
            plugins=Plugins(plugins, InspectionSettings(), held.image_size_cap),
            keystone=region.url,
            quotas=Quotas(database),
            notifier=heard,
        )
        settings = ImportSettings(
            methods=(GLANCE,), staging_directory=tmp_path, properties=properties, host="here"
        )
        async with open_importing(settings, parts) as importing:
            yield importing

    return opening


async def assert_nothing_came(imported: Imported, region: Region, image: Image) -> None:
    assert (image.status, image.size, image.locations) == (Status.QUEUED, None, ())
    assert image.disk_format == "iso"
    assert not [name for name in image.properties if name.startswith(("hw_", "img_"))]
    assert (await imported.task()).status == "failure"
    assert not imported.store.names
    assert not region.gave_data


async def test_what_a_caller_may_have_comes_along(
    imported: Imported, region: Region, opened: Any
) -> None:
    region.properties = {"hw_disk_bus": "scsi", "hw_new": "yes", "os_version": "13"}
    may = Only(create="hw_disk_bus|hw_new", update="hw_disk_bus")
    imported.held_to(may)
    async with opened() as importing:
        image = await imported.run(importing, hw_disk_bus="ide")
    assert (image.status, image.size) == (Status.ACTIVE, len(DATA))
    assert image.properties["hw_disk_bus"] == "scsi"
    assert image.properties["hw_new"] == "yes"
    assert "os_version" not in image.properties


@pytest.mark.parametrize(
    "may", [Only(), Only(create="hw_kept"), Only(create="hw_kept", update="hw_x")]
)
async def test_protected_properties_do_not_come_along(
    imported: Imported, region: Region, opened: Any, may: Only
) -> None:
    region.properties = {"hw_secret": "yes"}
    imported.held_to(may)
    async with opened() as importing:
        image = await imported.run(importing)
    await assert_nothing_came(imported, region, image)
    assert (await imported.task()).message == "Attribute 'hw_secret' is reserved."


async def test_more_properties_than_the_quota_do_not_come_along(
    imported: Imported, region: Region, opened: Any
) -> None:
    region.properties = {"hw_one": "1", "hw_two": "2"}
    async with opened(image_property_quota=1) as importing:
        image = await imported.run(importing)
        await assert_nothing_came(imported, region, image)
    async with opened(image_property_quota=2) as importing:
        assert (await imported.run(importing)).status is Status.ACTIVE


PLUGIN = PluginSettings(plugins=("inject_image_metadata",), inject={"hw_by": "operator"})


async def test_what_the_operator_adds_is_not_held_to_the_callers_rights(
    imported: Imported, opened: Any
) -> None:
    imported.held_to(Only())
    async with opened(PLUGIN, image_property_quota=1) as importing:
        assert (await imported.run(importing)).properties["hw_by"] == "operator"


async def test_what_the_operator_adds_counts_too(
    imported: Imported, region: Region, opened: Any
) -> None:
    region.properties = {"hw_one": "1"}
    async with opened(PLUGIN, image_property_quota=1) as importing:
        await assert_nothing_came(imported, region, await imported.run(importing))


async def test_a_quota_that_is_reached_meanwhile(
    imported: Imported, region: Region, opened: Any
) -> None:
    """The import ends, and takes along what it had written."""
    region.properties = {"hw_one": "1"}

    async def filled() -> None:
        change = [{"op": "add", "path": "/own", "value": "x"}]
        media_type = "application/openstack-images-v2.1-json-patch"
        await imported.images.patch(imported.caller.identity, imported.image_id, media_type, change)

    region.before_data = filled
    async with opened(image_property_quota=1) as importing:
        image = await imported.run(importing)
    assert (image.status, image.locations) == (Status.QUEUED, ())
    assert image.properties["own"] == "x"
    assert "hw_one" not in image.properties
    assert not imported.store.names
    assert (await imported.task()).status == "failure"


async def test_a_signature_that_comes_along_is_verified(
    imported: Imported, region: Region, opened: Any
) -> None:
    region.properties = SIGNED
    async with opened() as importing:
        image = await imported.run(importing)
    assert (image.status, image.locations) == (Status.QUEUED, ())
    assert not imported.store.names
    assert (await imported.task()).status == "failure"


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"7",
        b"{",
        b'{"status": "active"}',
        b'{"status": 1}',
        b'{"status": "active", "size": 1, "disk_format": 5}',
    ],
)
async def test_a_record_that_is_none(
    imported: Imported, region: Region, opened: Any, body: bytes
) -> None:
    region.answer = body
    async with opened() as importing:
        image = await imported.run(importing)
    await assert_nothing_came(imported, region, image)


async def test_a_record_that_never_ends(
    imported: Imported, region: Region, opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glances, "ASK_SECONDS", 0.2)
    let = asyncio.Event()
    region.before_record = let.wait
    async with opened() as importing:
        image = await imported.run(importing)
    let.set()
    await assert_nothing_came(imported, region, image)


async def test_data_that_never_ends(
    imported: Imported, region: Region, opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "PATIENCE_SECONDS", 0.2)
    let = asyncio.Event()
    region.before_data = let.wait
    async with opened() as importing:
        image = await imported.run(importing)
    let.set()
    assert (image.status, image.locations) == (Status.QUEUED, ())
    assert "less than" in (await imported.task()).message


@pytest.mark.parametrize(("end", "more"), [("success", ["run"]), ("failure", [])])
async def test_others_are_told_how_the_task_goes(
    imported: Imported, region: Region, opened: Any, heard: Heard, end: str, more: list[str]
) -> None:
    region.properties = {"hw_secret": "1"}
    async with opened(image_property_quota=int(end == "success")) as importing:
        await imported.run(importing)
    expected = [f"task.{each}" for each in ("create", "processing", end, *more)]
    assert [event for event, _ in heard.events] == expected
    task = await imported.task()
    told = [payload for _, payload in heard.events]
    statuses = ["pending", "processing", end, *("pending" for _ in more)]
    assert [each["status"] for each in told] == statuses
    for each in told:
        assert (each["id"], each["type"], each["owner"]) == (task.id, "api_image_import", "p1")
        assert (each["message"], each["result"], each["deleted"]) == (None, None, False)
        assert "secret" not in str(each)
    steps = [
        "update",
        *["update", "prepare", "upload", "activate", "update"] * bool(more),
        "update",
    ]
    assert heard.images == [f"image.{step}: info" for step in steps]
    assert task.expires_at is not None
    assert told[2]["expires_at"] == task.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert all(each["updated_at"] == each["created_at"] for each in told[3:])


async def test_others_are_told_of_the_image_that_a_task_makes(
    imported: Imported, region: Region, opened: Any, heard: Heard
) -> None:
    told = {
        "import_from": f"{region.url}/v2/images/{REMOTE}/file",
        "import_from_format": "raw",
        "image_properties": {"disk_format": "raw", "container_format": "bare"},
    }
    caller = replace(imported.caller, identity=replace(imported.caller.identity, is_admin=True))
    async with opened() as importing:
        await importing.tasks.create(caller, {"type": "import", "input": told})
    assert heard.images == ["image.create: info"]
