"""Data that is deleted later: because the operator wants it so, or because a store could not."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from backends.errors import InUseError, StoreError, UnavailableError
from backends.location import Location
from backends.memory import MemoryStore
from contracts.subject import write
from harness.database_clock import DatabaseClock
from harness.given_images import images_of
from harness.given_stores import given
from harness.owed import owed
from harness.waiting import until_async
from registry.db.changes import get_tail
from registry.db.database import Connection, Database
from registry.db.discards import add_discards, due_discards, image_discards
from registry.db.images import add_image, add_location
from registry.db.purge import purge_images
from registry.db.retired import get_retired, retired_images
from registry.db.tables import discards as discard_rows
from registry.db.tables import images as image_rows
from registry.domain import errors
from registry.domain.identity import EVERYBODY
from registry.domain.image import Image, ImageLocation
from registry.domain.limits import Limits
from registry.domain.status import Status
from registry.domain.validation import ImageValidator
from registry.service import scrubbing as scrubbing_module
from registry.service.discards import PAUSE_SECONDS, PAUSE_SECONDS_MAX, Discards
from registry.service.images import Images
from registry.service.scrubbing import Scrubbing
from registry.service.stores import Stores

KEEP = 3600.0  # seconds
NOW = datetime(2026, 1, 1)  # noqa: DTZ001  # UTC without a zone
EVER = NOW + timedelta(days=100_000)
MARGIN = 600.0  # seconds, which no step of a test takes


class MoodyStore(MemoryStore):
    """A store whose deletions fail or wait as a test says, and are counted."""

    def __init__(self) -> None:
        super().__init__()
        self.error: StoreError | None = None
        self.tries = 0
        self.running = 0
        self.most = 0
        self.together = asyncio.Barrier(1)  # how many have to be at it for any to go on

    async def delete(self, location: Location) -> None:
        self.tries += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.together.wait()
            if self.error is not None:
                raise self.error
            await super().delete(location)
        finally:
            self.running -= 1


@pytest.fixture
def clock(database: Database) -> DatabaseClock:
    return DatabaseClock(database, discard_rows.c.due_at, image_rows.c.deleted_at)


@pytest.fixture
def store() -> MoodyStore:
    return MoodyStore()


@pytest.fixture
def stores(store: MoodyStore) -> Stores:
    return given({"memory": store})


@pytest.fixture
def discards(database: Database, stores: Stores) -> Discards:
    return Discards(database, stores, delay=KEEP)


@pytest.fixture
def scrubbing(database: Database, discards: Discards) -> Scrubbing:
    return Scrubbing(database, discards, keep=KEEP, at_once=3)


@pytest.fixture
def images(
    database: Database,
    stores: Stores,
    validator: ImageValidator,
    limits: Limits,
    discards: Discards,
) -> Images:
    """Records of a catalog with delayed_delete."""
    return images_of(database, stores, validator, limits, discards=discards)


async def active(database: Database, store: MemoryStore, name: str, **fields: object) -> Image:
    """Add an image with data."""
    location = await write(store, name, b"data")
    place = ImageLocation(location.uri, {"store": "memory"})
    described = {"status": Status.ACTIVE, "size": 4, "properties": {"k": "v"}, "tags": ("t",)}
    image = Image(id=name, created_at=NOW, updated_at=NOW, **{**described, **fields})  # type: ignore[arg-type]

    async def add(connection: Connection) -> None:
        await add_image(connection, image)
        await add_location(connection, name, place)

    await database.change(add)
    return image


@pytest.fixture
async def image(database: Database, store: MoodyStore) -> str:
    return (await active(database, store, "image")).id


async def test_a_deleted_image_is_gone_for_all_and_its_data_is_not(
    database: Database, images: Images, image: str, store: MoodyStore
) -> None:
    await images.delete(EVERYBODY, image)
    with pytest.raises(errors.NotFoundError):
        await images.show(EVERYBODY, image)
    with pytest.raises(errors.NotFoundError):
        await images.delete(EVERYBODY, image)
    assert (await images.list(EVERYBODY, []))["images"] == []
    assert store.names == {image}
    kept = await database.query(get_retired, image)
    assert kept is not None
    assert (kept.status, kept.tags, kept.properties) == ("pending_delete", ("t",), {"k": "v"})
    tail = await database.query(get_tail, 10)
    assert [change.kind for change in tail.changes] == ["deleted"]


async def test_it_goes_when_its_time_has_come(
    database: Database,
    images: Images,
    scrubbing: Scrubbing,
    image: str,
    store: MoodyStore,
    clock: DatabaseClock,
) -> None:
    await images.delete(EVERYBODY, image)
    await clock.move(KEEP - MARGIN)
    assert await scrubbing.scrub() == 0
    assert store.names == {image}
    await clock.move(MARGIN + 1)
    assert await scrubbing.scrub() == 1
    assert store.names == frozenset()
    assert await database.query(retired_images, 0.0, 10) == []
    assert await owed(database) == []
    with pytest.raises(errors.ConflictError):
        await scrubbing.restore(image)


async def test_restored_it_is_as_it_was(
    database: Database,
    images: Images,
    scrubbing: Scrubbing,
    image: str,
    store: MoodyStore,
    clock: DatabaseClock,
) -> None:
    before = await images.show(EVERYBODY, image)
    await images.delete(EVERYBODY, image)
    await scrubbing.restore(image)
    await clock.move(KEEP + 1)
    assert await scrubbing.scrub() == 0
    after = await images.show(EVERYBODY, image)
    assert after == {**before, "updated_at": after["updated_at"]}
    assert store.names == {image}
    tail = await database.query(get_tail, 10)
    assert [change.kind for change in tail.changes] == ["deleted", "data"]
    with pytest.raises(errors.ConflictError):
        await scrubbing.restore(image)


async def test_a_purge_leaves_what_still_has_data(
    database: Database, images: Images, scrubbing: Scrubbing, image: str, clock: DatabaseClock
) -> None:
    await images.delete(EVERYBODY, image)
    assert await database.change(purge_images, EVER, 10) == 0
    await scrubbing.restore(image)
    await images.delete(EVERYBODY, image)
    await clock.move(KEEP + 1)
    await scrubbing.scrub()
    assert await database.change(purge_images, EVER, 10) == 1


async def test_what_is_deactivated_must_be_active_to_be_deleted_later(
    database: Database, images: Images, store: MoodyStore
) -> None:
    image = await active(database, store, "image", status=Status.DEACTIVATED)
    with pytest.raises(errors.InvalidRequestError, match="pending_delete"):
        await images.delete(EVERYBODY, image.id)
    assert (await images.show(EVERYBODY, image.id))["status"] == "deactivated"


async def test_an_image_without_data_goes_at_once(images: Images, scrubbing: Scrubbing) -> None:
    image = str((await images.create(EVERYBODY, {}))["id"])
    await images.delete(EVERYBODY, image)
    with pytest.raises(errors.ConflictError):
        await scrubbing.restore(image)


async def due_at(database: Database) -> datetime:
    """Return when the one deletion that is owed is due."""

    async def ask(connection: Connection) -> datetime:
        moment: datetime = (await connection.execute(sa.select(discard_rows.c.due_at))).scalar_one()
        return moment

    return await database.query(ask)


@pytest.mark.parametrize("failure", [UnavailableError("away"), InUseError("a clone")])
async def test_what_a_store_does_not_delete_is_tried_again_ever_more_rarely(
    *,
    database: Database,
    images: Images,
    scrubbing: Scrubbing,
    image: str,
    store: MoodyStore,
    clock: DatabaseClock,
    failure: StoreError,
) -> None:
    await images.delete(EVERYBODY, image)
    await clock.move(KEEP + 1)
    store.error = failure
    since = await clock.now()
    assert await scrubbing.scrub() == 0
    pauses = [PAUSE_SECONDS * 2**number for number in range(6)]
    for pause in [*pauses, PAUSE_SECONDS_MAX, PAUSE_SECONDS_MAX]:
        tries = store.tries
        await clock.require(await due_at(database), since, pause)
        since = await clock.now()
        await clock.move(pause)
        await scrubbing.scrub()
        assert store.tries == tries + 1
    store.error = None
    await clock.move(PAUSE_SECONDS_MAX)
    assert await scrubbing.scrub() == 1
    assert store.names == frozenset()
    assert await database.query(image_discards, image) == []


async def test_so_many_at_the_same_time(
    database: Database,
    images: Images,
    scrubbing: Scrubbing,
    store: MoodyStore,
    clock: DatabaseClock,
) -> None:
    names = [f"image-{number}" for number in range(9)]
    for name in names:
        await active(database, store, name)
        await images.delete(EVERYBODY, name)
    await clock.move(KEEP + 1)
    store.together = asyncio.Barrier(3)
    assert await scrubbing.scrub() == len(names)
    assert store.most == 3
    assert store.names == frozenset()


async def test_what_its_process_did_not_delete_is_deleted_by_another(
    *,
    database: Database,
    stores: Stores,
    validator: ImageValidator,
    limits: Limits,
    image: str,
    store: MoodyStore,
    clock: DatabaseClock,
) -> None:
    now = Discards(database, stores)
    images = images_of(database, stores, validator, limits, discards=now)
    store.error = UnavailableError("away")
    await images.delete(EVERYBODY, image)
    store.error = None
    scrubbing = Scrubbing(database, now)
    assert await scrubbing.scrub() == 0  # the store has time to come back
    await clock.move(PAUSE_SECONDS)
    assert await scrubbing.scrub() == 1
    assert store.names == frozenset()


async def test_what_another_image_has_now_is_left(
    database: Database,
    images: Images,
    scrubbing: Scrubbing,
    image: str,
    store: MoodyStore,
    clock: DatabaseClock,
) -> None:
    await images.delete(EVERYBODY, image)
    await clock.move(KEEP + 1)
    other = Image(id="other", created_at=NOW, updated_at=NOW, status=Status.ACTIVE, size=4)
    await database.change(add_image, other)
    place = ImageLocation("memory:///image", {"store": "memory"})
    await database.change(add_location, "other", place)
    await scrubbing.scrub()
    assert store.names == {"image"}
    assert await owed(database) == []


async def test_two_scrubbers_delete_once(
    database: Database,
    images: Images,
    scrubbing: Scrubbing,
    image: str,
    store: MoodyStore,
    clock: DatabaseClock,
) -> None:
    await images.delete(EVERYBODY, image)
    await clock.move(KEEP + 1)
    await asyncio.gather(scrubbing.scrub(), scrubbing.scrub())
    assert store.names == frozenset()
    assert await owed(database) == []


async def test_a_store_that_is_slow_or_away_holds_up_no_other(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one deletes one thing, and another answers nothing, a third goes on with what comes."""
    monkeypatch.setattr(scrubbing_module, "LOOK_SECONDS", 0.0)
    slow, away, quick = MoodyStore(), MoodyStore(), MoodyStore()
    stores = given({"slow": slow, "away": away, "quick": quick})
    discards = Discards(database, stores)
    slow.together, away.error = asyncio.Barrier(2), UnavailableError("away")

    async def owe(connection: Connection, number: int, store: str) -> None:
        place = ImageLocation(f"memory:///{number}", {"store": store})
        await add_discards(connection, f"image-{number}", [place], 0.0)

    for number, store in enumerate(["away"] * 5 + ["slow"] * 2 + ["quick"] * 2):
        await database.change(owe, number, store)
    task = asyncio.create_task(Scrubbing(database, discards).scrub())
    try:
        await until_async("the quick one", lambda: quick.tries == 2 and slow.running == 1)
        await database.change(owe, 10, "quick")
        await until_async("more of it", lambda: quick.tries == 3)
        assert (away.tries, slow.tries) == (1, 1)
    finally:
        slow.together = asyncio.Barrier(1)
        task.cancel()
        await asyncio.wait({task})
    left = [discard.image_id for discard in await database.query(due_discards, 10)]
    assert left == [*(f"image-{number}" for number in range(1, 5)), "image-6"]
