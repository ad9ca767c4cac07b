"""Leases of uploads, and the janitor: who is alive is not robbed, who died leaves nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from backends.errors import UnavailableError
from backends.faulty import Fail, Faulty
from backends.memory import MemoryStore
from backends.wrapping import wrap
from harness.catalog_database import IN_EVERY_RUN, server_of
from harness.databases import Server
from harness.given_stores import given
from registry.db.database import Database
from registry.db.failures import TransientError
from registry.db.images import get_image
from registry.db.jobs import due_jobs
from registry.db.purge import purge_images
from registry.db.uploads import UploadRow, add_upload, dead_uploads, take_dead_upload
from registry.domain import errors
from registry.domain.identity import EVERYBODY
from registry.domain.job import Job
from registry.domain.limits import Limits
from registry.domain.status import Status
from registry.service import attempts
from registry.service.attempts import Attempt
from registry.service.checks import Checks
from registry.service.clock import utc_now
from registry.service.digests import Hashing
from registry.service.images import Images
from registry.service.intake import Taken
from registry.service.janitor import JANITOR, Janitor
from registry.service.jobs import LaterError
from registry.service.leases import Lease, Leases
from registry.service.leftovers import CLEAR, Leftovers
from registry.service.stores import Stores
from registry.service.uploads import Upload, Uploads

ANY = Upload(size=None, store=None)
DATA = bytes(range(256)) * 64
JOB = Job("id", JANITOR, None, {}, 1, 1)


@pytest.fixture(scope="session", params=IN_EVERY_RUN)
def server(request: pytest.FixtureRequest) -> Server | None:
    return server_of(request)


@pytest.fixture
async def image_id(images: Images) -> str:
    described = {"container_format": "bare", "disk_format": "raw"}
    return str((await images.create(EVERYBODY, described))["id"])


async def no_pause(_seconds: float) -> None:
    pass


async def nothing_kept(_row: UploadRow) -> None:
    raise AssertionError("none of these may be continued")


class Told(list[tuple[str, str]]):
    """What the janitor has told."""

    def __call__(self, store: str, outcome: str) -> None:
        self.append((store, outcome))


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def janitor(database: Database, stores: Stores, leases: Leases, told: Told) -> Janitor:
    return Janitor(database, stores, leases, nothing_kept, told, sleep=no_pause)


class Body:
    """A body that stops in its middle until it is let go."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.go = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield DATA
        self.reached.set()
        await self.go.wait()
        yield DATA


async def begun(uploads: Uploads, image_id: str) -> tuple[asyncio.Task[None], Body]:
    body = Body()
    task = asyncio.create_task(uploads.upload(EVERYBODY, image_id, ANY, aiter(body)))
    await body.reached.wait()
    return task, body


async def run(database: Database, statement: str) -> None:
    async with database.write() as connection:
        await connection.execute(sa.text(statement))


async def let_time_pass(database: Database) -> None:
    await run(database, "UPDATE image_uploads SET expires_at = 1")


async def rows(database: Database) -> int:
    async with database.read() as connection:
        count = sa.text("SELECT count(*) FROM image_uploads")
        return int((await connection.execute(count)).scalar_one())


async def status(database: Database, image_id: str) -> Status:
    image = await database.query(get_image, image_id)
    assert image is not None
    return image.status


async def assert_clean(database: Database, store: MemoryStore, image_id: str) -> None:
    assert await status(database, image_id) is Status.QUEUED
    assert (store.names, await rows(database)) == (frozenset(), 0)


async def test_an_upload_leaves_no_lease(
    uploads: Uploads, database: Database, leases: Leases, image_id: str
) -> None:
    task, body = await begun(uploads, image_id)
    assert (await rows(database), repr(leases)) == (1, "Leases(1 held)")
    body.go.set()
    await task
    assert (await rows(database), repr(leases)) == (0, "Leases(0 held)")


