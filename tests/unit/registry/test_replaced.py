"""Uploaders who were taken for dead, and what they leave: nothing of anybody else's is touched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa

from backends.memory import MemoryStore
from registry.db.database import Database
from registry.db.images import add_location, get_image
from registry.db.uploads import UploadRow, add_upload, begin_upload, get_upload
from registry.domain import errors
from registry.domain.identity import EVERYBODY
from registry.domain.image import Image, ImageLocation
from registry.domain.job import Job
from registry.domain.status import Status
from registry.service.attempts import Attempt
from registry.service.images import Images
from registry.service.intake import Taken
from registry.service.janitor import JANITOR, Janitor
from registry.service.leases import Leases
from registry.service.stores import Stores
from registry.service.uploads import Upload, Uploads

ANY = Upload(size=None, store=None)
JOB = Job("id", JANITOR, None, {}, 1, 1)


class Gate:
    """Where uploaders wait, one behind the other, when their data is in the store."""

    def __init__(self) -> None:
        self.there: asyncio.Queue[asyncio.Event] = asyncio.Queue()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate = Gate()
    enter = Attempt.enter

    async def waiting(attempt: Attempt, taken: Taken) -> None:
        go_on = asyncio.Event()
        gate.there.put_nowait(go_on)
        await go_on.wait()
        await enter(attempt, taken)

    monkeypatch.setattr(Attempt, "enter", waiting)
    return gate


@pytest.fixture
async def image_id(images: Images) -> str:
    return await new_image(images)


async def new_image(images: Images) -> str:
    described = {"container_format": "bare", "disk_format": "raw"}
    return str((await images.create(EVERYBODY, described))["id"])


@pytest.fixture
def janitor(database: Database, stores: Stores, leases: Leases) -> Janitor:
    async def nothing_kept(_row: UploadRow) -> None:
        raise AssertionError("none of these may be continued")

    async def no_pause(_seconds: float) -> None:
        pass

    return Janitor(database, stores, leases, nothing_kept, sleep=no_pause)


async def body(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def write(store: MemoryStore, name: str, data: bytes) -> ImageLocation:
    async with store.create(name) as writer:
        await writer.write(data)
        return ImageLocation((await writer.commit()).location.uri, {})


async def read(store: MemoryStore, name: str) -> bytes:
    return store._objects[name]


async def let_time_pass(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(sa.text("UPDATE image_uploads SET expires_at = 1"))


async def look_up(database: Database, image_id: str) -> Image:
    image = await database.query(get_image, image_id)
    assert image is not None
    return image


def begin(uploads: Uploads, image_id: str, data: bytes) -> asyncio.Task[None]:
    return asyncio.create_task(uploads.upload(EVERYBODY, image_id, ANY, body(data)))


async def test_who_was_replaced_takes_nothing_of_the_next_one(
    *,
    uploads: Uploads,
    database: Database,
    store: MemoryStore,
    janitor: Janitor,
    gate: Gate,
    image_id: str,
) -> None:
    first = begin(uploads, image_id, b"the first")
    first_goes_on = await gate.there.get()
    await let_time_pass(database)
    await janitor.work(JOB)
    second = begin(uploads, image_id, b"the second")
    second_goes_on = await gate.there.get()
    first_goes_on.set()
    with pytest.raises(errors.LeaseLostError):
        await first
    second_goes_on.set()
    await second
    image = await look_up(database, image_id)
    assert (image.status, image.size) == (Status.ACTIVE, len(b"the second"))
    assert await read(store, image_id) == b"the second"
    assert await database.query(get_upload, image_id) is None


async def test_what_came_behind_the_deletion_of_its_image_goes(
    *, uploads: Uploads, images: Images, store: MemoryStore, gate: Gate, image_id: str
) -> None:
    task = begin(uploads, image_id, b"late")
    goes_on = await gate.there.get()
    await images.delete(EVERYBODY, image_id)
    assert store.names == {image_id}
    goes_on.set()
    with pytest.raises(errors.GoneError):
        await task
    assert store.names == frozenset()


@pytest.mark.parametrize("is_kept", [True, False])
async def test_what_the_database_may_have_taken_stays(
    *,
    uploads: Uploads,
    database: Database,
    store: MemoryStore,
    image_id: str,
    monkeypatch: pytest.MonkeyPatch,
    is_kept: bool,
) -> None:
    enter = Attempt.enter

    async def entering(attempt: Attempt, taken: Taken) -> None:
        if is_kept:
            await enter(attempt, taken)
        raise errors.UnavailableError("lost while it took the change")

    monkeypatch.setattr(Attempt, "enter", entering)
    with pytest.raises(errors.UnavailableError):
        await uploads.upload(EVERYBODY, image_id, ANY, body(b"data"))
    image = await look_up(database, image_id)
    assert image.status is (Status.ACTIVE if is_kept else Status.QUEUED)
    assert len(store.names) == len(image.locations) == is_kept
    assert await database.query(get_upload, image_id) is None


async def test_what_nobody_can_tell_of_stays_for_the_janitor(
    *,
    uploads: Uploads,
    database: Database,
    store: MemoryStore,
    janitor: Janitor,
    image_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def away(*_: object) -> None:
        raise errors.UnavailableError("away")

    with monkeypatch.context() as patched:
        patched.setattr(Attempt, "enter", away)
        patched.setattr(Attempt, "_take", away)
        with pytest.raises(errors.UnavailableError):
            await uploads.upload(EVERYBODY, image_id, ANY, body(b"data"))
    assert (set(store.names), (await look_up(database, image_id)).status) == (
        {image_id},
        Status.SAVING,
    )
    await let_time_pass(database)
    await janitor.work(JOB)
    assert (store.names, (await look_up(database, image_id)).status) == (
        frozenset(),
        Status.QUEUED,
    )


async def dead_upload(database: Database, image_id: str, *, begun: bool) -> None:
    row = UploadRow(image_id, "somebody", "memory")
    async with database.write() as connection:
        await connection.execute(
            sa.text("UPDATE images SET status = 'saving' WHERE id = :id"), {"id": image_id}
        )
    await database.change(add_upload, row, -60)
    if begun:
        assert await database.change(begin_upload, row, -60)


async def test_what_was_there_before_an_upload_stays(
    *, database: Database, store: MemoryStore, janitor: Janitor, image_id: str
) -> None:
    await write(store, image_id, b"somebody's")
    await dead_upload(database, image_id, begun=False)
    await janitor.work(JOB)
    assert await read(store, image_id) == b"somebody's"
    assert (await look_up(database, image_id)).status is Status.QUEUED
    assert await database.query(get_upload, image_id) is None


async def test_what_an_image_names_stays(
    *,
    database: Database,
    images: Images,
    store: MemoryStore,
    janitor: Janitor,
    image_id: str,
) -> None:
    place = await write(store, image_id, b"another's now")
    await dead_upload(database, image_id, begun=True)
    await database.change(add_location, await new_image(images), place)
    await janitor.work(JOB)
    assert await read(store, image_id) == b"another's now"
    assert (await look_up(database, image_id)).status is Status.QUEUED


async def test_what_holds_an_upload_changes_its_row(database: Database, image_id: str) -> None:
    row = UploadRow(image_id, "holder", "memory")
    await database.change(add_upload, row, 60)
    seen = set()
    for _ in range(3):
        found = await database.query(get_upload, image_id)
        assert found is not None
        assert await database.change(begin_upload, row, 60)
        after = await database.query(get_upload, image_id)
        assert after is not None
        assert after.expires_at != found.expires_at
        seen.add(after.begun)
    assert seen == {"memory"}
