"""Uploads below HTTP: whatever goes wrong, the image is queued again and the store is empty."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from blake3 import blake3

from backends.base import Writer, WriteResult
from backends.errors import DeniedError, NoSpaceError, StoreError, UnavailableError
from backends.location import Location
from backends.manifest import ManifestName, ManifestRoot, ManifestShape
from backends.memory import MemoryStore
from harness.given_stores import given
from registry.db.database import Database
from registry.db.images import get_image
from registry.db.tables import image_manifest_pages
from registry.domain import errors
from registry.domain.identity import EVERYBODY, Identity
from registry.domain.image import Image
from registry.domain.limits import Limits
from registry.domain.status import Status
from registry.service import digests
from registry.service.checks import Checks
from registry.service.digests import Hashing
from registry.service.images import Images
from registry.service.leases import Leases
from registry.service.stores import Stores
from registry.service.uploads import Upload, Uploads

ANY = Upload(size=None, store=None)
DATA = bytes(range(256)) * 64


async def body(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        await asyncio.sleep(0)
        yield piece


@pytest.fixture
async def image_id(images: Images) -> str:
    return await new_image(images)


async def new_image(images: Images, **more: Any) -> str:
    described = {"container_format": "bare", "disk_format": "raw", **more}
    return str((await images.create(EVERYBODY, described))["id"])


async def look_up(database: Database, image_id: str) -> Image:
    async with database.read() as connection:
        image = await get_image(connection, image_id)
    assert image is not None
    return image


async def pages_of(database: Database) -> list[bytes]:
    """Return all pages of all manifests."""
    async with database.read() as connection:
        question = sa.select(image_manifest_pages.c.chunk_digests)
        return list((await connection.execute(question)).scalars())


async def assert_untouched(database: Database, store: MemoryStore, image_id: str) -> None:
    image = await look_up(database, image_id)
    assert (image.status, image.size, image.checksum) == (Status.QUEUED, None, None)
    assert (image.locations, image.os_manifest) == ((), None)
    assert await pages_of(database) == []
    assert (store.names, store.used_bytes) == (frozenset(), 0)


async def test_an_upload_activates(
    uploads: Uploads, database: Database, store: MemoryStore, image_id: str
) -> None:
    await uploads.upload(EVERYBODY, image_id, Upload(len(DATA), "memory"), body(DATA[:9], DATA[9:]))
    image = await look_up(database, image_id)
    assert image.status is Status.ACTIVE
    assert image.size == len(DATA)
    assert image.checksum == hashlib.md5(DATA).hexdigest()
    assert (image.os_hash_algo, image.os_hash_value) == (
        "sha512",
        hashlib.sha512(DATA).hexdigest(),
    )
    assert [place.metadata for place in image.locations] == [{"store": "memory"}]
    assert store.names == {image_id}


def chunk_digests(data: bytes, chunk_bytes: int) -> bytes:
    starts = range(0, len(data), chunk_bytes)
    return b"".join(blake3(data[start : start + chunk_bytes]).digest() for start in starts)


async def test_the_manifest_comes_and_goes_with_the_data(
    uploads: Uploads, images: Images, database: Database, hashing: Hashing, image_id: str
) -> None:
    data = DATA * 40  # three chunks
    await uploads.upload(EVERYBODY, image_id, ANY, body(data[:1], data[1:]))
    name = ManifestName.parse(str((await images.show(EVERYBODY, image_id))["os_manifest"]))
    page = chunk_digests(data, hashing.chunk_bytes)
    root = ManifestRoot(ManifestShape(len(data), name.chunk_bytes), blake3(page).digest())
    assert len(page) == 3 * 32
    assert name == ManifestName(hashing.chunk_bytes, blake3(root.pack()).digest())
    assert await pages_of(database) == [page]
    await images.delete(EVERYBODY, image_id)
    assert await pages_of(database) == []


async def test_an_image_too_large_for_a_manifest_has_none(
    uploads: Uploads,
    images: Images,
    database: Database,
    image_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(digests, "PAGES_MAX", 0)
    await uploads.upload(EVERYBODY, image_id, ANY, body(DATA))
    image = await images.show(EVERYBODY, image_id)
    assert (image["status"], image["os_manifest"]) == ("active", None)
    assert await pages_of(database) == []


async def test_a_manifest_that_cannot_be_stored_activates_nothing(
    uploads: Uploads, database: Database, store: MemoryStore, image_id: str
) -> None:
    async def rename(now: str, then: str) -> None:
        async with database.write() as connection:
            await connection.execute(sa.text(f"ALTER TABLE {now} RENAME TO {then}"))

    await rename("image_manifest_pages", "away")
    with pytest.raises(errors.UnavailableError):
        await uploads.upload(EVERYBODY, image_id, ANY, body(DATA))
    await rename("away", "image_manifest_pages")
    await assert_untouched(database, store, image_id)


async def test_an_empty_image(
    uploads: Uploads, database: Database, store: MemoryStore, image_id: str
) -> None:
    await uploads.upload(EVERYBODY, image_id, Upload(0, None), body())
    image = await look_up(database, image_id)
    assert (image.status, image.size) == (Status.ACTIVE, 0)
    assert image.checksum == hashlib.md5(b"").hexdigest()
    head = ManifestRoot(ManifestShape(0, 256 << 10), b"").pack()
    assert image.os_manifest == str(ManifestName(256 << 10, blake3(head).digest()))
    assert await pages_of(database) == []
    assert store.names == {image_id}


@pytest.mark.parametrize("algorithm", ["sha256", "blake2b"])
async def test_another_algorithm(
    *,
    database: Database,
    stores: Stores,
    limits: Limits,
    checks: Checks,
    image_id: str,
    algorithm: str,
) -> None:
    uploads = Uploads(
        database, stores, limits, Hashing(algorithm, 1 << 20), checks, leases=Leases(database, 60)
    )
    await uploads.upload(EVERYBODY, image_id, ANY, body(DATA))
    image = await look_up(database, image_id)
    assert image.os_hash_algo == algorithm
    assert image.os_hash_value == hashlib.new(algorithm, DATA).hexdigest()


@pytest.mark.parametrize(
    ("size", "pieces", "message"),
    [
        (5, [b"1234"], "5 bytes were announced and 4 received"),
        (5, [b"123", b"456"], "More than the announced 5 bytes"),
        (0, [b"1"], "More than the announced 0 bytes"),
    ],
)
async def test_a_size_that_is_not_kept(
    *,
    uploads: Uploads,
    database: Database,
    store: MemoryStore,
    image_id: str,
    size: int,
    pieces: list[bytes],
    message: str,
) -> None:
    with pytest.raises(errors.InvalidRequestError, match=message):
        await uploads.upload(EVERYBODY, image_id, Upload(size, None), body(*pieces))
    await assert_untouched(database, store, image_id)


@pytest.mark.parametrize("announced", [None, 11])
async def test_too_much_for_one_image(
    *,
    database: Database,
    stores: Stores,
    store: MemoryStore,
    limits: Limits,
    hashing: Hashing,
    checks: Checks,
    image_id: str,
    announced: int | None,
) -> None:
    uploads = Uploads(
        database,
        stores,
        replace(limits, image_size_cap=10),
        hashing,
        checks,
        leases=Leases(database, 60),
    )
    with pytest.raises(errors.LimitExceededError, match="too large"):
        await uploads.upload(EVERYBODY, image_id, Upload(announced, None), body(b"12345678901"))
    await assert_untouched(database, store, image_id)


async def test_a_body_that_breaks_off(
    uploads: Uploads, database: Database, store: MemoryStore, image_id: str
) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield DATA
        raise errors.UploadCutError("gone")

    with pytest.raises(errors.UploadCutError):
        await uploads.upload(EVERYBODY, image_id, ANY, broken())
    await assert_untouched(database, store, image_id)
    await uploads.upload(EVERYBODY, image_id, ANY, body(DATA))
    assert (await look_up(database, image_id)).status is Status.ACTIVE


async def test_a_database_that_is_away_behind_it_is_told_in_a_line(
    uploads: Uploads,
    image_id: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield DATA
        raise errors.UploadCutError("gone")

    async def away(*_: object) -> None:
        raise errors.UnavailableError("away")

    monkeypatch.setattr(uploads, "_release", away)
    with pytest.raises(errors.UploadCutError):
        await uploads.upload(EVERYBODY, image_id, ANY, broken())
    (told,) = [each for each in caplog.records if "waits for the janitor" in each.message]
    assert told.message.endswith("away")
    assert not told.exc_info


class FailingStore(MemoryStore):
    """A store that fails at one step."""

    def __init__(self, step: str, error: StoreError) -> None:
        super().__init__()
        self.step = step
        self.error = error

    def fail_at(self, step: str) -> None:
        if step == self.step:
            raise self.error

    @asynccontextmanager
    async def create(self, name: str, size: int | None = None) -> AsyncIterator[Any]:
        self.fail_at("create")
        async with super().create(name, size) as writer:
            yield FailingWriter(self, writer)


class FailingWriter(Writer):
    def __init__(self, store: FailingStore, writer: Writer) -> None:
        self.store = store
        self.writer = writer

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        self.store.fail_at("write")
        await self.writer.write(data)

    async def publish(self) -> WriteResult:
        self.store.fail_at("publish")
        return await self.writer.publish()

    def keep(self) -> None:
        self.writer.keep()


@pytest.mark.parametrize("step", ["create", "write", "publish"])
@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (NoSpaceError("full"), errors.LimitExceededError),
        (DeniedError("read-only"), errors.UnavailableError),
        (UnavailableError("away"), errors.UnavailableError),
    ],
)
async def test_a_store_that_fails(
    *,
    database: Database,
    limits: Limits,
    hashing: Hashing,
    checks: Checks,
    image_id: str,
    step: str,
    failure: StoreError,
    told: type[errors.RegistryError],
) -> None:
    store = FailingStore(step, failure)
    uploads = Uploads(
        database, given({"f": store}), limits, hashing, checks, leases=Leases(database, 60)
    )
    with pytest.raises(told, match=str(failure)):
        await uploads.upload(EVERYBODY, image_id, ANY, body(DATA))
    await assert_untouched(database, store, image_id)


@pytest.mark.parametrize("store_name", ["nope", "memory2"])
async def test_an_unknown_store(
    uploads: Uploads, database: Database, store: MemoryStore, image_id: str, store_name: str
) -> None:
    with pytest.raises(errors.InvalidRequestError, match=store_name):
        await uploads.upload(EVERYBODY, image_id, Upload(None, store_name), body(DATA))
    await assert_untouched(database, store, image_id)


async def test_formats_must_be_set(
    uploads: Uploads, images: Images, database: Database, store: MemoryStore
) -> None:
    image_id = await new_image(images, disk_format=None)
    with pytest.raises(errors.InvalidRequestError, match="disk_format"):
        await uploads.upload(EVERYBODY, image_id, ANY, body(DATA))
    await assert_untouched(database, store, image_id)


async def test_others_cannot_upload(
    uploads: Uploads, images: Images, database: Database, store: MemoryStore
) -> None:
    stranger = Identity("p2", "u2", is_admin=False)
    private = await new_image(images, owner="p1", visibility="private")
    public = await new_image(images, owner="p1", visibility="public")
    with pytest.raises(errors.NotFoundError):
        await uploads.upload(stranger, private, ANY, body(DATA))
    with pytest.raises(errors.ForbiddenError):
        await uploads.upload(stranger, public, ANY, body(DATA))
    await assert_untouched(database, store, private)


class Held:
    """A body that stops in the middle until it is let go."""

    def __init__(self, pieces: Iterable[bytes] = (DATA,)) -> None:
        self.pieces = list(pieces)
        self.reached = asyncio.Event()
        self.go = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.pieces[0]
        self.reached.set()
        await self.go.wait()
        for piece in self.pieces[1:]:
            yield piece


async def test_of_two_uploads_one_is_refused(
    uploads: Uploads, database: Database, store: MemoryStore, image_id: str
) -> None:
    held = Held()
    async with asyncio.TaskGroup() as group:
        group.create_task(uploads.upload(EVERYBODY, image_id, ANY, aiter(held)))
        await held.reached.wait()
        assert (await look_up(database, image_id)).status is Status.SAVING
        with pytest.raises(errors.TransitionError):
            await uploads.upload(EVERYBODY, image_id, ANY, body(b"other"))
        assert (await look_up(database, image_id)).status is Status.SAVING
        held.go.set()
    assert (await look_up(database, image_id)).size == len(DATA)
    with pytest.raises(errors.TransitionError):
        await uploads.upload(EVERYBODY, image_id, ANY, body(b"other"))
    assert store.used_bytes == len(DATA)


async def test_deleted_meanwhile(
    uploads: Uploads, images: Images, store: MemoryStore, image_id: str
) -> None:
    held = Held()
    task = asyncio.create_task(uploads.upload(EVERYBODY, image_id, ANY, aiter(held)))
    await held.reached.wait()
    await images.delete(EVERYBODY, image_id)
    held.go.set()
    with pytest.raises(errors.GoneError):
        await task
    assert (store.names, store.used_bytes) == (frozenset(), 0)
    with pytest.raises(errors.NotFoundError):
        await images.show(EVERYBODY, image_id)


async def test_changed_meanwhile(
    uploads: Uploads, images: Images, database: Database, image_id: str
) -> None:
    held = Held()
    async with asyncio.TaskGroup() as group:
        group.create_task(uploads.upload(EVERYBODY, image_id, ANY, aiter(held)))
        await held.reached.wait()
        await images.add_tag(EVERYBODY, image_id, "kept")
        held.go.set()
    image = await look_up(database, image_id)
    assert (image.status, image.tags, image.size) == (Status.ACTIVE, ("kept",), len(DATA))


@pytest.mark.parametrize("turns", range(0, 60, 3))
async def test_cancelled_anywhere(
    uploads: Uploads, images: Images, database: Database, store: MemoryStore, turns: int
) -> None:
    image_id = await new_image(images)
    task = asyncio.create_task(uploads.upload(EVERYBODY, image_id, ANY, body(DATA, DATA)))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    image = await look_up(database, image_id)
    if image.status is Status.ACTIVE:  # the cancellation came too late
        assert [Location(place.url) for place in image.locations] == [
            Location(f"memory:///{image_id}")
        ]
        assert store.names == {image_id}
        assert await pages_of(database) == [chunk_digests(DATA * 2, 256 << 10)]
    else:
        await assert_untouched(database, store, image_id)