async def test_a_living_uploader_is_not_robbed(
    *, uploads: Uploads, database: Database, janitor: Janitor, leases: Leases, image_id: str
) -> None:
    task, body = await begun(uploads, image_id)
    await janitor.work(JOB)
    await let_time_pass(database)
    await leases.renew()
    await janitor.work(JOB)
    assert await status(database, image_id) is Status.SAVING
    body.go.set()
    await task
    assert await status(database, image_id) is Status.ACTIVE


async def test_whoever_comes_back_after_the_database_is_not_robbed(
    *, uploads: Uploads, database: Database, stores: Stores, leases: Leases, image_id: str
) -> None:
    async def renewing(seconds: float) -> None:
        assert seconds == 30
        await leases.renew()

    task, body = await begun(uploads, image_id)
    await let_time_pass(database)
    await Janitor(database, stores, leases, nothing_kept, sleep=renewing).work(JOB)
    body.go.set()
    await task
    assert await status(database, image_id) is Status.ACTIVE


@pytest.mark.parametrize("renewed", [True, False])
async def test_an_uploader_that_was_frozen_activates_nothing(
    *,
    uploads: Uploads,
    database: Database,
    store: MemoryStore,
    janitor: Janitor,
    leases: Leases,
    told: Told,
    image_id: str,
    renewed: bool,
) -> None:
    task, body = await begun(uploads, image_id)
    await let_time_pass(database)
    await janitor.work(JOB)
    assert told == [("memory", "cleared")]
    await assert_clean(database, store, image_id)
    if renewed:
        await leases.renew()
    else:
        body.go.set()
    with pytest.raises(errors.LeaseLostError):
        await task
    await assert_clean(database, store, image_id)


async def test_an_uploader_that_was_frozen_leaves_the_next_one_alone(
    *, uploads: Uploads, database: Database, store: MemoryStore, janitor: Janitor, image_id: str
) -> None:
    task, body = await begun(uploads, image_id)
    await let_time_pass(database)
    await janitor.work(JOB)
    other, other_body = await begun(uploads, image_id)
    other_body.go.set()
    await other
    body.go.set()
    with pytest.raises(errors.RegistryError):
        await task
    image = await database.query(get_image, image_id)
    assert image is not None
    assert (image.status, image.size, len(image.locations)) == (Status.ACTIVE, 2 * len(DATA), 1)
    assert (set(store.names), store.used_bytes) == ({image_id}, 2 * len(DATA))
    assert await rows(database) == 0


class DyingAttempt(Attempt):
    async def enter(self, _taken: Taken) -> None:
        raise KeyboardInterrupt

    async def has(self, _taken: Taken) -> bool:
        return True  # nobody asks any more


class Dying(Uploads):
    """Uploads of a process that is killed when all the data is in the store."""

    def attempt(self, *arguments: Any, **named: Any) -> Attempt:
        attempt = super().attempt(*arguments, **named)
        attempt.__class__ = DyingAttempt
        return attempt

    async def _unwind(self, _attempt: Any) -> None:
        pass


@pytest.fixture
def dying(
    *,
    database: Database,
    stores: Stores,
    limits: Limits,
    hashing: Hashing,
    checks: Checks,
    leases: Leases,
) -> Uploads:
    return Dying(database, stores, limits, hashing, checks, leases=leases)


async def die(uploads: Uploads, image_id: str) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield DATA

    with pytest.raises(KeyboardInterrupt):
        await uploads.upload(EVERYBODY, image_id, ANY, body())


async def test_what_was_committed_and_never_recorded_goes(
    *, dying: Uploads, database: Database, store: MemoryStore, janitor: Janitor, image_id: str
) -> None:
    await die(dying, image_id)
    assert store.names == {image_id}
    await janitor.work(JOB)
    assert store.names == {image_id}  # nobody knows yet that it is dead
    await let_time_pass(database)
    await janitor.work(JOB)
    await assert_clean(database, store, image_id)


@pytest.mark.parametrize("purged", [True, False])
async def test_the_image_was_deleted_meanwhile(
    *,
    dying: Uploads,
    images: Images,
    database: Database,
    store: MemoryStore,
    janitor: Janitor,
    image_id: str,
    purged: bool,
) -> None:
    await die(dying, image_id)
    await images.delete(EVERYBODY, image_id)
    if purged:
        assert await database.change(purge_images, utc_now(), 10) == 1
    await let_time_pass(database)
    await janitor.work(JOB)
    assert (store.names, await rows(database)) == (frozenset(), 0)


