"""A deletion whose process dies between any two of its steps leaves no record without its data.

Before the transaction that deletes, all is as it was; behind it, what is left is owed.
"""

from __future__ import annotations

import operator
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pytest

from backends.errors import InUseError
from backends.errors import UnavailableError as StoreAwayError
from backends.location import Location
from backends.memory import MemoryStore
from contracts.subject import write
from harness.database_clock import DatabaseClock
from harness.given_images import images_of
from harness.given_stores import given
from harness.owed import owed
from registry.db.database import Connection, Database
from registry.db.discards import add_discards
from registry.db.images import add_image, add_location, get_image
from registry.db.tables import discards as discard_rows
from registry.domain.errors import ConflictError
from registry.domain.identity import EVERYBODY
from registry.domain.image import Image, ImageLocation
from registry.domain.limits import Limits
from registry.domain.status import Status
from registry.domain.validation import ImageValidator
from registry.service import discards as service
from registry.service.copies import Copies
from registry.service.discards import LEASE_SECONDS, STILL_SECONDS, Discards
from registry.service.images import Images
from registry.service.scrubbing import Scrubbing
from registry.service.stores import Stores
from registry.service.uploads import Upload, Uploads

NOW = datetime(2026, 1, 1)  # noqa: DTZ001  # UTC without a zone
MEDIA_TYPE = "application/openstack-images-v2.1-json-patch"
IMAGE = "image"


class UsedStore(MemoryStore):
    """A store that may know of somebody who uses its data."""

    is_used = False

    async def require_unused(self, location: Location) -> None:
        await super().require_unused(location)
        if self.is_used:
            raise InUseError("a clone")


@dataclass
class Case:
    """An image with data in two stores."""

    database: Database
    stores: Stores
    near: UsedStore
    far: UsedStore
    images: Images
    copies: Copies
    scrubbing: Scrubbing
    clock: DatabaseClock

    async def places(self) -> list[str] | None:
        """Return the stores that the record tells of, None if there is no record."""
        image = await self.database.query(get_image, IMAGE)
        return None if image is None else [place.metadata["store"] for place in image.locations]

    async def owed(self) -> list[str]:
        return [discard.place.metadata["store"] for discard in await owed(self.database)]

    @property
    def data(self) -> list[str]:
        return [name for name in ("near", "far") if getattr(self, name).names]


@pytest.fixture
async def case(database: Database, validator: ImageValidator, limits: Limits) -> Case:
    near, far = UsedStore(), UsedStore()
    stores = given({"near": near, "far": far})
    discards = Discards(database, stores)
    image = Image(id=IMAGE, created_at=NOW, updated_at=NOW, status=Status.ACTIVE, size=4)

    async def add(connection: Connection) -> None:
        await add_image(connection, image)
        for name, store in (("near", near), ("far", far)):
            location = await write(store, f"{IMAGE}-{name}", b"data")
            await add_location(connection, IMAGE, ImageLocation(location.uri, {"store": name}))

    await database.change(add)
    return Case(
        *(database, stores, near, far),
        images_of(database, stores, validator, limits, discards=discards),
        Copies(stores, discards),
        Scrubbing(database, discards),
        DatabaseClock(database, discard_rows.c.due_at),
    )


async def delete_image(case: Case) -> None:
    await case.images.delete(EVERYBODY, IMAGE)


async def delete_copy(case: Case) -> None:
    await case.copies.remove(EVERYBODY, "far", IMAGE)


async def delete_location(case: Case) -> None:
    await case.images.patch(
        EVERYBODY, IMAGE, MEDIA_TYPE, [{"op": "remove", "path": "/locations/1"}]
    )


Deletion = Callable[[Case], Awaitable[None]]
BOTH = ["near", "far"]
DELETIONS: dict[Deletion, list[str]] = {  # and which data they leave
    delete_image: [],
    delete_copy: ["near"],
    delete_location: ["near"],
}


class KilledError(BaseException):
    """Nothing that would come behind it happens."""


UNDONE: list[tuple[Any, str]] = [(Stores, "require_unused"), (service, "add_discards")]
OWED: list[tuple[Any, str]] = [
    *((service, "image_discards"), (service, "claim_discard")),
    *((MemoryStore, "delete"), (service, "end_discard")),
]


def kill(patched: pytest.MonkeyPatch, step: tuple[Any, str], *, behind: bool) -> None:
    """Let the process die before or behind a step."""
    owner, name = step
    original = getattr(owner, name)

    async def dying(*args: Any) -> None:
        if behind:
            await original(*args)
        raise KilledError

    patched.setattr(owner, name, dying)


