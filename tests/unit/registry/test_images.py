"""Records below HTTP: what is refused to whom, deleting with its data, and times."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from backends.errors import InUseError, StoreError
from backends.errors import UnavailableError as StoreAwayError
from backends.location import Location
from backends.memory import MemoryStore
from harness.given_images import images_of
from harness.given_stores import given
from registry.db.database import Database
from registry.db.discards import image_discards
from registry.db.tables import image_properties
from registry.domain import errors
from registry.domain.identity import EVERYBODY, Identity
from registry.domain.limits import Limits
from registry.domain.validation import ImageValidator
from registry.inspection.options import InspectionSettings
from registry.service.checks import Checks
from registry.service.digests import Hashing
from registry.service.downloads import Downloads
from registry.service.images import Images
from registry.service.leases import Leases
from registry.service.stores import Stores
from registry.service.uploads import Upload, Uploads
from registry.signatures.keys import Keys
from registry.signatures.options import KeySettings

OWNER = Identity("p1", "u1", is_admin=False)
STRANGER = Identity("p2", "u2", is_admin=False)


async def body(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def new_image(images: Images, **fields: Any) -> str:
    described = {"container_format": "bare", "disk_format": "raw", **fields}
    return str((await images.create(EVERYBODY, described))["id"])


async def test_the_owner_is_the_callers_project(images: Images) -> None:
    assert (await images.create(OWNER, {}))["owner"] == "p1"
    assert (await images.create(EVERYBODY, {}))["owner"] is None
    with pytest.raises(errors.ForbiddenError):
        await images.create(OWNER, {"owner": "p2"})
    with pytest.raises(errors.ForbiddenError):
        await images.create(OWNER, {"visibility": "public"})


async def test_a_page_behind_what_one_may_not_see(images: Images) -> None:
    private = await new_image(images, owner="p1", visibility="private")
    assert (await images.list(OWNER, [("marker", private)]))["images"] == []
    assert (await images.list(EVERYBODY, [("marker", private)]))["images"] == []
    with pytest.raises(errors.ForbiddenError, match="not visible"):
        await images.list(STRANGER, [("marker", private)])
    with pytest.raises(errors.InvalidRequestError):
        await images.list(STRANGER, [("marker", "nothing")])


async def test_deactivated_and_active_again(
    images: Images, uploads: Uploads, downloads: Downloads
) -> None:
    image = await new_image(images, visibility="public")
    with pytest.raises(errors.ForbiddenError, match="deactivate image in status 'queued'"):
        await images.deactivate(EVERYBODY, image)
    await uploads.upload(EVERYBODY, image, Upload(None, None), body(b"data"))
    shown = await images.show(EVERYBODY, image)
    await images.reactivate(EVERYBODY, image)  # as it is already
    assert await images.show(EVERYBODY, image) == shown
    for _ in range(2):
        await images.deactivate(EVERYBODY, image)
        assert (await images.show(STRANGER, image))["status"] == "deactivated"
    with pytest.raises(errors.ForbiddenError):
        await images.reactivate(STRANGER, image)
    with pytest.raises(errors.ForbiddenError, match="has been deactivated"):
        await downloads.find(STRANGER, image)
    await images.reactivate(EVERYBODY, image)
    assert (await images.show(EVERYBODY, image))["status"] == "active"
    with pytest.raises(errors.NotFoundError):
        await images.deactivate(EVERYBODY, "nothing")


async def test_strangers_see_nothing_and_change_nothing(images: Images) -> None:
    private = await new_image(images, owner="p1", visibility="private")
    public = await new_image(images, owner="p1", visibility="public")
    with pytest.raises(errors.NotFoundError):
        await images.show(STRANGER, private)
    assert (await images.show(STRANGER, public))["id"] == public
    for image_id, refusal in ((private, errors.NotFoundError), (public, errors.ForbiddenError)):
        with pytest.raises(refusal):
            await images.add_tag(STRANGER, image_id, "x")
        with pytest.raises(refusal):
            await images.delete(STRANGER, image_id)
        assert (await images.show(OWNER, image_id))["tags"] == []


async def test_a_property_of_that_name_is_never_shown_as_our_manifest(
    images: Images, database: Database
) -> None:
    """Whoever wrote the database before us may have stored what a client sent."""
    image_id = await new_image(images)
    async with database.write() as connection:
        row = {"image_id": image_id, "name": "os_manifest", "value": "1:1048576:" + "0" * 64}
        await connection.execute(image_properties.insert().values(row))
    assert (await images.show(EVERYBODY, image_id))["os_manifest"] is None


async def test_a_change_moves_the_time_and_no_change_does_not(images: Images) -> None:
    image_id = await new_image(images)
    before = await images.show(EVERYBODY, image_id)
    media_type = "application/openstack-images-v2.1-json-patch"
    assert await images.patch(EVERYBODY, image_id, media_type, []) == before
    await images.add_tag(EVERYBODY, image_id, "x")
    tagged = await images.show(EVERYBODY, image_id)
    assert tagged["updated_at"] > before["updated_at"]
    await images.add_tag(EVERYBODY, image_id, "x")
    assert await images.show(EVERYBODY, image_id) == tagged


async def test_an_id_is_never_used_twice(images: Images) -> None:
    image_id = await new_image(images)
    for _ in range(2):
        with pytest.raises(errors.ConflictError, match="already exists"):
            await new_image(images, id=image_id.upper())
        if _ == 0:
            await images.delete(EVERYBODY, image_id)


async def test_deleting_takes_the_data_along(
    images: Images, uploads: Uploads, store: MemoryStore
) -> None:
    image_id = await new_image(images)
    await uploads.upload(EVERYBODY, image_id, Upload(None, None), body(b"data"))
    assert store.names == {image_id}
    await images.delete(EVERYBODY, image_id)
    assert store.names == frozenset()
    with pytest.raises(errors.NotFoundError):
        await images.delete(EVERYBODY, image_id)


async def test_an_image_whose_data_is_lost_can_be_deleted(
    images: Images, uploads: Uploads, store: MemoryStore
) -> None:
    image_id = await new_image(images)
    await uploads.upload(EVERYBODY, image_id, Upload(None, None), body(b"data"))
    await store.delete(Location(f"memory:///{image_id}"))
    await images.delete(EVERYBODY, image_id)
    with pytest.raises(errors.NotFoundError):
        await images.show(EVERYBODY, image_id)


async def test_data_that_another_image_names_is_left_to_it(
    images: Images,
    uploads: Uploads,
    downloads: Downloads,
    database: Database,
    store: MemoryStore,
) -> None:
    image_id, other = await new_image(images), await new_image(images)
    await uploads.upload(EVERYBODY, image_id, Upload(None, None), body(b"data"))
    value = {"url": f"memory:///{image_id}", "metadata": {}}
    patch = [{"op": "add", "path": "/locations/-", "value": value}]
    await images.patch(EVERYBODY, other, "application/openstack-images-v2.1-json-patch", patch)
    await images.delete(EVERYBODY, image_id)
    with pytest.raises(errors.NotFoundError):
        await images.show(EVERYBODY, image_id)
    assert store.names == {image_id}
    assert (await downloads.find(EVERYBODY, other)).size == 4
    # Had the other left it to this one at the same time, the scrubber would delete it.
    assert await owed(database, image_id) == [value["url"]]
    await images.delete(EVERYBODY, other)
    assert store.names == frozenset()


class RefusingStore(MemoryStore):
    """A store that does not delete, and says so where that is because of who uses its data."""

    def __init__(self, error: StoreError) -> None:
        super().__init__()
        self.error = error

    async def require_unused(self, location: Location) -> None:
        await self.stat(location)
        if isinstance(self.error, InUseError):
            raise self.error

    async def delete(self, location: Location) -> None:
        await self.stat(location)
        raise self.error


async def uploaded(
    database: Database, images: Images, stores: Stores, limits: Limits, hashing: Hashing
) -> str:
    image_id = await new_image(images)
    checks = Checks(InspectionSettings(), Keys(KeySettings()))
    await Uploads(database, stores, limits, hashing, checks, leases=Leases(database, 60)).upload(
        EVERYBODY, image_id, Upload(None, None), body(b"data")
    )
    return image_id


async def owed(database: Database, image_id: str) -> list[str]:
    return [each.place.url for each in await database.query(image_discards, image_id)]


async def test_data_in_use_keeps_the_image(
    database: Database, validator: ImageValidator, limits: Limits, hashing: Hashing
) -> None:
    stores = given({"r": RefusingStore(InUseError("a clone"))})
    images = images_of(database, stores, validator, limits)
    image_id = await uploaded(database, images, stores, limits, hashing)
    with pytest.raises(errors.ConflictError):
        await images.delete(EVERYBODY, image_id)
    assert (await images.show(EVERYBODY, image_id))["status"] == "active"
    data = await Downloads(database, stores).find(EVERYBODY, image_id)
    assert data.size == 4
    assert await owed(database, image_id) == []


async def test_where_the_store_is_away_the_image_goes_and_its_data_is_owed(
    database: Database, validator: ImageValidator, limits: Limits, hashing: Hashing
) -> None:
    store = RefusingStore(StoreAwayError("away"))
    stores = given({"r": store})
    images = images_of(database, stores, validator, limits)
    image_id = await uploaded(database, images, stores, limits, hashing)
    await images.delete(EVERYBODY, image_id)
    with pytest.raises(errors.NotFoundError):
        await images.show(EVERYBODY, image_id)
    assert store.names == {image_id}
    assert len(await owed(database, image_id)) == 1


async def test_protected_images_stay(images: Images) -> None:
    image_id = await new_image(images, protected=True)
    with pytest.raises(errors.ForbiddenError, match="protected"):
        await images.delete(EVERYBODY, image_id)
    assert (await images.show(EVERYBODY, image_id))["status"] == "queued"
