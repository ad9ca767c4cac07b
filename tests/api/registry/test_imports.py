"""Staging and import over HTTP: every way, and every way to fail; nothing is left behind."""

from __future__ import annotations

import asyncio
import errno
import gzip
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import sqlalchemy as sa
from aiohttp import web

from backends.configuration import StoreSettings, StoresSettings
from backends.file.newfile import NewFile
from backends.options import DataDirectory, FilesystemOptions, HttpOptions
from harness.web_imports import WebOrigin, begin, ended
from registry.config import Settings
from registry.db.database import Database
from registry.db.tables import discards, jobs
from registry.fetching import reading as fetching
from registry.fetching.options import FilterSettings
from registry.imports import staging
from registry.imports.options import ImportSettings
from registry.plugins.options import PluginSettings
from registry.service import jobs as jobs_module
from registry.service import reading

OCTETS = {"Content-Type": "application/octet-stream"}
DATA = bytes(range(256)) * 4096
MD5 = hashlib.md5(DATA).hexdigest()
METHODS = ("glance-direct", "web-download", "copy-image", "glance-download")
MARKS = ("os_glance_import_task", "os_glance_importing_to_stores", "os_glance_failed_import")


@pytest.fixture
def stores(tmp_path: Path) -> StoresSettings:
    """Two file stores, and the web."""

    def store(name: str) -> StoreSettings:
        return StoreSettings(name, "file", FilesystemOptions((DataDirectory(tmp_path / name),)))

    more = StoreSettings("web", "http", HttpOptions())
    return StoresSettings((store("fast"), store("slow"), more), "fast", True)


@pytest.fixture
def plugins() -> PluginSettings:
    return PluginSettings()


@pytest.fixture
def settings(settings: Settings, tmp_path: Path, plugins: PluginSettings) -> Settings:
    return replace(
        settings,
        plugins=plugins,
        web=FilterSettings(allowed_hosts=("127.0.0.1",), allowed_ports=()),
        imports=ImportSettings(methods=METHODS, staging_directory=tmp_path / "staging"),
    )


@pytest.fixture
async def database(catalog: object, settings: Settings) -> AsyncIterator[Database]:
    """The catalog's own, for looks."""
    del catalog
    database = await asyncio.to_thread(Database, settings.database)
    yield database
    await database.aclose()


def moved(where: str) -> web.Response:
    return web.Response(status=302, headers={"Location": where})


@pytest.fixture
def origin(origin: WebOrigin) -> WebOrigin:
    origin.answers["/data"] = lambda _: web.Response(body=DATA)
    return origin


async def stage(client: Any, image_id: str, data: Any = DATA, **headers: str) -> Any:
    sent = {**OCTETS, **headers}
    return await client.call("PUT", f"/{image_id}/stage", data=data, headers=sent)


async def task_of(client: Any, image_id: str) -> Any:
    """Return the last task of an image."""
    answer = await client.call("GET", f"/{image_id}/tasks")
    return max(answer.json()["tasks"], key=lambda task: task["created_at"])


async def assert_nothing_waits(database: Database, tmp_path: Path) -> None:
    """See that nothing is staged any more, and nothing is owed."""

    async def owed() -> list[Any]:
        async with database.read() as connection:
            once = sa.select(jobs.c.kind).where(jobs.c.image_id.is_not(None))
            left = list((await connection.execute(once)).scalars())
            return left + list((await connection.execute(sa.select(discards.c.value))).scalars())

    async with asyncio.timeout(30):
        while await owed():
            pass
    directory = tmp_path / "staging"
    assert not directory.exists() or list(directory.iterdir()) == []


def held(tmp_path: Path, store: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (tmp_path / store).iterdir()}


async def test_staged_data_is_imported(client: Any, tmp_path: Path, database: Database) -> None:
    image_id = await client.create()
    assert (await stage(client, image_id)).status == 204
    image = await client.show(image_id)
    assert (image["status"], image["size"], image["checksum"]) == ("uploading", len(DATA), None)
    assert not set(MARKS) & image.keys()
    assert held(tmp_path, "fast") == {}
    answer = await begin(client, image_id, "glance-direct", stores=["slow", "fast"])
    assert (answer.status, answer.body) == (202, b"")
    image = await ended(client, image_id)
    assert (image["status"], image["size"], image["checksum"]) == ("active", len(DATA), MD5)
    assert image["os_hash_value"] == hashlib.sha512(DATA).hexdigest()
    assert image["os_manifest"]
    assert set(image["stores"].split(",")) == {"fast", "slow"}
    assert [image.get(mark) for mark in MARKS] == [None, "", ""]
    assert held(tmp_path, "fast") == held(tmp_path, "slow") == {image_id: DATA}
    assert (await client.download(image_id)).body == DATA
    task = await task_of(client, image_id)
    assert (task["type"], task["status"]) == ("api_image_import", "success")
    assert task["result"] == {"image_id": image_id}
    assert task["input"]["backend"] == ["slow", "fast"]
    await assert_nothing_waits(database, tmp_path)


