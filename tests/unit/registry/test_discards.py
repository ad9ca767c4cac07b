"""Rows of data that is to be deleted: what is claimed meets no new data, on every kind of database."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from backends.location import Location
from backends.memory import MemoryStore
from contracts.subject import write
from harness.catalog_database import IN_EVERY_RUN, server_of
from harness.database_clock import DatabaseClock, mislead
from harness.databases import Server
from harness.given_stores import given
from harness.owed import owed
from registry.db.clock import moment_in
from registry.db.database import Connection, Database
from registry.db.discards import (
    Discard,
    add_discards,
    claim_discard,
    drop_discard,
    due_discards,
    end_discard,
    image_discards,
    is_location,
    postpone_discard,
    renew_discard,
)
from registry.db.images import add_image, add_location, delete_image, get_image, remove_location
from registry.db.retired import get_retired
from registry.db.tables import discards, image_locations, images
from registry.domain.errors import ConflictError
from registry.domain.image import Image, ImageLocation
from registry.domain.status import Status
from registry.service.discards import Discards, require_settled
from registry.service.scrubbing import Scrubbing

NOW = datetime(2026, 1, 1)  # noqa: DTZ001  # UTC without a zone
HOUR = 3600.0
LONG = "swift+https://" + "x" * 600  # what begins like it is another place
PLACE = ImageLocation(LONG + "/1", {"store": "near"})
OTHER_PLACE = ImageLocation(LONG + "/2", {"store": "near"})
BLOCKED_SECONDS = 0.3  # in which a transaction would end that does not wait for another


@pytest.fixture(scope="session", params=IN_EVERY_RUN)
def server(request: pytest.FixtureRequest) -> Server | None:
    return server_of(request)


async def add(connection: Connection, name: str, *places: ImageLocation) -> None:
    image = Image(id=name, created_at=NOW, updated_at=NOW, status=Status.ACTIVE, size=4)
    await add_image(connection, image)
    for place in places:
        await add_location(connection, name, place)


async def delete(connection: Connection, name: str) -> None:
    """Delete an image as the catalog does: what it had is owed in the same transaction."""
    image = await get_image(connection, name, for_update=True)
    assert image is not None
    await add_discards(connection, name, image.locations, 0.0)
    await delete_image(connection, image, NOW)


@pytest.fixture
async def discard(database: Database) -> Discard:
    """What a deleted image has left, beside two images of other places."""
    await database.change(add, "image", PLACE)
    await database.change(add, "other", OTHER_PLACE)
    await database.change(add, "empty")
    await database.change(delete, "image")
    (found,) = await owed(database)
    return found


async def test_one_of_two_claims_it(database: Database, discard: Discard) -> None:
    claims = await asyncio.gather(
        *(database.change(claim_discard, discard, HOUR) for _ in range(2))
    )
    (claim,) = [claim for claim in claims if claim is not None]
    assert await owed(database) == [claim]
    assert claim.is_claimed
    assert await database.query(due_discards, 10) == []
    again = await database.change(claim_discard, claim, HOUR)
    assert again is not None
    assert again.is_claimed
    # Who had it before changes nothing any more.
    assert not await database.change(renew_discard, claim, 0.0)
    await database.change(postpone_discard, claim, 0.0)
    await database.change(end_discard, claim)
    assert await owed(database) == [again]
    assert await database.query(due_discards, 10) == []
    await database.change(postpone_discard, again, 0.0)
    (given_back,) = await database.query(due_discards, 10)
    assert not given_back.is_claimed
    # Nor does who has given it back.
    assert not await database.change(renew_discard, again, HOUR)
    await database.change(end_discard, again)
    assert await database.query(due_discards, 10) == [given_back]
    last = await database.change(claim_discard, given_back, HOUR)
    assert last is not None
    assert last.is_claimed
    await database.change(end_discard, last)
    assert await owed(database) == []


async def test_a_claim_lasts_for_as_long_as_it_is_renewed(
    database: Database, discard: Discard
) -> None:
    clock = DatabaseClock(database, discards.c.due_at)
    claim = await database.change(claim_discard, discard, HOUR)
    assert claim is not None
    for _ in range(3):
        await clock.move(HOUR / 2)
        assert await database.change(renew_discard, claim, HOUR)
        assert await owed(database) == [claim]
    assert await database.query(due_discards, 10) == []
    await clock.move(HOUR)
    assert await database.query(due_discards, 10) == [claim]


async def test_nobody_has_data_in_a_place_whose_data_is_being_deleted(
    database: Database, discard: Discard
) -> None:
    claim = await database.change(claim_discard, discard, HOUR)
    with pytest.raises(ConflictError, match="being deleted"):
        await database.change(add_location, "empty", PLACE)
    assert not await database.query(is_location, PLACE.url)
    assert await owed(database) == [claim]
    await database.change(add_location, "empty", ImageLocation(LONG + "/3", {}))


async def test_data_in_a_place_ends_its_deletion(database: Database, discard: Discard) -> None:
    await database.change(add_location, "empty", PLACE)
    assert await owed(database) == []
    assert await database.change(claim_discard, discard, HOUR) is None


async def test_what_another_image_has_too_is_not_claimed(database: Database) -> None:
    await database.change(add, "one", PLACE)
    await database.change(add, "two", PLACE)
    await database.change(delete, "one")
    (discard,) = await owed(database)
    assert await database.change(claim_discard, discard, HOUR) is None
    await database.change(delete, "two")
    assert not await database.change(drop_discard, discard)
    assert await database.change(claim_discard, discard, HOUR) is not None


async def test_what_another_image_has_is_forgotten(database: Database) -> None:
    await database.change(add, "one", PLACE)
    await database.change(add, "two", PLACE)
    await database.change(delete, "one")
    (discard,) = await owed(database)
    assert await database.change(drop_discard, discard)
    assert await owed(database) == []


async def test_a_claim_waits_for_who_is_about_to_have_data_there(
    database: Database, discard: Discard
) -> None:
    async with database.write() as connection:
        await add_location(connection, "empty", PLACE)
        claiming = asyncio.create_task(database.change(claim_discard, discard, HOUR))
        await asyncio.wait({claiming}, timeout=BLOCKED_SECONDS)
    assert await claiming is None
    assert await database.query(is_location, PLACE.url)


async def test_who_is_about_to_have_data_there_waits_for_a_claim(
    database: Database, discard: Discard
) -> None:
    async with database.write() as connection:
        claim = await claim_discard(connection, discard, HOUR)
        adding = asyncio.create_task(database.change(add_location, "empty", PLACE))
        await asyncio.wait({adding}, timeout=BLOCKED_SECONDS)
    with pytest.raises(ConflictError):
        await adding
    assert claim is not None
    assert await owed(database) == [claim]


async def test_who_shares_a_place_keeps_its_data(database: Database) -> None:
    """The other one's image is deleted, with its data, in the midst of the transaction."""
    await database.change(add, "one", PLACE)
    await database.change(add, "empty")

    async def deleted_with_its_data() -> Discard | None:
        await database.change(delete, "one")
        (discard,) = await owed(database)
        return await database.change(claim_discard, discard, HOUR)

    async with database.write() as connection:
        await add_location(connection, "empty", PLACE)
        deleting = asyncio.create_task(deleted_with_its_data())
        await asyncio.wait({deleting}, timeout=BLOCKED_SECONDS)
    assert await deleting is None
    assert await database.query(is_location, PLACE.url)


