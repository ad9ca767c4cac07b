"""Transactions: whole or not at all, repeated where that is safe, alike on every database."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from uuid import uuid4

import pytest
import sqlalchemy as sa

from harness.catalog_database import IN_EVERY_RUN, server_of
from harness.databases import Server
from registry.db import database as databases
from registry.db.database import Connection, Database
from registry.db.failures import OutageError, OvertakenError
from registry.db.images import add_image, delete_image, get_image, move_image, save_image
from registry.db.listing import list_images
from registry.db.options import DatabaseSettings
from registry.domain.errors import ConflictError, UnavailableError
from registry.domain.identity import EVERYBODY
from registry.domain.image import Image
from registry.domain.limits import Limits
from registry.domain.listing import parse_list_query
from registry.domain.status import Status

NOW = datetime(2026, 1, 1, 12, 0, 0, 654321)  # noqa: DTZ001  # UTC without a zone
IMAGE = Image(id="a", created_at=NOW, updated_at=NOW)


@pytest.fixture(scope="session", params=IN_EVERY_RUN)
def server(request: pytest.FixtureRequest) -> Server | None:
    return server_of(request)


@pytest.fixture
async def other(database: Database, empty_settings: DatabaseSettings) -> AsyncIterator[Database]:
    """Open the same database as another instance does."""
    assert database
    other = await asyncio.to_thread(Database, empty_settings)
    yield other
    await other.aclose()


async def count(database: Database) -> int:
    async def work(connection: Connection) -> int:
        every = sa.text("SELECT count(*) FROM images")
        return int((await connection.execute(every)).scalar_one())

    return await database.query(work)


async def test_an_exception_undoes_everything(database: Database) -> None:
    async def work(connection: Connection) -> None:
        await add_image(connection, IMAGE)
        raise LookupError

    with pytest.raises(LookupError):
        await database.change(work)
    assert await count(database) == 0


async def test_an_id_that_is_taken(database: Database) -> None:
    await database.change(add_image, IMAGE)
    with pytest.raises(ConflictError):
        await database.change(add_image, IMAGE)
    assert await count(database) == 1


@pytest.mark.parametrize("error", [OvertakenError, OutageError])
async def test_what_changed_nothing_is_repeated(
    database: Database, error: type[UnavailableError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "OVERTAKEN_SECONDS", 0.0)
    tries = 0

    async def work(connection: Connection) -> str:
        nonlocal tries
        tries += 1
        await add_image(connection, IMAGE)
        if tries == 1:
            raise error("not now")
        return "done"

    assert await database.change(work) == "done"
    assert tries == 2
    assert await count(database) == 1


@pytest.mark.parametrize("error", [OvertakenError, OutageError])
async def test_repetition_ends(
    empty_settings: DatabaseSettings, error: type[UnavailableError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "OVERTAKEN_SECONDS", 0.0)
    settings = replace(empty_settings, db_max_retries=3, db_retry_interval=0)
    settings = replace(settings, db_max_retry_interval=0)
    database = await asyncio.to_thread(Database, settings)
    tries = 0

    async def work(_connection: Connection) -> None:
        nonlocal tries
        tries += 1
        raise error("never")

    with pytest.raises(error):
        await database.change(work)
    assert tries == 4
    await database.aclose()


async def test_repetition_ends_by_time(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "REPEAT_SECONDS", 0.0)
    tries = 0

    async def work(_connection: Connection) -> None:
        nonlocal tries
        tries += 1
        raise OvertakenError("never")

    with pytest.raises(OvertakenError):
        await database.query(work)
    assert tries == 1


async def test_what_takes_too_long_is_given_up(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "TRANSACTION_SECONDS", 0.1)

    async def work(_connection: Connection) -> None:
        await asyncio.Event().wait()

    with pytest.raises(UnavailableError):
        await database.query(work)


async def test_a_server_of_one_connection(empty_settings: DatabaseSettings) -> None:
    settings = replace(empty_settings, max_pool_size=1, max_overflow=0, pool_timeout=1)
    database = await asyncio.to_thread(Database, settings)
    async with database.read() as connection:
        await connection.execute(sa.select(1))
        with pytest.raises(UnavailableError, match="no connection to spare"):
            async with database.read():
                pass
    await database.aclose()


@pytest.fixture
def unlocked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lock nothing that is read, as the nodes of a Galera cluster do among one another."""
    monkeypatch.setattr(sa.Select, "with_for_update", lambda question: question)