async def test_what_the_web_has_is_imported(
    client: Any, tmp_path: Path, database: Database, origin: WebOrigin
) -> None:
    image_id = await client.create()
    origin.answers["/moved"] = lambda _: moved("/data")
    uri = origin.uri("/moved")
    answer = await begin(client, image_id, "web-download", uri=uri, all_stores=True)
    assert answer.status == 202
    image = await ended(client, image_id)
    assert (image["status"], image["checksum"], image["stores"]) == ("active", MD5, "fast,slow")
    assert origin.asked == ["/moved", "/data"]  # not once for each store
    assert held(tmp_path, "fast") == held(tmp_path, "slow") == {image_id: DATA}
    await assert_nothing_waits(database, tmp_path)


async def test_no_task_tells_the_password_of_an_address(client: Any, origin: WebOrigin) -> None:
    told: list[tuple[str | None, str]] = []

    def answer(request: web.BaseRequest) -> web.Response:
        told.append((request.headers.get("Authorization"), request.query_string))
        return web.Response(body=DATA)

    origin.answers["/signed"] = answer
    shown = origin.uri("/signed").replace("//", "//***@") + "?***"
    uri = origin.uri("/signed?X-Amz-Signature=s").replace("//", "//user:password@")
    image_id = await client.create()
    assert (await begin(client, image_id, "web-download", uri=uri)).status == 202
    assert (await ended(client, image_id))["status"] == "active"
    method = (await task_of(client, image_id))["input"]["import_req"]["method"]
    assert method == {"name": "web-download", "uri": shown}
    described = {"disk_format": "raw", "container_format": "bare"}
    asked = {"import_from": uri, "import_from_format": "raw", "image_properties": described}
    async with client.session.post("/v2/tasks", json={"type": "import", "input": asked}) as created:
        task = await created.json()
    async with asyncio.timeout(30):
        while task["status"] in {"pending", "processing"}:
            async with client.session.get(f"/v2/tasks/{task['id']}") as found:
                task = await found.json()
    assert (task["status"], task["input"]) == ("success", asked | {"import_from": shown})
    basic = aiohttp.encode_basic_auth("user", "password")
    assert told == [(basic, "X-Amz-Signature=s")] * 2  # what is done is what was asked


async def test_an_image_is_copied(client: Any, tmp_path: Path, database: Database) -> None:
    image_id = await client.add(DATA)
    answer = await begin(client, image_id, "copy-image", stores=["fast"])
    assert answer.status == 400
    assert (await begin(client, image_id, "copy-image", all_stores=True)).status == 202
    image = await ended(client, image_id)
    assert (image["status"], image["stores"]) == ("active", "fast,slow")
    assert held(tmp_path, "slow") == {image_id: DATA}
    assert (await begin(client, image_id, "copy-image", all_stores=True)).status == 202
    answer = await client.call("GET", f"/{image_id}/tasks")
    assert len(answer.json()["tasks"]) == 1  # there was nothing to do
    await assert_nothing_waits(database, tmp_path)