async def owed(database: Database) -> list[Job]:
    await run(database, "UPDATE jobs SET due_at = '2000-01-01 00:00:00.000000'")
    return await database.ask(due_jobs, {CLEAR: 9}, "here")


async def test_a_store_that_is_away_holds_no_image_up(
    *,
    database: Database,
    limits: Limits,
    hashing: Hashing,
    checks: Checks,
    leases: Leases,
    told: Told,
    image_id: str,
) -> None:
    memory = MemoryStore()
    away = [[Fail(UnavailableError("away"))]] * 3
    stores = given({"far": wrap(memory, Faulty(clear=away))})
    await die(Dying(database, stores, limits, hashing, checks, leases=leases), image_id)
    await let_time_pass(database)
    await Janitor(database, stores, leases, nothing_kept, told, sleep=no_pause).work(JOB)
    assert list(told) == [("far", "cleared")]
    assert set(memory.names) == {image_id}
    assert (await status(database, image_id), await rows(database)) == (Status.QUEUED, 0)
    (job,) = await owed(database)
    leftovers = Leftovers(database, stores, leases)
    for _ in away[1:]:
        with pytest.raises(LaterError):
            await leftovers.clear(job)
    assert memory.names == {image_id}
    await leftovers.clear(job)
    await assert_clean(database, memory, image_id)


async def test_what_is_owed_waits_for_whoever_writes_there(
    *,
    uploads: Uploads,
    images: Images,
    database: Database,
    store: MemoryStore,
    stores: Stores,
    leases: Leases,
    image_id: str,
) -> None:
    job = Job("id", CLEAR, image_id, {"store": "memory"}, 1, 1)
    leftovers = Leftovers(database, stores, leases)
    task, body = await begun(uploads, image_id)
    with pytest.raises(LaterError):
        await leftovers.clear(job)
    body.go.set()
    await task
    with pytest.raises(LaterError):
        await leftovers.clear(job)
    assert (store.used_bytes, await rows(database)) == (2 * len(DATA), 0)
    await images.delete(EVERYBODY, image_id)
    await leftovers.clear(job)
    assert (store.names, await rows(database)) == (frozenset(), 0)


async def test_a_store_that_is_not_configured_any_more(
    *, dying: Uploads, database: Database, leases: Leases, image_id: str
) -> None:
    await die(dying, image_id)
    await let_time_pass(database)
    other = MemoryStore()
    await Janitor(database, given({"other": other}), leases, nothing_kept, sleep=no_pause).work(JOB)
    await assert_clean(database, other, image_id)


async def test_of_two_janitors_one_cleans_up(
    *, dying: Uploads, database: Database, stores: Stores, leases: Leases, told: Told, image_id: str
) -> None:
    await die(dying, image_id)
    await let_time_pass(database)
    both = asyncio.Barrier(2)

    async def meet(_seconds: float) -> None:
        await both.wait()

    await asyncio.gather(
        *(
            Janitor(database, stores, leases, nothing_kept, told, sleep=meet).work(JOB)
            for _ in range(2)
        )
    )
    assert told == [("memory", "cleared")]


async def test_a_database_that_is_away_ends_no_upload(
    *, uploads: Uploads, database: Database, leases: Leases, image_id: str
) -> None:
    task, body = await begun(uploads, image_id)
    await run(database, "ALTER TABLE image_uploads RENAME TO away")
    with pytest.raises(errors.UnavailableError):
        await leases.renew()
    await run(database, "ALTER TABLE away RENAME TO image_uploads")
    await leases.renew()
    body.go.set()
    await task
    assert await status(database, image_id) is Status.ACTIVE