async def test_a_place_that_is_taken_away_counts_as_a_change(database: Database) -> None:
    await database.change(add, "one", PLACE, OTHER_PLACE)
    before = await database.query(get_image, "one")
    assert before is not None
    after = await database.change(remove_location, before, PLACE)
    assert after == await database.query(get_image, "one")
    assert (after.version, after.locations) == (before.version + 1, (OTHER_PLACE,))


class HeldStore(MemoryStore):
    """A store in which the first deletion begins, and ends when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.open = asyncio.Event(), asyncio.Event()
        self.tries = 0

    async def delete(self, location: Location) -> None:
        self.tries += 1
        if self.tries == 1:
            self.begun.set()
            await self.open.wait()
        await super().delete(location)


async def retire(connection: Connection, name: str) -> None:
    """Delete an image now, by the database's clock, that can be restored for an hour."""
    await add(connection, name)
    gone = {"status": Status.PENDING_DELETE, "deleted": True, "deleted_at": moment_in(0)}
    await connection.execute(images.update().where(images.c.id == name).values(gone))


@pytest.mark.parametrize("hours", [-2, 2])
async def test_an_instance_whose_clock_is_wrong_takes_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """What another deletes, or owes and is about to, stays that one's; what is due is deleted."""
    store = HeldStore()
    stores = given({"near": store})

    async def owe(name: str, seconds: float) -> None:
        place = ImageLocation((await write(store, name, b"data")).uri, {"store": "near"})
        await database.change(add_discards, name, [place], seconds)

    await owe("held", 0.0)
    await owe("owed", HOUR)
    await database.change(retire, "retired")
    (held,) = await database.query(image_discards, "held")
    deleting = asyncio.create_task(Discards(database, stores).settle(held))
    async with asyncio.timeout(60):
        await store.begun.wait()
    mislead(monkeypatch, hours)
    scrubbing = Scrubbing(database, Discards(database, stores), keep=HOUR)
    before = await owed(database)
    assert await scrubbing.scrub() == 0
    assert (await owed(database), store.tries) == (before, 1)
    assert await database.query(get_retired, "retired") is not None
    store.open.set()
    assert await deleting
    await database.change(
        add_discards, "due", [ImageLocation("memory:///due", {"store": "near"})], 0.0
    )
    assert await scrubbing.scrub() == 1
    assert store.names == {"owed"}


