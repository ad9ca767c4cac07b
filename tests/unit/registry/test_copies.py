"""Copies of data in several stores: the record tells of those that are there, and one stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from backends.errors import InUseError, StoreError, UnavailableError
from backends.location import Location
from backends.memory import MemoryStore
from contracts.subject import write
from harness.given_stores import given
from registry.db.database import Database
from registry.db.images import add_location
from registry.domain import errors
from registry.domain.identity import EVERYBODY, Identity
from registry.domain.image import ImageLocation
from registry.domain.limits import Limits
from registry.domain.validation import ImageValidator
from registry.service.copies import Copies
from registry.service.digests import Hashing
from registry.service.images import Images
from registry.service.places import Places
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
    return Copies(database, stores)


@pytest.fixture
def images(database: Database, stores: Stores, validator: ImageValidator, limits: Limits) -> Images:
    return Images(database, Places(stores), validator, limits)


async def data() -> AsyncIterator[bytes]:
    yield b"data"


@pytest.fixture
async def image(
    database: Database, images: Images, stores: Stores, limits: Limits, far: MoodyStore
) -> str:
    """An image in both stores."""
    formats = {"disk_format": "raw", "container_format": "bare", "visibility": "public"}
    image_id = str((await images.create(EVERYBODY, formats))["id"])
    uploads = Uploads(database, stores, limits, Hashing("sha512", 256 << 10))
    await uploads.upload(EVERYBODY, image_id, Upload(None, None), data())
    location = await write(far, image_id, b"data")
    async with database.write() as connection:
        place = ImageLocation(location.uri + "?far", {"store": "far"})
        await add_location(connection, image_id, place)
    return image_id


async def stores_of(images: Images, image: str) -> str | None:
    found: str | None = (await images.show(EVERYBODY, image)).get("stores")
    return found


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (InUseError("a clone"), errors.ConflictError),
        (UnavailableError("away"), errors.UnavailableError),
    ],
)
async def test_a_copy_that_its_store_keeps_stays_in_the_record(
    images: Images,
    copies: Copies,
    image: str,
    far: MoodyStore,
    *,
    failure: StoreError,
    told: type[errors.RegistryError],
) -> None:
    far.error = failure
    with pytest.raises(told):
        await copies.remove(EVERYBODY, "far", image)
    assert await stores_of(images, image) == "far,near"
    far.error = None
    await copies.remove(EVERYBODY, "far", image)
    assert await stores_of(images, image) == "near"
    assert far.names == frozenset()


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
    far.error = InUseError("a clone")
    removing = asyncio.create_task(copies.remove(EVERYBODY, "far", image))
    await far.deleting.wait()
    removing.cancel()
    await asyncio.sleep(0)
    far.may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await removing
    assert await stores_of(images, image) == "far,near"


async def test_only_administrators_remove_copies(
    images: Images, copies: Copies, image: str
) -> None:
    with pytest.raises(errors.ForbiddenError):
        await copies.remove(MEMBER, "far", image)
    assert await stores_of(images, image) == "far,near"


async def test_where_there_is_one_store_there_are_no_copies(
    database: Database, image: str, near: MoodyStore
) -> None:
    with pytest.raises(errors.NotFoundError):
        await Copies(database, given({"near": near}, several=False)).remove(
            EVERYBODY, "near", image
        )


async def test_an_image_goes_as_far_as_its_stores_let_it(
    images: Images, image: str, near: MoodyStore, far: MoodyStore
) -> None:
    far.error = UnavailableError("away")
    with pytest.raises(errors.UnavailableError):
        await images.delete(EVERYBODY, image)
    assert near.names == frozenset()
    assert await stores_of(images, image) == "far"
    far.error = None
    await images.delete(EVERYBODY, image)
    assert far.names == frozenset()
    with pytest.raises(errors.NotFoundError):
        await images.show(EVERYBODY, image)