@pytest.mark.parametrize("deletion", DELETIONS)
@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("step", UNDONE, ids=operator.itemgetter(1))
async def test_killed_before_the_record_is_changed(
    case: Case,
    deletion: Deletion,
    *,
    step: tuple[Any, str],
    behind: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:
        kill(patched, step, behind=behind)
        with pytest.raises(KilledError):
            await deletion(case)
    assert (await case.places(), await case.owed(), case.data) == (BOTH, [], BOTH)
    await deletion(case)
    assert (await case.places() or [], case.data) == (DELETIONS[deletion], DELETIONS[deletion])


@pytest.mark.parametrize("deletion", DELETIONS)
@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("step", OWED, ids=operator.itemgetter(1))
async def test_killed_behind_that(
    case: Case,
    deletion: Deletion,
    *,
    step: tuple[Any, str],
    behind: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:
        kill(patched, step, behind=behind)
        with pytest.raises(KilledError):
            await deletion(case)
    left = DELETIONS[deletion]
    gone = [name for name in BOTH if name not in left]
    is_deleted = step[1] == "end_discard" or (step[1] == "delete" and behind)
    there = [name for name in BOTH if name != gone[0]] if is_deleted else BOTH
    assert (await case.places() or [], await case.owed(), case.data) == (left, gone, there)
    assert await case.scrubbing.scrub() == 0  # who owes it, or has claimed it, may be alive
    await case.clock.move(LEASE_SECONDS)
    await case.scrubbing.scrub()
    assert (await case.places() or [], case.data) == (left, left)
    # Where it was begun, whoever did so may only be standing still.
    was_begun = step[1] in {"delete", "end_discard"}
    assert await case.owed() == (gone[:1] if was_begun else [])
    await case.clock.move(STILL_SECONDS)
    await case.scrubbing.scrub()
    assert (await case.places() or [], await case.owed(), case.data) == (left, [], left)


@pytest.mark.parametrize("deletion", DELETIONS)
async def test_data_that_somebody_uses_keeps_all(case: Case, deletion: Deletion) -> None:
    case.far.is_used = True
    with pytest.raises(ConflictError, match="in use"):
        await deletion(case)
    assert (await case.places(), await case.owed(), case.data) == (BOTH, [], BOTH)


async def test_a_store_that_cannot_be_asked_refuses_nothing(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise StoreAwayError("away")

    for name in ("require_unused", "delete"):
        monkeypatch.setattr(case.far, name, away)
    await case.images.delete(EVERYBODY, IMAGE)
    assert (await case.places(), await case.owed(), case.data) == (None, ["far"], ["far"])


async def test_another_images_data_is_asked_about_by_nobody(case: Case) -> None:
    """It stays, whoever uses it."""
    case.near.is_used = case.far.is_used = True
    places = [ImageLocation(f"memory:///{IMAGE}-{name}", {"store": name}) for name in BOTH]

    async def share(connection: Connection) -> None:
        await add_image(connection, Image(id="other", created_at=NOW, updated_at=NOW))
        for place in places:
            await add_location(connection, "other", place)

    await case.database.change(share)
    await case.images.delete(EVERYBODY, IMAGE)
    assert (await case.places(), case.data) == (None, BOTH)
    await case.clock.move(LEASE_SECONDS)
    await case.scrubbing.scrub()
    assert (await case.owed(), case.data) == ([], BOTH)


async def test_a_place_that_comes_while_stores_are_asked_is_asked_about(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    third = ImageLocation("memory:///third", {"store": "far"})
    original = case.far.require_unused

    async def adding(_location: Location) -> None:
        monkeypatch.setattr(case.far, "require_unused", original)
        case.far.is_used = True
        await write(case.far, "third", b"data")
        await case.database.change(add_location, IMAGE, third)

    monkeypatch.setattr(case.far, "require_unused", adding)
    with pytest.raises(ConflictError, match="in use"):
        await case.images.delete(EVERYBODY, IMAGE)
    assert await case.places() == ["near", "far", "far"]


async def test_an_upload_waits_for_what_the_image_had(
    case: Case, uploads: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import of it failed, and what that brought is not deleted yet; other stores are free."""

    async def queue(connection: Connection) -> None:
        image = Image(id="again", created_at=NOW, updated_at=NOW)
        await add_image(connection, replace(image, disk_format="raw", container_format="bare"))
        place = ImageLocation("memory:///again", {"store": "near"})
        await add_discards(connection, "again", [place], 0.0)

    async def data() -> AsyncIterator[bytes]:
        yield b"new"

    await case.database.change(queue)
    monkeypatch.setattr(uploads, "_stores", case.stores)
    with pytest.raises(ConflictError, match="not deleted yet"):
        await uploads.upload(EVERYBODY, "again", Upload(None, "near"), data())
    await uploads.upload(EVERYBODY, "again", Upload(None, "far"), data())
    await case.scrubbing.scrub()
    assert await case.owed() == []
    assert "again" in case.far.names