@pytest.mark.parametrize("form", ["rbd://fsid/pool/{}/snap", "rbd://{}", "s3://host/bucket/{}"])
async def test_a_store_takes_no_data_before_what_was_there_is_deleted(
    database: Database, form: str
) -> None:
    stores = given({"near": MemoryStore(), "far": MemoryStore()})
    names = ("image", "image.a-part")
    places = [ImageLocation(form.format(name), {"store": "near"}) for name in names]
    await database.change(add_discards, "image", places, 0.0)
    await database.query(require_settled, stores, "image", ["far"])
    await database.query(require_settled, stores, "other", ["near"])
    with pytest.raises(ConflictError, match="not deleted yet"):
        await database.query(require_settled, stores, "image", ["far", "near"])
    whole, _part = await owed(database)
    await database.change(end_discard, whole)
    await database.query(require_settled, stores, "image", ["near"])


COUNT = 5_000


@pytest.fixture
async def filled(database: Database) -> Database:
    """Many places, all of which begin alike."""

    def rows(begin: str) -> list[dict[str, Any]]:
        return [
            {"image_id": str(UUID(int=number)), "value": f"{begin}{number}", "meta_data": {}}
            for number in range(COUNT)
        ]

    some = {"protected": False, "os_hidden": False, "min_disk": 0, "min_ram": 0, "deleted": False}
    image = {**some, "status": "active", "visibility": "public"}
    moments = {"created_at": NOW, "updated_at": NOW}
    names = [{"id": row["image_id"], **image, **moments} for row in rows("")]
    owing = [{**row, "due_at": NOW, "attempts": 0} for row in rows("s3://a:b@host/gone/")]
    filling: list[tuple[sa.Table, Sequence[dict[str, Any]]]] = [
        (images, names),
        (image_locations, rows("s3://a:b@host/bucket/")),
        (discards, owing),
    ]
    async with database.write() as connection:
        for table, values in filling:
            await connection.execute(table.insert(), values)
    async with database.write() as connection:
        tables = "TABLE images, image_locations, discards" if database.kind == "mysql" else ""
        await connection.execute(sa.text(f"ANALYZE {tables}"))
    return database


async def plans(connection: Connection) -> list[str]:
    """Return the lines of the plans of all that asks for a place."""
    asked: list[tuple[str, Any]] = []

    def note(_c: object, _cursor: object, statement: str, values: Any, *_: object) -> None:
        asked.append((statement, values))

    mine, theirs = "s3://a:b@host/bucket/77", "s3://a:b@host/gone/77"
    (discard,) = await image_discards(connection, str(UUID(int=77)))
    engine = connection.sync_engine
    sa.event.listen(engine, "before_cursor_execute", note)
    await is_location(connection, mine)
    await is_location(connection, mine, "image")
    await add_location(connection, str(UUID(int=1)), ImageLocation(theirs, {}))
    await add_location(connection, str(UUID(int=1)), ImageLocation(mine, {}))
    await claim_discard(connection, discard, HOUR)
    await drop_discard(connection, discard)
    sa.event.remove(engine, "before_cursor_execute", note)
    lines: list[str] = []
    how = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    for statement, values in asked:
        if not statement.startswith("INSERT"):
            found = await connection.exec_driver_sql(f"{how} {statement}", values)
            lines += ["|".join(map(str, row)) for row in found]
    return lines


async def test_no_place_is_looked_for_in_a_whole_table(filled: Database) -> None:
    lines = await filled.change(plans)
    whole = [
        line
        for table in ("images", "image_locations", "discards")
        for line in lines
        if f"SCAN {table}" in line or f"Seq Scan on {table}" in line or f"|{table}|ALL|" in line
    ]
    assert whole == []
    assert sum("ix_image_locations_value" in line for line in lines) >= 6
    assert sum("ix_discards_value" in line for line in lines) >= 2
