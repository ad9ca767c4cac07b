"""What servers do to transactions: deadlocks, lost connections, restarts, read-only and frozen ones.

Each ends within bounds, with the change whole, or nothing of it and an error that says so.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime

import pytest
import sqlalchemy as sa

from harness.catalog_database import KINDS, server_of
from harness.databases import Server
from registry.db import database as databases
from registry.db.database import Connection, Database
from registry.db.failures import OutageError
from registry.db.images import add_image, get_image
from registry.db.options import DatabaseSettings
from registry.db.tables import images
from registry.db.upgrading import upgrade_schema
from registry.domain.errors import UnavailableError
from registry.domain.image import Image

NOW = datetime(2026, 1, 1)  # noqa: DTZ001  # UTC without a zone
IMAGE = Image(id="a", created_at=NOW, updated_at=NOW)
OTHER = replace(IMAGE, id="b")


@pytest.fixture(scope="session", params=KINDS[1:])
def server(request: pytest.FixtureRequest) -> Server:
    """Return a server: SQLite has nothing that could be lost, and one writer at a time."""
    server = server_of(request)
    assert server is not None
    return server


@pytest.fixture
async def empty(empty_settings: DatabaseSettings) -> AsyncIterator[Database]:
    """Open a database that is tried again at once."""
    settings = replace(empty_settings, db_retry_interval=0, db_max_retry_interval=0)
    database = await asyncio.to_thread(Database, settings)
    yield database
    await database.aclose()


@pytest.fixture
async def database(empty: Database) -> Database:
    await upgrade_schema(empty)
    return empty


async def session_of(connection: Connection) -> str:
    """Return the statement that ends this session, for the administrator to run."""
    if connection.dialect.name == "postgresql":
        number = await connection.execute(sa.text("SELECT pg_backend_pid()"))
        return f"SELECT pg_terminate_backend({number.scalar_one()})"
    number = await connection.execute(sa.text("SELECT CONNECTION_ID()"))
    return f"KILL {number.scalar_one()}"


async def rename(connection: Connection, image_id: str, name: str) -> None:
    await connection.execute(images.update().where(images.c.id == image_id).values(name=name))


async def name_of(database: Database, image_id: str) -> str | None:
    image = await database.query(get_image, image_id)
    assert image is not None
    return image.name


async def test_a_deadlock_is_repeated(database: Database) -> None:
    for image in (IMAGE, OTHER):
        await database.change(add_image, image)
    met = asyncio.Barrier(2)
    tries = 0

    async def cross(connection: Connection, first: str, second: str) -> None:
        nonlocal tries
        tries += 1
        await rename(connection, first, f"by {first}")
        if tries <= 2:
            await met.wait()
        await rename(connection, second, f"by {first}")

    await asyncio.gather(database.change(cross, "a", "b"), database.change(cross, "b", "a"))
    assert tries == 3
    names = {await name_of(database, "a"), await name_of(database, "b")}
    assert names in ({"by a"}, {"by b"})


@pytest.mark.parametrize("statement", ["first", "later"])
async def test_a_lost_connection_is_replaced(
    database: Database, server: Server, statement: str
) -> None:
    tries = 0

    async def work(connection: Connection) -> None:
        nonlocal tries
        tries += 1
        if statement == "later":
            await add_image(connection, OTHER)
        if tries == 1:
            end = await session_of(connection)
            await asyncio.to_thread(server.run, end)
        await add_image(connection, IMAGE)

    await database.change(work)
    assert tries == 2
    assert await database.query(get_image, "a") == IMAGE


async def test_a_commit_that_nobody_knows_of_is_not_repeated(
    database: Database, server: Server
) -> None:
    tries = 0

    async def work(connection: Connection) -> None:
        nonlocal tries
        tries += 1
        await add_image(connection, IMAGE)
        await asyncio.to_thread(server.run, await session_of(connection))

    with pytest.raises(UnavailableError, match="look whether"):
        await database.change(work)
    assert tries == 1
    assert await database.query(get_image, "a") is None


async def test_a_server_that_takes_no_writes(
    database: Database, server: Server, empty_settings: DatabaseSettings
) -> None:
    """A primary that has become a replica answers again as soon as it is a primary."""
    await database.change(add_image, OTHER)
    name = empty_settings.connection.partition("?")[0].rpartition("/")[2]
    if server.kind == "postgresql":
        off = f"ALTER DATABASE {name} SET default_transaction_read_only = on"
        on = f"ALTER DATABASE {name} RESET default_transaction_read_only"
    else:
        off, on = "SET GLOBAL read_only = 1", "SET GLOBAL read_only = 0"
    await asyncio.to_thread(server.run, off)
    try:
        settings = replace(empty_settings, db_max_retries=2, db_retry_interval=0)
        second = await asyncio.to_thread(Database, replace(settings, db_max_retry_interval=0))
        with pytest.raises(OutageError):
            await second.change(add_image, IMAGE)
        assert await second.query(get_image, "b") == OTHER
    finally:
        await asyncio.to_thread(server.run, on)
    await second.change(add_image, IMAGE)
    assert await database.query(get_image, "a") == IMAGE
    await second.aclose()


class RefusedError(Exception):
    """What a transaction is undone by."""


@pytest.mark.parametrize(
    "where", ["in a statement", "before it is undone", "in another", "in the commit"]
)
async def test_a_frozen_server(
    database: Database, server: Server, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """As a machine that is gone without a word: whoever waits is told, also who gives up."""

    async def work(connection: Connection) -> None:
        await add_image(connection, IMAGE)
        await asyncio.to_thread(stopped.enter_context, frozen(server))
        if where == "before it is undone":
            raise RefusedError
        if where == "in another":
            await database.query(get_image, "b")
        if where != "in the commit":
            await add_image(connection, OTHER)

    monkeypatch.setattr(databases, "TRANSACTION_SECONDS", 0.5)
    monkeypatch.setattr(databases, "CLOSE_SECONDS", 0.5)
    with ExitStack() as stopped:
        if where == "before it is undone":
            with pytest.raises(RefusedError):
                await database.change(work)
        else:
            told = "look whether" if where == "in the commit" else "does not answer.$"
            with pytest.raises(UnavailableError, match=told):
                await database.change(work)
        assert pools_in_use(database) == 0
    monkeypatch.undo()
    if where == "in the commit":  # as soon as the server goes on, perhaps
        assert await database.query(get_image, "a") in (None, IMAGE)
        return
    assert await database.query(get_image, "a") is None
    await database.change(add_image, IMAGE)


def pools_in_use(database: Database) -> int:
    """Return how many connections somebody holds."""
    pools = [engine.pool for engine in (database._reading, database._writing)]
    return sum(pool.checkedout() for pool in pools if isinstance(pool, sa.QueuePool))


@contextmanager
def frozen(server: Server) -> Iterator[None]:
    """Stop a server and its children for a while."""
    pids = [server.program.process.pid, *(child.pid for child in server.program.children())]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