async def test_the_default_store_and_a_header(
    client: Any, tmp_path: Path, origin: WebOrigin
) -> None:
    for more, store in (({}, "fast"), ({"header": "slow"}, "slow")):
        image_id = await client.create()
        uri = origin.uri("/data")
        assert (await begin(client, image_id, "web-download", uri=uri, **more)).status == 202
        assert (await ended(client, image_id))["stores"] == store
        assert image_id in held(tmp_path, store)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"method": {}}, 400),
        ({"method": {"name": "by-magic"}}, 400),
        ({"method": {"name": "web-download"}}, 400),
        ({"method": {"name": "web-download", "uri": "file:///etc/passwd"}}, 400),
        ({"method": {"name": "web-download", "uri": "http://169.254.169.254/"}}, 400),
        ({"method": {"name": "web-download", "uri": "{uri}"}, "all_stores": "yes"}, 400),
        ({"method": {"name": "web-download", "uri": "{uri}"}, "stores": ["none"]}, 409),
        (
            {"method": {"name": "web-download", "uri": "{uri}"}, "stores": [], "all_stores": True},
            400,
        ),
        ({"method": {"name": "glance-direct"}}, 409),
        ({"method": {"name": "copy-image"}, "all_stores": True}, 409),
        ({"method": {"name": "glance-download"}}, 400),
        ({"method": {"name": "glance-download", "glance_region": "x"}}, 400),
        (
            {
                "method": {
                    "name": "glance-download",
                    "glance_region": "x",
                    "glance_image_id": "not one",
                }
            },
            400,
        ),
    ],
)
async def test_refusals(
    client: Any, database: Database, tmp_path: Path, body: Any, status: int
) -> None:
    image_id = await client.create()
    before = await client.show(image_id)
    answer = await client.call("POST", f"/{image_id}/import", json=body)
    assert answer.status == status, answer.text
    assert await client.show(image_id) == before
    await assert_nothing_waits(database, tmp_path)


async def test_staging_is_refused_where_it_does_not_belong(
    client: Any, database: Database, tmp_path: Path
) -> None:
    image_id = await client.add(DATA)
    assert (await stage(client, image_id)).status == 409
    text = {"Content-Type": "text/plain"}
    answer = await client.call("PUT", f"/{image_id}/stage", data=DATA, headers=text)
    assert answer.status == 415
    image_id = await client.create(disk_format=None, container_format=None)
    assert (await stage(client, image_id)).status == 204
    assert (await stage(client, image_id)).status == 409
    assert (await begin(client, image_id, "glance-direct")).status == 409  # no formats
    assert (await client.call("DELETE", f"/{image_id}")).status == 204
    await assert_nothing_waits(database, tmp_path)


async def test_staging_that_breaks_off_leaves_nothing(
    client: Any, database: Database, tmp_path: Path
) -> None:
    image_id = await client.create()
    answer = await stage(client, image_id, DATA, **{"x-openstack-image-size": "5"})
    assert answer.status == 400

    async def broken() -> AsyncIterator[bytes]:
        yield DATA
        raise RuntimeError("the client is gone")

    with pytest.raises((RuntimeError, aiohttp.ClientError)):
        await stage(client, image_id, broken())
    async with asyncio.timeout(30):
        while (await client.show(image_id))["status"] != "queued":
            pass
    await assert_nothing_waits(database, tmp_path)
    assert (await stage(client, image_id)).status == 204


