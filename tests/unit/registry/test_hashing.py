"""Images that came without hashes or a manifest: what is computed, when it is believed, and faults."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import pytest
import sqlalchemy as sa

from backends.base import Stat
from backends.errors import UnavailableError
from backends.location import Location
from backends.manifest import PAGE_DIGESTS
from backends.memory import MemoryStore
from backends.spans import Span
from contracts.subject import write
from harness.given_images import LIMITS, hashing_of
from harness.given_stores import given
from harness.waiting import passing
from registry.db import tables
from registry.db.database import Database
from registry.db.discards import image_discards
from registry.db.failures import OvertakenError
from registry.db.hashing import HASH, MANIFEST, add_page, clear_pages, note_found
from registry.db.images import get_image
from registry.db.jobs import claim_job, due_jobs
from registry.db.tables import image_manifest_pages, jobs
from registry.db.tasks import image_tasks
from registry.domain import errors
from registry.domain.identity import Identity
from registry.domain.image import Image
from registry.domain.job import Job
from registry.domain.manifest import ManifestPage
from registry.domain.task import Task
from registry.fetching.filtering import UriFilter
from registry.fetching.options import FilterSettings
from registry.service import hashing as hashing_module
from registry.service import reading
from registry.service.digests import Digests, Hashing
from registry.service.downloads import Downloads
from registry.service.hashing import BackgroundHashing
from registry.service.images import Images
from registry.service.jobs import Jobs, Pace
from registry.service.locating import Locating
from registry.service.locations import Locations
from registry.service.stores import Stores

SERVICE = Identity("p", "nova", is_admin=True, roles=frozenset({"service"}))
USER = Identity("p", "u", is_admin=False)
DATA = bytes(range(256)) * 5000  # 1.28 MB: five chunks
PAGE = PAGE_DIGESTS * (256 << 10)
NOW = datetime(2020, 1, 1)  # noqa: DTZ001  # UTC without a zone; before all
PACE = Pace(poll=0.01, retry=0.001, retry_max=0.01)


class CountingStore(MemoryStore):
    """A store that fails as often as a test says, in the middle."""

    def __init__(self, size: int | None = None) -> None:
        super().__init__()
        self.size = size  # of zeros, whatever is asked for
        self.failures = 0
        self.fails_at = 0
        self.given = 0  # bytes
        self.spans: list[Span] = []
        self.waits_at = 0
        self.reading = asyncio.Event()  # there
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    async def stat(self, location: Location) -> Stat:
        return await super().stat(location) if self.size is None else Stat(self.size)

    @asynccontextmanager
    async def read(self, location: Location, span: Span | None = None) -> AsyncIterator[Any]:
        assert span is not None
        self.spans.append(span)
        if self.size is None:
            async with super().read(location, span) as stream:
                yield _Pieces(self, stream, span)
        else:
            yield _Pieces(self, None, span)


class _Pieces:
    def __init__(self, store: CountingStore, inner: Any, span: Span) -> None:
        self._store, self._inner, self._span = store, inner, span
        self.size, self.version = store.size, None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        position = self._span.start
        async for piece in self._inner if self._inner is not None else self._zeros():
            if position >= self._store.waits_at:
                self._store.reading.set()
                await self._store.may_go_on.wait()
            if self._store.failures and position >= self._store.fails_at:
                self._store.failures -= 1
                raise UnavailableError("in the middle")
            position += len(piece)
            self._store.given += len(piece)
            yield piece

    async def _zeros(self) -> AsyncIterator[bytes]:
        left, block = len(self._span), bytes(8 << 20)
        while left:
            yield block[:left]
            left -= min(left, len(block))


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


@pytest.fixture
def hashing(database: Database, stores: Stores) -> BackgroundHashing:
    return hashing_of(database, stores)


def locating_of(
    database: Database, stores: Stores, hashing: BackgroundHashing, *, secure: bool = True
) -> Locating:
    locations = Locations(stores, UriFilter(FilterSettings()), LIMITS)
    return Locating(database, locations, hashing, algorithm="sha512", secure=secure)


@pytest.fixture
def locating(database: Database, stores: Stores, hashing: BackgroundHashing) -> Locating:
    return locating_of(database, stores, hashing)


async def new_image(images: Images) -> str:
    described = {"container_format": "bare", "disk_format": "raw"}
    return str((await images.create(SERVICE, described))["id"])


def told(data: bytes, algorithm: str = "sha512") -> dict[str, str]:
    return {"os_hash_algo": algorithm, "os_hash_value": hashlib.new(algorithm, data).hexdigest()}


async def the(database: Database, image_id: str) -> Image:
    image = await database.query(get_image, image_id)
    assert image is not None
    return image


async def count(database: Database, *conditions: sa.ColumnElement[bool]) -> int:
    table = conditions[0].left.table
    async with database.read() as connection:
        question = sa.select(sa.func.count()).select_from(table).where(*conditions)
        return int((await connection.execute(question)).scalar_one())


async def pages_of(database: Database, image_id: str) -> int:
    return await count(database, image_manifest_pages.c.image_id == image_id)


@asynccontextmanager
async def working(database: Database, hashing: BackgroundHashing) -> AsyncIterator[None]:
    handlers, settlers = (
        dict.fromkeys((HASH, MANIFEST), does) for does in (hashing.hash, hashing.take_back)
    )
    doing = Jobs(database, handlers, "here", settlers=settlers, pace=PACE)
    task = asyncio.create_task(doing.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def do_jobs(database: Database, hashing: BackgroundHashing) -> None:
    """Do what is owed, until it is done or given up."""
    is_open = (jobs.c.due_at.is_not(None), jobs.c.kind.in_((HASH, MANIFEST)))
    async with working(database, hashing), asyncio.timeout(60):
        while await count(database, *is_open):
            await passing(0.01)


async def manifest_name(data: bytes) -> str:
    digests = Digests(Hashing("sha512", 256 << 10))
    for each in digests.observers:
        await each.update(data)
    manifest = digests.manifest()
    assert manifest is not None
    return manifest.name


async def test_hashes_and_manifest_are_those_of_an_upload(
    database: Database, images: Images, store: CountingStore, hashing: Any, locating: Locating
) -> None:
    place = await write(store, "x", DATA)
    image_id = await new_image(images)
    await locating.add(SERVICE, image_id, {"url": place.uri})
    image = await the(database, image_id)
    assert (image.status, image.size) == ("active", len(DATA))
    assert (image.os_hash_algo, image.os_hash_value, image.checksum) == ("sha512", None, None)
    await do_jobs(database, hashing)
    image = await the(database, image_id)
    assert image.checksum == hashlib.md5(DATA).hexdigest()
    assert image.os_hash_value == hashlib.sha512(DATA).hexdigest()
    assert image.os_manifest == await manifest_name(DATA)
    assert await pages_of(database, image_id) == 1


@pytest.mark.parametrize("algorithm", ["sha512", "sha256", "md5"])
async def test_an_image_waits_for_its_hash(
    database: Database,
    images: Images,
    store: CountingStore,
    hashing: Any,
    locating: Locating,
    algorithm: str,
) -> None:
    place = await write(store, "x", DATA)
    image_id = await new_image(images)
    validation = told(DATA, algorithm)
    body = {"url": place.uri, "validation_data": validation}
    await locating.add(SERVICE, image_id, body)
    image = await the(database, image_id)
    assert (image.status, image.os_hash_value) == ("importing", None)
    await do_jobs(database, hashing)
    image = await the(database, image_id)
    assert image.status == "active"
    assert image.checksum == hashlib.md5(DATA).hexdigest()
    assert (image.os_hash_algo, image.os_hash_value) == (algorithm, validation["os_hash_value"])
    assert image.os_manifest is not None


async def test_another_hash_queues_the_image_and_deletes_the_data(
    database: Database, images: Images, store: CountingStore, hashing: Any, locating: Locating
) -> None:
    place = await write(store, "x", DATA)
    image_id = await new_image(images)
    body = {"url": place.uri, "validation_data": told(b"other")}
    await locating.add(SERVICE, image_id, body)
    await do_jobs(database, hashing)
    image = await the(database, image_id)
    assert (image.status, image.size, image.locations) == ("queued", None, ())
    assert (image.checksum, image.os_hash_algo, image.os_hash_value) == (None, None, None)
    assert image.os_manifest is None
    assert await pages_of(database, image_id) == 0
    assert store.names == frozenset()
    assert await database.query(image_discards, image_id) == []


async def test_a_store_that_fails_too_often_queues_the_image(
    database: Database, images: Images, store: CountingStore, hashing: Any, locating: Locating
) -> None:
    place = await write(store, "x", DATA)
    image_id = await new_image(images)
    await locating.add(SERVICE, image_id, {"url": place.uri, "validation_data": told(DATA)})
    store.failures = 100
    await do_jobs(database, hashing)
    assert (await the(database, image_id)).status == "queued"
    assert len(store.spans) == 3  # http_retries


async def test_a_store_that_fails_for_a_while_is_waited_for(
    database: Database, images: Images, store: CountingStore, hashing: Any, locating: Locating
) -> None:
    place = await write(store, "x", DATA)
    image_id = await new_image(images)
    await locating.add(SERVICE, image_id, {"url": place.uri, "validation_data": told(DATA)})
    store.failures = 2
    await do_jobs(database, hashing)
    assert (await the(database, image_id)).status == "active"


async def test_what_is_told_is_noted_where_nothing_is_to_be_computed(
    database: Database, images: Images, stores: Stores, store: CountingStore, hashing: Any
) -> None:
    place = await write(store, "x", DATA)
    trusting = locating_of(database, stores, hashing, secure=False)
    image_id, other = await new_image(images), await new_image(images)
    await trusting.add(SERVICE, image_id, {"url": place.uri, "validation_data": told(DATA)})
    await trusting.add(SERVICE, other, {"url": place.uri})
    await do_jobs(database, hashing)
    image = await the(database, image_id)
    assert (image.status, image.checksum) == ("active", None)
    assert image.os_hash_value == hashlib.sha512(DATA).hexdigest()
    assert image.os_manifest == await manifest_name(DATA)
    image = await the(database, other)
    assert (image.os_hash_algo, image.os_hash_value, image.checksum) == (None, None, None)
    assert image.os_manifest == await manifest_name(DATA)


async def test_data_that_is_not_what_the_record_tells_has_no_manifest(
    database: Database,
    images: Images,
    stores: Stores,
    store: CountingStore,
    hashing: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    place = await write(store, "x", DATA)
    trusting = locating_of(database, stores, hashing, secure=False)
    image_id = await new_image(images)
    await trusting.add(SERVICE, image_id, {"url": place.uri, "validation_data": told(b"other")})
    await do_jobs(database, hashing)
    image = await the(database, image_id)
    assert (image.status, image.os_manifest) == ("active", None)
    assert image.os_hash_value == hashlib.sha512(b"other").hexdigest()
    assert "The sha512 of the data" in caplog.text
    await hashing.survey()  # it will not become right
    assert await count(database, jobs.c.due_at.is_not(None)) == 0


async def test_a_manifest_goes_on_at_its_page(
    database: Database, images: Images, stores: Stores, store: CountingStore, hashing: Any
) -> None:
    store.size = 2 * PAGE + 1000
    store.failures, store.fails_at = 1, PAGE + (16 << 20)
    image_id = await new_image(images)
    trusting = locating_of(database, stores, hashing, secure=False)
    await trusting.add(SERVICE, image_id, {"url": "memory:///zeros"})
    await do_jobs(database, hashing)
    image = await the(database, image_id)
    assert [span.start for span in store.spans] == [0, PAGE]
    assert image.os_manifest is not None
    assert await pages_of(database, image_id) == 3
    store.failures = 0
    other = await new_image(images)
    await trusting.add(SERVICE, other, {"url": "memory:///zeros"})
    await do_jobs(database, hashing)
    assert (await the(database, other)).os_manifest == image.os_manifest


async def test_hashes_begin_anew(
    database: Database, images: Images, store: CountingStore, hashing: Any, locating: Locating
) -> None:
    store.size = PAGE + 1000
    store.failures, store.fails_at = 1, PAGE
    image_id = await new_image(images)
    await locating.add(SERVICE, image_id, {"url": "memory:///zeros"})
    await do_jobs(database, hashing)
    assert [span.start for span in store.spans] == [0, 0]
    image = await the(database, image_id)
    digest = hashlib.sha512(bytes(PAGE))
    digest.update(bytes(1000))
    assert image.os_hash_value == digest.hexdigest()
    assert await pages_of(database, image_id) == 2


async def test_a_source_that_sends_next_to_nothing_ends(
    database: Database,
    images: Images,
    store: CountingStore,
    hashing: Any,
    locating: Locating,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = await write(store, "x", DATA)
    image_id = await new_image(images)
    await locating.add(SERVICE, image_id, {"url": place.uri, "validation_data": told(DATA)})
    monkeypatch.setattr(reading, "PATIENCE_SECONDS", 0.01)
    store.may_go_on.clear()
    await do_jobs(database, hashing)
    assert (await the(database, image_id)).status == "queued"
    assert len(store.spans) == 3  # http_retries


async def drip(pieces: list[bytes], seconds: list[float], every: float) -> AsyncGenerator[bytes]:
    for piece in pieces:
        seconds[0] += every
        yield piece


@pytest.mark.parametrize(
    ("length", "every", "taken"),
    [
        (1, 50.0, 3),  # 150 s, and three bytes
        (reading.LEAST_BYTES // 2, 50.0, 10),
        (reading.LEAST_BYTES // 2 - 1, 50.0, 10),  # in 150 s there are enough again
        (reading.LEAST_BYTES // 4, 50.0, 3),
        (reading.LEAST_BYTES // 4, 29.0, 10),
    ],
)
async def test_what_is_waited_for_is_counted_not_when_it_comes(
    length: int, every: float, taken: int
) -> None:
    seconds = [0.0]
    patience = reading.Patience(clock=lambda: seconds[0])
    pieces = drip([bytes(length)] * 10, seconds, every)
    count = 0
    try:
        while await patience.piece(pieces):
            count += 1
            seconds[0] += 1000.0  # of hashing
        assert taken == count
    except errors.UnavailableError:
        assert taken == count + 1
    await pieces.aclose()


async def test_an_image_that_is_deleted_is_not_read_on(
    database: Database,
    images: Images,
    store: CountingStore,
    hashing: Any,
    locating: Locating,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hashing_module, "LOOK_SECONDS", 0.0)
    store.size = PAGE  # in 32 pieces
    image_id = await new_image(images)
    await locating.add(SERVICE, image_id, {"url": "memory:///zeros"})
    store.may_go_on.clear()
    async with working(database, hashing):
        await store.reading.wait()
        await images.delete(SERVICE, image_id)
        store.may_go_on.set()
        async with asyncio.timeout(60):
            while await count(database, jobs.c.kind == HASH):
                await passing(0.01)
    assert store.given <= 8 << 20
    assert await pages_of(database, image_id) == 0


@pytest.mark.parametrize("secure", [True, False])
async def test_an_image_that_is_deleted_meanwhile_leaves_nothing(
    database: Database,
    images: Images,
    stores: Stores,
    store: CountingStore,
    hashing: Any,
    *,
    secure: bool,
) -> None:
    place = await write(store, "x", DATA)
    image_id = await new_image(images)
    locating = locating_of(database, stores, hashing, secure=secure)
    await locating.add(SERVICE, image_id, {"url": place.uri})
    store.may_go_on.clear()
    async with working(database, hashing):
        await store.reading.wait()
        await images.delete(SERVICE, image_id)
        store.may_go_on.set()
    await do_jobs(database, hashing)
    assert store.names == frozenset()
    assert await pages_of(database, image_id) == 0
    assert await count(database, jobs.c.kind == HASH) == 0


async def test_a_process_that_stops_gives_its_work_back(
    database: Database, images: Images, store: CountingStore, hashing: Any, locating: Locating
) -> None:
    place = await write(store, "x", DATA)
    image_id = await new_image(images)
    await locating.add(SERVICE, image_id, {"url": place.uri, "validation_data": told(DATA)})
    store.may_go_on.clear()
    async with working(database, hashing):
        await store.reading.wait()
    assert (await the(database, image_id)).status == "importing"
    store.may_go_on.set()
    await do_jobs(database, hashing)
    assert (await the(database, image_id)).status == "active"


async def test_images_without_a_manifest_are_found(
    database: Database, images: Images, store: CountingStore, stores: Stores, hashing: Any
) -> None:
    place = await write(store, "x", DATA)
    image_id = await new_image(images)
    await locating_of(database, stores, hashing).add(SERVICE, image_id, {"url": place.uri})
    await do_jobs(database, hashing)
    async with database.write() as connection:  # as Glance's own, which were taken over
        await connection.execute(sa.update(tables.images).values(os_manifest=None))
    await hashing.survey()
    await hashing.survey()
    # None of the kind for which somebody waits.
    assert (
        await count(database, jobs.c.kind == MANIFEST)
        == await count(database, jobs.c.claims == 0)
        == 1
    )
    await do_jobs(database, hashing)
    assert (await the(database, image_id)).os_manifest == await manifest_name(DATA)


async def test_who_may_download_is_told_without_a_store(
    database: Database, images: Images, stores: Stores, store: CountingStore, hashing: Any
) -> None:
    place = await write(store, "x", DATA)
    image_id = await new_image(images)
    await locating_of(database, stores, hashing).add(SERVICE, image_id, {"url": place.uri})
    away = given({"memory": MemoryStore()})
    await Downloads(database, away).require_right(SERVICE, image_id)
    with pytest.raises(errors.NotFoundError):
        await Downloads(database, away).require_right(Identity("q", "u", is_admin=False), image_id)
    assert store.spans == []


@pytest.mark.parametrize(
    ("url", "refused"),
    [
        ("memory:///absent", errors.InvalidRequestError),
        ("file:///etc/passwd", errors.InvalidRequestError),
        ("rbd://x/y/z/snap", errors.InvalidRequestError),
        ("http://127.0.0.1/x", errors.InvalidRequestError),
        ("", errors.InvalidRequestError),
    ],
)
async def test_places_that_services_may_not_add(
    database: Database, images: Images, locating: Locating, url: str, refused: type[Exception]
) -> None:
    image_id = await new_image(images)
    with pytest.raises(refused):
        await locating.add(SERVICE, image_id, {"url": url})
    assert (await the(database, image_id)).status == "queued"


@pytest.mark.parametrize(
    ("secure", "data", "statuses"),
    [
        (True, DATA, ("pending", "success")),
        (True, b"other", ("pending", "failure")),
        (True, None, ("pending", "success")),
        (False, DATA, ("success", "success")),
    ],
)
async def test_clients_follow_it_by_a_task(
    *,
    database: Database,
    images: Images,
    stores: Stores,
    store: CountingStore,
    hashing: Any,
    secure: bool,
    data: bytes | None,
    statuses: tuple[str, str],
) -> None:
    place = await write(store, "x", DATA)
    image_id = await new_image(images)
    body = {"url": place.uri, **({"validation_data": told(data)} if data is not None else {})}
    locating = locating_of(database, stores, hashing, secure=secure)
    await locating.add(SERVICE, image_id, body, "req-1")

    async def the_task() -> Task:
        (task,) = await database.query(image_tasks, image_id, NOW)
        return task

    task = await the_task()
    assert (task.type, task.status, task.owner) == ("location_import", statuses[0], "p")
    assert task.input is not None
    assert (task.input["loc_url"], task.request_id) == (place.uri, "req-1")
    await do_jobs(database, hashing)
    task = await the_task()
    assert task.status == statuses[1]
    assert task.expires_at is not None
    assert ("The sha512" in task.message) == (statuses[1] == "failure")


async def test_users_add_web_addresses_only(
    database: Database, images: Images, store: CountingStore, locating: Locating
) -> None:
    place = await write(store, "x", DATA)
    image_id = await new_image(images)
    with pytest.raises(errors.ForbiddenError, match="http store"):
        await locating.add(USER, image_id, {"url": place.uri})
    assert (await the(database, image_id)).status == "queued"


async def test_a_place_that_an_image_has_got_already(
    images: Images, store: CountingStore, locating: Locating
) -> None:
    place = await write(store, "x", DATA)
    image_id = await new_image(images)
    await locating.add(SERVICE, image_id, {"url": place.uri})
    with pytest.raises(errors.ConflictError, match="status is active"):
        await locating.add(SERVICE, image_id, {"url": place.uri})


async def test_where_data_is_is_told_to_services(
    images: Images, store: CountingStore, locating: Locating
) -> None:
    place = await write(store, "x", DATA)
    image_id = await new_image(images)
    await locating.add(SERVICE, image_id, {"url": place.uri})
    assert await locating.list(SERVICE, image_id) == [
        {"url": place.uri, "metadata": {"store": "memory"}}
    ]
    with pytest.raises(errors.ForbiddenError):
        await locating.list(USER, image_id)


async def test_who_has_lost_the_job_leaves_the_manifest_that_another_named(
    database: Database, images: Images, store: CountingStore, hashing: Any, locating: Locating
) -> None:
    image_id = await new_image(images)
    await locating.add(SERVICE, image_id, {"url": (await write(store, "x", DATA)).uri})
    await do_jobs(database, hashing)
    await database.change(clear_pages, image_id)
    assert await pages_of(database, image_id) == 1
    # Nor does he add to it, whatever he has cut the image into.
    page = ManifestPage(bytes(32), bytes(32))
    assert not await database.change(add_page, image_id, 1, page)
    assert await pages_of(database, image_id) == 1


async def claimed(database: Database) -> Job:
    (due,) = await database.ask(due_jobs, {HASH: 1}, "here")
    job = await database.change(claim_job, due, 3600.0)
    assert job is not None
    return job


async def test_who_has_lost_the_job_changes_nothing(
    database: Database, images: Images, store: CountingStore, hashing: Any, locating: Locating
) -> None:
    """He had all of it read, and another did the job before he could write what he had found."""
    image_id = await new_image(images)
    body = {"url": (await write(store, "x", DATA)).uri, "validation_data": told(DATA)}
    await locating.add(SERVICE, image_id, body)
    store.may_go_on.clear()
    late = asyncio.create_task(hashing.hash(await claimed(database)))
    await store.reading.wait()
    async with database.write() as connection:
        await connection.execute(jobs.update().values(due_at=NOW))
    other = await claimed(database)
    store.may_go_on.set()
    await late
    image = await the(database, image_id)
    assert (image.status, image.os_hash_value, image.os_manifest) == ("importing", None, None)
    assert await pages_of(database, image_id) == 0
    assert await count(database, jobs.c.claims == other.claims) == 1
    await hashing.hash(other)
    assert (await the(database, image_id)).status == "active"
    assert await count(database, jobs.c.kind == HASH) == 0


async def test_pages_are_not_cleared_while_their_manifest_gets_its_name(
    database: Database, images: Images, store: CountingStore, stores: Stores, hashing: Any
) -> None:
    image_id = await new_image(images)
    trusting = locating_of(database, stores, hashing, secure=False)
    await trusting.add(SERVICE, image_id, {"url": (await write(store, "x", DATA)).uri})
    image = await the(database, image_id)
    await database.change(clear_pages, image_id)
    with pytest.raises(OvertakenError):
        async with database.write() as connection:
            await note_found(connection, image, {"os_manifest": "name"}, None)


async def test_who_was_stopped_goes_on_at_his_page(
    database: Database, images: Images, stores: Stores, store: CountingStore, hashing: Any
) -> None:
    store.size = PAGE + 1000
    image_id = await new_image(images)
    trusting = locating_of(database, stores, hashing, secure=False)
    await trusting.add(SERVICE, image_id, {"url": "memory:///zeros"})
    store.waits_at = PAGE
    store.may_go_on.clear()
    async with working(database, hashing):
        await store.reading.wait()
    assert await pages_of(database, image_id) == 1
    store.may_go_on.set()
    await do_jobs(database, hashing)
    assert [span.start for span in store.spans] == [0, PAGE]
    assert (await the(database, image_id)).os_manifest is not None