async def test_an_upload_that_cannot_be_undone_is_left_to_the_janitor(
    *, uploads: Uploads, database: Database, store: MemoryStore, janitor: Janitor, image_id: str
) -> None:
    task, body = await begun(uploads, image_id)
    await run(database, "ALTER TABLE image_uploads RENAME TO away")
    body.go.set()
    with pytest.raises(errors.UnavailableError):
        await task
    await run(database, "ALTER TABLE away RENAME TO image_uploads")
    assert (set(store.names), await rows(database)) == ({image_id}, 1)
    assert await status(database, image_id) is Status.SAVING
    await let_time_pass(database)
    await janitor.work(JOB)
    await assert_clean(database, store, image_id)


class Littering(MemoryStore):
    """A store that fails when it is left, with something in it."""

    @asynccontextmanager
    async def create(self, name: str, size: int | None = None) -> AsyncIterator[Any]:
        try:
            async with super().create(name, size) as writer:
                yield writer
        finally:
            self._objects[name] = self._objects.get(name, b"left")
            raise UnavailableError("away")


async def test_what_a_failing_store_kept_is_removed_at_once(
    *,
    database: Database,
    limits: Limits,
    hashing: Hashing,
    checks: Checks,
    leases: Leases,
    image_id: str,
) -> None:
    store = Littering()
    uploads = Uploads(database, given({"f": store}), limits, hashing, checks, leases=leases)
    with pytest.raises(errors.UnavailableError):
        await uploads.upload(EVERYBODY, image_id, Upload(1, None), aiter(Body()))
    await assert_clean(database, store, image_id)
    task, body = await begun(uploads, image_id)
    body.go.set()
    await task  # the failure came when all was done
    assert await status(database, image_id) is Status.ACTIVE
    assert (set(store.names), store.used_bytes) == ({image_id}, 2 * len(DATA))


async def test_an_object_of_somebody_else_stays(
    *, uploads: Uploads, database: Database, store: MemoryStore, image_id: str
) -> None:
    async with store.create(image_id) as writer:
        await writer.commit()
    with pytest.raises(errors.ConflictError):
        await uploads.upload(EVERYBODY, image_id, ANY, aiter(Body()))
    assert await status(database, image_id) is Status.QUEUED
    assert (set(store.names), await rows(database)) == ({image_id}, 0)


async def test_the_database_comes_back_before_the_end(
    *,
    uploads: Uploads,
    database: Database,
    image_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real: Callable[..., Awaitable[None]] = Attempt._activate
    failures = [errors_of_the_database(), errors_of_the_database()]

    async def activate(*args: Any) -> None:
        if failures:
            raise failures.pop()
        await real(*args)

    monkeypatch.setattr(Attempt, "_activate", activate)
    monkeypatch.setattr(attempts, "ACTIVATION_PAUSE_SECONDS", 0)
    monkeypatch.setattr("registry.db.database.REPEAT_SECONDS", -1)
    task, body = await begun(uploads, image_id)
    body.go.set()
    await task
    assert await status(database, image_id) is Status.ACTIVE


def errors_of_the_database() -> Exception:
    return TransientError("away")


async def test_dead_ones_are_those_that_have_run_out(database: Database) -> None:
    for number, seconds in enumerate((60, -2, -3)):
        await database.change(add_upload, UploadRow(f"i{number}", f"h{number}", "s"), seconds)
    with pytest.raises(errors.ConflictError):
        await database.change(add_upload, UploadRow("i0", "h", "s"), 60)
    dead = await database.query(dead_uploads, 10)
    assert [row.image_id for row in dead] == ["i2", "i1"]
    assert await database.query(dead_uploads, 1) == dead[:1]
    assert await database.change(take_dead_upload, dead[0], "h", 60)
    assert not await database.change(take_dead_upload, dead[0], "g", 60)
    assert await database.query(dead_uploads, 10) == dead[1:]


async def test_what_is_not_kept_may_be_lost() -> None:
    lease = Lease()
    lease.lose()
    with pytest.raises(errors.LeaseLostError):
        async with lease.kept():
            await asyncio.Event().wait()
    with pytest.raises(TimeoutError):
        async with Lease().kept():
            raise TimeoutError
