"""Copies of data in several stores: the record tells of those that are there, and one stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from backends.errors import InUseError, StoreError, UnavailableError
from backends.location import Location
from backends.memory import MemoryStore
from contracts.subject import write
from harness.given_images import images_of
from harness.given_stores import given
from registry.db.database import Database
from registry.db.discards import image_discards
from registry.db.images import add_location
from registry.domain import errors
from registry.domain.identity import EVERYBODY, Identity
from registry.domain.image import ImageLocation
from registry.domain.limits import Limits
from registry.domain.validation import ImageValidator
from registry.service.checks import Checks
from registry.service.copies import Copies
from registry.service.digests import Hashing
from registry.service.discards import Discards
from registry.service.images import Images
from registry.service.leases import Leases
from registry.service.stores import Stores
from registry.service.uploads import Upload, Uploads

MEMBER = Identity("project", "user", is_admin=False)


class MoodyStore(MemoryStore):
    """A store whose deletions fail or wait as a test says.

    Two of them name an object alike, but for a query that tells the catalog's places apart.
    """

    def __init__(self) -> None:
        super().__init__()
        self.error: StoreError | None = None
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self.deleting = asyncio.Event()

    async def require_unused(self, location: Location) -> None:
        await super().require_unused(location)
        if isinstance(self.error, InUseError):
            raise self.error

    async def delete(self, location: Location) -> None:
        self.deleting.set()
        await self.may_go_on.wait()
        if self.error is not None:
            raise self.error
        await super().delete(Location(location.uri.partition("?")[0]))


@pytest.fixture
def near() -> MoodyStore:
    return MoodyStore()


@pytest.fixture
def far() -> MoodyStore:
    return MoodyStore()


@pytest.fixture
def stores(near: MoodyStore, far: MoodyStore) -> Stores:
    return given({"near": near, "far": far}, weights={"far": 1})


@pytest.fixture
def copies(database: Database, stores: Stores) -> Copies:
    return Copies(stores, Discards(database, stores))


@pytest.fixture
def images(database: Database, stores: Stores, validator: ImageValidator, limits: Limits) -> Images:
    return images_of(database, stores, validator, limits)


async def data() -> AsyncIterator[bytes]:
    yield b"data"


@pytest.fixture
async def image(
    database: Database,
    images: Images,
    stores: Stores,
    limits: Limits,
    checks: Checks,
    far: MoodyStore,
) -> str:
    """An image in both stores."""
    formats = {"disk_format": "raw", "container_format": "bare", "visibility": "public"}
    image_id = str((await images.create(EVERYBODY, formats))["id"])
    uploads = Uploads(
        database, stores, limits, Hashing("sha512", 256 << 10), checks, leases=Leases(database, 60)
    )
    await uploads.upload(EVERYBODY, image_id, Upload(None, None), data())
    location = await write(far, image_id, b"data")
    async with database.write() as connection:
        place = ImageLocation(location.uri + "?far", {"store": "far"})
        await add_location(connection, image_id, place)
    return image_id


async def stores_of(images: Images, image: str) -> str | None:
    found: str | None = (await images.show(EVERYBODY, image)).get("stores")
    return found


async def test_a_copy_that_is_in_use_stays_in_the_record(
    database: Database, images: Images, copies: Copies, image: str, far: MoodyStore
) -> None:
    far.error = InUseError("a clone")
    with pytest.raises(errors.ConflictError, match="in use"):
        await copies.remove(EVERYBODY, "far", image)
    assert await stores_of(images, image) == "far,near"
    assert await database.query(image_discards, image) == []
    far.error = None
    await copies.remove(EVERYBODY, "far", image)
    assert await stores_of(images, image) == "near"
    assert far.names == frozenset()
    assert await database.query(image_discards, image) == []


async def test_a_copy_in_a_store_that_is_away_is_owed(
    database: Database, images: Images, copies: Copies, image: str, far: MoodyStore
) -> None:
    far.error = UnavailableError("away")
    await copies.remove(EVERYBODY, "far", image)
    assert await stores_of(images, image) == "near"
    assert far.names == {image}
    (owed,) = await database.query(image_discards, image)
    assert owed.place.metadata == {"store": "far"}
    assert owed.attempts == 2  # begun, and given back


async def test_a_removal_whose_process_dies_is_owed(
    database: Database, images: Images, copies: Copies, image: str, far: MoodyStore
) -> None:
    far.error = BrokenPipeError()  # type: ignore[assignment]  # whatever ends it in the middle
    with pytest.raises(BrokenPipeError):
        await copies.remove(EVERYBODY, "far", image)
    assert await stores_of(images, image) == "near"
    (owed,) = await database.query(image_discards, image)
    assert owed.place.metadata == {"store": "far"}


async def test_of_two_who_remove_the_last_two_copies_one_is_refused(
    images: Images, copies: Copies, image: str, near: MoodyStore, far: MoodyStore
) -> None:
    far.may_go_on.clear()
    first = asyncio.create_task(copies.remove(EVERYBODY, "far", image))
    await far.deleting.wait()
    with pytest.raises(errors.ForbiddenError, match="only store"):
        await copies.remove(EVERYBODY, "near", image)
    far.may_go_on.set()
    await first
    assert await stores_of(images, image) == "near"
    assert near.names == {image}
    assert far.names == frozenset()


async def test_a_client_that_leaves_does_not_stop_a_removal(
    images: Images, copies: Copies, image: str, far: MoodyStore
) -> None:
    far.may_go_on.clear()
    removing = asyncio.create_task(copies.remove(EVERYBODY, "far", image))
    await far.deleting.wait()
    removing.cancel()
    await asyncio.sleep(0)
    far.may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await removing
    assert await stores_of(images, image) == "near"
    assert far.names == frozenset()


async def test_only_administrators_remove_copies(
    images: Images, copies: Copies, image: str
) -> None:
    with pytest.raises(errors.ForbiddenError):
        await copies.remove(MEMBER, "far", image)
    assert await stores_of(images, image) == "far,near"


async def test_where_there_is_one_store_there_are_no_copies(
    database: Database, image: str, near: MoodyStore
) -> None:
    alone = given({"near": near}, several=False)
    with pytest.raises(errors.NotFoundError):
        await Copies(alone, Discards(database, alone)).remove(EVERYBODY, "near", image)


async def test_a_copy_that_another_image_names_is_left(
    database: Database, images: Images, copies: Copies, image: str, far: MoodyStore
) -> None:
    other = str((await images.create(EVERYBODY, {}))["id"])
    shared = ImageLocation(f"memory:///{image}?far", {"store": "far"})
    async with database.write() as connection:
        await add_location(connection, other, shared)
    await copies.remove(EVERYBODY, "far", image)
    assert await stores_of(images, image) == "near"
    assert far.names == {image}
    # Had the other left it to this one at the same time, the scrubber would delete it.
    (owed,) = await database.query(image_discards, image)
    assert await Discards(database, given({"far": far})).settle(owed)
    assert far.names == {image}
    assert await database.query(image_discards, image) == []


async def test_an_image_that_is_in_use_in_one_store_loses_nothing(
    images: Images, image: str, near: MoodyStore, far: MoodyStore
) -> None:
    far.error = InUseError("a clone")
    with pytest.raises(errors.ConflictError):
        await images.delete(EVERYBODY, image)
    assert near.names == {image}
    assert await stores_of(images, image) == "far,near"
    far.error = None
    await images.delete(EVERYBODY, image)
    assert near.names | far.names == frozenset()
    with pytest.raises(errors.NotFoundError):
        await images.show(EVERYBODY, image)
