"""Who deletes data: nobody takes a deletion from the living, and somebody does from the dead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import pytest
import sqlalchemy as sa

from backends.location import Location
from backends.memory import MemoryStore
from contracts.subject import write
from harness.database_clock import DatabaseClock
from harness.given_stores import given
from harness.owed import owed
from registry.db.clock import moment_in
from registry.db.database import Connection, Database
from registry.db.discards import Discard, add_discards, claim_discard
from registry.db.images import add_image, add_location
from registry.db.tables import discards as discard_rows
from registry.domain.errors import ConflictError, UnavailableError
from registry.domain.image import Image, ImageLocation
from registry.service import discards as service
from registry.service.discards import LEASE_SECONDS, STILL_SECONDS, Discards
from registry.service.scrubbing import Scrubbing
from registry.service.stores import Stores

NOW = datetime(2026, 1, 1)  # noqa: DTZ001  # UTC without a zone
IMAGE = "image"
PLACE = ImageLocation(f"memory:///{IMAGE}", {"store": "memory"})
ALL_THE_TIME = 10_000  # renewals in the time of a lease


class SlowStore(MemoryStore):
    """A store in which the first deletion begins, and ends when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.open, self.cut = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.tries = 0

    async def delete(self, location: Location) -> None:
        self.tries += 1
        if self.tries == 1:
            self.begun.set()
            try:
                await self.open.wait()
            except asyncio.CancelledError:
                self.cut.set()
                raise
        await super().delete(location)


@pytest.fixture
def store() -> SlowStore:
    return SlowStore()


@pytest.fixture
def stores(store: SlowStore) -> Stores:
    return given({"memory": store})


@pytest.fixture
def clock(database: Database) -> DatabaseClock:
    return DatabaseClock(database, discard_rows.c.due_at)


@pytest.fixture
def other(database: Database, stores: Stores) -> Scrubbing:
    """Look for what another instance has left."""
    return Scrubbing(database, Discards(database, stores))


@asynccontextmanager
async def deleting(
    database: Database, stores: Stores, store: SlowStore, lease: float = LEASE_SECONDS
) -> AsyncIterator[asyncio.Task[bool]]:
    """Begin a deletion; that it is left ends it as a death does."""
    await write(store, IMAGE, b"data")
    await database.change(add_discards, IMAGE, [PLACE], 0.0)
    (discard,) = await owed(database)
    task = asyncio.create_task(Discards(database, stores, lease=lease).settle(discard))
    try:
        async with asyncio.timeout(30):
            await store.begun.wait()
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


async def due_at(database: Database) -> datetime:
    async def ask(connection: Connection) -> datetime:
        moment: datetime = (await connection.execute(sa.select(discard_rows.c.due_at))).scalar_one()
        return moment

    return await database.query(ask)


async def require_closed(database: Database) -> None:
    """Hold the place to take no new data, which would go with what was there."""
    with pytest.raises(ConflictError, match="being deleted"):
        await database.change(add_location, "again", PLACE)


async def test_one_that_lasts_is_nobody_elses(
    *,
    database: Database,
    stores: Stores,
    store: SlowStore,
    clock: DatabaseClock,
    other: Scrubbing,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "RENEWALS", ALL_THE_TIME)
    async with deleting(database, stores, store) as task:
        for _ in range(3):  # longer than the lease, but renewed
            until = await due_at(database)
            await clock.move(LEASE_SECONDS / 2)
            async with asyncio.timeout(30):
                while await due_at(database) < until:
                    pass
            assert (await other.scrub(), store.tries) == (0, 1)
        store.open.set()
        assert await task
    assert (await owed(database), store.tries, store.names) == ([], 1, frozenset())


async def test_one_of_the_dead_goes_on_elsewhere(
    database: Database, stores: Stores, store: SlowStore, clock: DatabaseClock, other: Scrubbing
) -> None:
    """And whoever only stood still for long deletes nothing that came after."""
    await database.change(add_image, Image(id="again", created_at=NOW, updated_at=NOW))
    async with deleting(database, stores, store):
        pass
    assert await other.scrub() == 0
    await clock.move(LEASE_SECONDS)
    assert await other.scrub() == 1
    assert store.names == frozenset()
    await require_closed(database)
    await clock.move(STILL_SECONDS - LEASE_SECONDS)
    assert await other.scrub() == 0
    await clock.move(LEASE_SECONDS)
    await require_closed(database)
    assert await other.scrub() == 1
    assert await owed(database) == []
    await database.change(add_location, "again", PLACE)


async def test_whoever_loses_one_stops(
    *,
    database: Database,
    stores: Stores,
    store: SlowStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its process slept, say: another has claimed the deletion before it could renew."""
    monkeypatch.setattr(service, "RENEWALS", ALL_THE_TIME)

    async def steal(connection: Connection) -> Discard | None:
        await connection.execute(discard_rows.update().values(due_at=moment_in(0)))
        return await claim_discard(connection, held, LEASE_SECONDS)

    async with deleting(database, stores, store) as task:
        (held,) = await owed(database)
        stolen = await database.change(steal)
        assert not await task
    assert store.cut.is_set()
    assert await owed(database) == [stolen]  # untouched


async def test_one_that_cannot_be_renewed_stops_before_others_claim_it(
    database: Database, stores: Stores, store: SlowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> bool:
        raise UnavailableError("away")

    monkeypatch.setattr(service, "renew_discard", away)
    async with deleting(database, stores, store, lease=0.2) as task:
        assert not await task
    assert store.cut.is_set()
    (left,) = await owed(database)
    assert not left.is_claimed