async def test_a_writer_that_died_is_cleared_away(
    client: Any, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its job is due when it has been silent for too long."""
    image_id = await client.create()

    async def nothing(*_: object, **__: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(staging.Staging, "_write", nothing)
    monkeypatch.setattr(staging.Staging, "_unwind", lambda *_: asyncio.sleep(0))
    with suppress(aiohttp.ClientError):
        await stage(client, image_id)
    async with database.write() as connection:
        silent = {"due_at": datetime(1970, 1, 1)}  # noqa: DTZ001  # as all times there
        await connection.execute(jobs.update().where(jobs.c.image_id == image_id).values(silent))
    async with asyncio.timeout(30):
        while (await client.show(image_id))["status"] != "queued":
            pass
    await assert_nothing_waits(database, tmp_path)


async def test_what_processes_died_of_is_not_forgotten(
    client: Any, database: Database, tmp_path: Path
) -> None:
    image_id = await client.create()
    assert (await stage(client, image_id)).status == 204
    (file,) = (tmp_path / "staging").iterdir()
    ours = jobs.c.image_id == image_id
    often = {"attempts": jobs_module.ATTEMPTS_MAX, "due_at": datetime(1970, 1, 1)}  # noqa: DTZ001  # as all times there
    async with database.write() as connection:
        await connection.execute(jobs.update().where(ours).values(often))
    async with asyncio.timeout(30):
        while True:
            async with database.read() as connection:
                row = (await connection.execute(sa.select(jobs).where(ours))).one()
            if row.attempts == 0 or row.given_up_at:
                break
    assert (row.given_up_at, row.arguments["name"]) == (None, file.name)
    await client.call("DELETE", f"/{image_id}")
    await assert_nothing_waits(database, tmp_path)


def short(_: web.BaseRequest) -> web.StreamResponse:
    """Promise more than there is."""
    response = web.StreamResponse(headers={"Content-Length": str(len(DATA) + 1)})

    async def send(request: web.BaseRequest) -> web.StreamResponse:
        await response.prepare(request)
        await response.write(DATA)
        assert request.transport is not None
        request.transport.close()
        return response

    return send(_)  # type: ignore[return-value]  # awaited by the origin


BAD: dict[str, Callable[[web.BaseRequest], Any]] = {
    "/short": short,
    "/missing": lambda _: web.Response(status=404),
    "/down": lambda _: web.Response(status=503),
    "/circle": lambda _: moved("/circle"),
    "/inside": lambda _: moved("http://169.254.169.254/latest"),
    "/file": lambda _: moved("file:///etc/passwd"),
    "/nowhere": lambda _: moved("http://127.0.0.1:1/"),
}


@pytest.mark.parametrize("path", BAD)
async def test_a_source_that_fails_leaves_nothing(
    client: Any, database: Database, tmp_path: Path, origin: WebOrigin, path: str
) -> None:
    origin.answers |= BAD
    image_id = await client.create()
    uri = origin.uri(path)
    more = {"stores": ["fast", "slow"], "all_stores_must_succeed": False}
    assert (await begin(client, image_id, "web-download", uri=uri, **more)).status == 202
    image = await ended(client, image_id)
    assert (image["status"], image["size"], image["checksum"]) == ("queued", None, None)
    assert [image.get(mark) for mark in MARKS] == [None, "", "fast,slow"]
    task = await task_of(client, image_id)
    assert task["status"] == "failure"
    # Nor is it told why nobody answers: it would say what listens where only the catalog gets.
    assert task["message"]
    assert "Error" not in task["message"]
    assert held(tmp_path, "fast") == held(tmp_path, "slow") == {}
    await assert_nothing_waits(database, tmp_path)
    origin.answers[path] = origin.answers["/data"]
    assert (await begin(client, image_id, "web-download", uri=uri)).status == 202
    image = await ended(client, image_id)
    assert (image["status"], image["os_glance_failed_import"]) == ("active", "slow")


async def test_a_store_that_fails_takes_the_others_along(
    client: Any, database: Database, tmp_path: Path, origin: WebOrigin
) -> None:
    """The web is read only."""
    image_id = await client.create()
    more = {"uri": origin.uri("/data"), "stores": ["fast", "web", "slow"]}
    assert (await begin(client, image_id, "web-download", **more)).status == 202
    image = await ended(client, image_id)
    assert (image["status"], image["checksum"], image["os_manifest"]) == ("queued", None, None)
    assert image["os_glance_failed_import"] == "web"
    await assert_nothing_waits(database, tmp_path)
    assert held(tmp_path, "fast") == held(tmp_path, "slow") == {}


async def test_a_store_that_fails_can_be_done_without(
    client: Any, database: Database, tmp_path: Path, origin: WebOrigin
) -> None:
    image_id = await client.create()
    more = {"uri": origin.uri("/data"), "stores": ["web", "fast", "slow"]}
    answer = await begin(client, image_id, "web-download", all_stores_must_succeed=False, **more)
    assert answer.status == 202
    image = await ended(client, image_id)
    assert (image["status"], image["stores"]) == ("active", "fast,slow")
    assert [image.get(mark) for mark in MARKS] == [None, "", "web"]
    await assert_nothing_waits(database, tmp_path)


async def test_a_copy_that_fails_leaves_the_image_as_it_was(
    client: Any, database: Database, tmp_path: Path
) -> None:
    image_id = await client.add(DATA)
    answer = await begin(client, image_id, "copy-image", stores=["slow", "web"])
    assert answer.status == 202
    image = await ended(client, image_id)
    assert (image["status"], image["checksum"], image["stores"]) == ("active", MD5, "fast")
    assert image["os_glance_failed_import"] == "web"
    await assert_nothing_waits(database, tmp_path)
    assert held(tmp_path, "slow") == {}
    assert (await client.download(image_id)).body == DATA


async def test_data_of_another_format_is_refused(
    client: Any, database: Database, tmp_path: Path
) -> None:
    image_id = await client.create(disk_format="qcow2")
    assert (await stage(client, image_id)).status == 204
    assert (await begin(client, image_id, "glance-direct")).status == 202
    assert (await ended(client, image_id))["status"] == "queued"
    assert (await task_of(client, image_id))["status"] == "failure"
    await assert_nothing_waits(database, tmp_path)


@dataclass
class Hanging:
    """An answer whose last byte does not come before it is let."""

    begun: asyncio.Event = field(default_factory=asyncio.Event)
    let: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(DATA))})
        await response.prepare(request)
        await response.write(DATA[:-1])
        self.begun.set()
        await self.let.wait()
        with suppress(ConnectionError):
            await response.write(DATA[-1:])
        return response


async def test_a_source_that_hardly_sends_does_not_hold_its_slot(
    client: Any, database: Database, origin: WebOrigin, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(reading, "PATIENCE_SECONDS", 0.5)
    origin.answers["/hanging"] = hanging = Hanging()
    image_id = await client.create()
    uri = origin.uri("/hanging")
    assert (await begin(client, image_id, "web-download", uri=uri)).status == 202
    assert (await ended(client, image_id))["status"] == "queued"
    assert "less than" in (await task_of(client, image_id))["message"]
    hanging.let.set()
    await assert_nothing_waits(database, tmp_path)


async def test_what_comes_from_the_web_holds_nothing_else_up(
    client: Any, origin: WebOrigin, monkeypatch: Any
) -> None:
    monkeypatch.setattr(jobs_module, "AT_ONCE", 1)
    origin.answers["/hanging"] = hanging = Hanging()
    slow, staged = await client.create(), await client.create()
    uri = origin.uri("/hanging")
    assert (await begin(client, slow, "web-download", uri=uri)).status == 202
    await hanging.begun.wait()
    assert (await stage(client, staged)).status == 204
    assert (await begin(client, staged, "glance-direct")).status == 202
    assert (await ended(client, staged))["status"] == "active"
    assert "os_glance_import_task" in await client.show(slow)
    hanging.let.set()
    assert (await ended(client, slow))["status"] == "active"


async def test_an_image_that_is_deleted_meanwhile(
    client: Any, database: Database, tmp_path: Path, origin: WebOrigin
) -> None:
    begun, let = asyncio.Event(), asyncio.Event()

    async def slowly(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(DATA))})
        await response.prepare(request)
        await response.write(DATA[:100])
        begun.set()
        await let.wait()
        await response.write(DATA[100:])
        return response

    origin.answers["/slow"] = slowly
    image_id = await client.create()
    uri = origin.uri("/slow")
    assert (await begin(client, image_id, "web-download", uri=uri)).status == 202
    await begun.wait()
    image = await client.show(image_id)
    assert (image["status"], image["os_glance_importing_to_stores"]) == ("importing", "fast")
    assert (await begin(client, image_id, "web-download", uri=uri)).status == 409
    assert (await client.call("DELETE", f"/{image_id}")).status == 204
    let.set()
    await assert_nothing_waits(database, tmp_path)
    assert held(tmp_path, "fast") == {}


async def test_an_image_that_is_deleted_while_it_is_staged(
    client: Any, database: Database, tmp_path: Path
) -> None:
    """Its job finds nothing yet: the writer takes away what it makes known later."""
    let = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield DATA
        await let.wait()

    image_id = await client.create()
    staging = asyncio.create_task(stage(client, image_id, body()))
    async with asyncio.timeout(30):
        while (await client.show(image_id))["status"] != "uploading":
            pass
    assert (await client.call("DELETE", f"/{image_id}")).status == 204
    await assert_nothing_waits(database, tmp_path)
    let.set()
    assert (await staging).status == 410
    await assert_nothing_waits(database, tmp_path)


async def test_tasks(client: Any, origin: WebOrigin) -> None:
    image_id = await client.create()
    await begin(client, image_id, "web-download", uri=origin.uri("/data"))
    await ended(client, image_id)
    task = await task_of(client, image_id)
    async with client.session.get(f"/v2/tasks/{task['id']}") as answer:
        shown = await answer.json()
    assert (shown["id"], shown["status"], shown["self"]) == (
        *(task["id"], "success"),
        f"/v2/tasks/{task['id']}",
    )
    async with client.session.get("/v2/tasks?limit=1&status=success") as answer:
        page = await answer.json()
    assert [each["id"] for each in page["tasks"]] == [task["id"]]
    assert page["next"] == f"/v2/tasks?limit=1&status=success&marker={task['id']}"
    async with client.session.get(page["next"]) as answer:
        assert (await answer.json())["tasks"] == []
    for query in ("status=x", "type=x", "sort_dir=x", "limit=x", "limit=-1", "marker=x"):
        async with client.session.get(f"/v2/tasks?{query}") as answer:
            assert answer.status == 400, query
    async with client.session.get(f"/v2/tasks/{image_id}") as answer:
        assert answer.status == 404
    async with client.session.delete(f"/v2/tasks/{task['id']}") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET")


@pytest.mark.parametrize(
    "plugins",
    [
        PluginSettings(
            plugins=("inject_image_metadata", "image_decompression"),
            inject={"os_distro": "ours"},
            ignore_user_roles=frozenset(),
        )
    ],
    ids=["decompression"],
)
@pytest.mark.parametrize("method", ["glance-direct", "web-download"])
async def test_what_plugins_make_of_the_data_is_stored(
    client: Any, database: Database, tmp_path: Path, origin: WebOrigin, method: str
) -> None:
    packed = gzip.compress(DATA)
    origin.answers["/packed"] = lambda _: web.Response(body=packed)
    image_id = await client.create()
    more: dict[str, Any] = {"stores": ["slow", "fast"]}
    if method == "glance-direct":
        assert (await stage(client, image_id, packed)).status == 204
    else:
        more["uri"] = origin.uri("/packed")
    assert (await begin(client, image_id, method, **more)).status == 202
    image = await ended(client, image_id)
    assert (image["status"], image["checksum"]) == ("active", MD5)
    assert (image["container_format"], image["os_distro"]) == ("bare", "ours")
    assert held(tmp_path, "fast") == held(tmp_path, "slow") == {image_id: DATA}
    await assert_nothing_waits(database, tmp_path)


async def test_a_task_makes_an_image_of_what_is_on_the_web(
    client: Any, database: Database, tmp_path: Path, origin: WebOrigin
) -> None:
    described = {"disk_format": "raw", "container_format": "bare", "name": "made", "k": "v"}
    told = {
        "import_from": origin.uri("/data"),
        "import_from_format": "raw",
        "image_properties": described,
    }
    async with client.session.post("/v2/tasks", json={"type": "import", "input": told}) as answer:
        assert answer.status == 201
        task = await answer.json()
    assert answer.headers["Location"] == f"/v2/tasks/{task['id']}"
    assert (task["type"], task["status"], task["input"]) == ("import", "pending", told)
    async with asyncio.timeout(30):
        while task["status"] in {"pending", "processing"}:
            async with client.session.get(f"/v2/tasks/{task['id']}") as answer:
                task = await answer.json()
    assert task["status"] == "success"
    image = await client.show(task["result"]["image_id"])
    assert (image["status"], image["checksum"], image["k"]) == ("active", MD5, "v")
    await assert_nothing_waits(database, tmp_path)
    told["image_properties"] = {"disk_format": "floppy"}
    body, headers = {"type": "import", "input": told}, {"X-OpenStack-Request-ID": "x" * 64}
    async with client.session.post("/v2/tasks", json=body, headers=headers) as answer:
        assert answer.status == 201
        task = await answer.json()
    async with client.session.get(f"/v2/tasks/{task['id']}") as answer:
        task = await answer.json()
    assert (task["status"], task["request_id"]) == ("failure", "x" * 64)  # all that a row holds


async def test_a_source_that_falls_silent_ends_the_import(
    client: Any,
    database: Database,
    tmp_path: Path,
    origin: WebOrigin,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fetching, "SILENCE_SECONDS", 0.2)
    let = asyncio.Event()

    async def stalls(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(DATA))})
        await response.prepare(request)
        await response.write(DATA[:100])
        await let.wait()
        return response

    origin.answers["/stalls"] = stalls
    image_id = await client.create()
    uri = origin.uri("/stalls")
    assert (await begin(client, image_id, "web-download", uri=uri)).status == 202
    assert (await ended(client, image_id))["status"] == "queued"
    assert held(tmp_path, "fast") == {}
    await assert_nothing_waits(database, tmp_path)
    let.set()


async def test_a_staging_area_that_is_full(
    client: Any, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    image_id = await client.create()
    with monkeypatch.context() as patch:
        patch.setattr(NewFile, "write", full)
        assert (await stage(client, image_id)).status == 413
    assert (await client.show(image_id))["status"] == "queued"
    await assert_nothing_waits(database, tmp_path)
    assert (await stage(client, image_id)).status == 204


async def test_more_than_an_image_may_have_is_not_staged(
    client: Any, database: Database, tmp_path: Path
) -> None:
    image_id = await client.create()
    size = {"x-openstack-image-size": str(1 << 50)}
    assert (await stage(client, image_id, **size)).status == 413
    assert (await client.show(image_id))["status"] == "queued"
    await assert_nothing_waits(database, tmp_path)