@pytest.mark.usefixtures("unlocked")
async def test_changes_at_once_lose_nothing(database: Database, other: Database) -> None:
    await database.change(add_image, IMAGE)

    async def tag(connection: Connection, name: str) -> None:
        image = await get_image(connection, "a", for_update=True)
        assert image is not None
        await asyncio.sleep(0)
        await save_image(connection, replace(image, tags=(*image.tags, name)))

    names = [f"tag {number}" for number in range(12)]
    each = [database.change(tag, name) for name in names[::2]]
    await asyncio.gather(*each, *(other.change(tag, name) for name in names[1::2]))
    image = await database.query(get_image, "a")
    assert image is not None
    assert set(image.tags) == set(names)
    assert image.version == 12


async def test_what_was_read_before_another_change_is_not_written(database: Database) -> None:
    await database.change(add_image, IMAGE)
    saved = await database.change(save_image, replace(IMAGE, name="first"))
    async with database.write() as connection:
        with pytest.raises(OvertakenError):
            await save_image(connection, replace(IMAGE, name="second"))
        with pytest.raises(OvertakenError):
            await delete_image(connection, IMAGE, NOW)
    assert await database.query(get_image, "a") == saved
    async with database.write() as connection:
        assert await move_image(connection, "a", Status.QUEUED, Status.SAVING, NOW)
    async with database.write() as connection:
        with pytest.raises(OvertakenError):
            await save_image(connection, saved)
    moved = await database.query(get_image, "a")
    assert moved is not None
    assert (moved.name, moved.version) == ("first", 2)


async def test_readers_see_one_moment(database: Database) -> None:
    await database.change(add_image, IMAGE)
    async with database.read() as connection:
        before = await get_image(connection, "a")
        await database.change(save_image, replace(IMAGE, name="new", tags=("x",)))
        assert await get_image(connection, "a") == before == IMAGE


async def test_text_is_what_it_is(database: Database, limits: Limits) -> None:
    """Case, accents, trailing blanks and characters beyond 16 bits tell names apart."""
    names = ["a", "A", "a ", "\u00e4", "a\u0308", "\U0001f600", "\uffff", "Z", "_", "a%", "a_"]
    long = "x" * 70_000
    for number, name in enumerate(names):
        image = replace(IMAGE, id=str(number), name=name, tags=tuple(sorted(names)))
        properties: dict[str, str | None] = {name: name for name in names}
        properties["long"] = f"{long}{number}"
        await database.change(add_image, replace(image, properties=properties))

    async def listed(*pairs: tuple[str, str]) -> list[Image]:
        query = parse_list_query(pairs, limits)
        return await database.query(list_images, query, EVERYBODY)

    for name in names:
        assert [image.name for image in await listed(("name", name))] == [name]
    for tag in names:
        assert len(await listed(("tag", tag))) == len(names)
    assert [image.id for image in await listed(("long", f"{long}3"))] == ["3"]
    assert await listed(("long", long)) == []
    assert await listed(("a", "A")) == []
    in_order = [image.name for image in await listed(("sort", "name:asc"))]
    assert in_order == sorted(names)
    for pair in [("min_ram", "9" * 18), ("size_min", "9" * 18), ("created_at", "lt:0001-01-02")]:
        assert await listed(pair) == []


async def test_an_error_does_not_tell_what_a_statement_was_given(database: Database) -> None:
    secret = str(uuid4())

    async def fail(connection: Connection) -> None:
        await connection.execute(sa.text("SELECT * FROM nowhere WHERE a = :a"), {"a": secret})

    for run in (database.ask, database.query, database.change):
        with pytest.raises(UnavailableError) as caught:
            await run(fail)
        told = "".join(traceback.format_exception(caught.value))
        assert "FROM nowhere" in told
        assert secret not in told
