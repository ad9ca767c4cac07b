"""Databases of the catalog, one for each test, on every kind of server that it runs on."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import cache
from pathlib import Path
from threading import Thread

import pytest
import sqlalchemy as sa

from harness.databases import Server
from registry.db.database import Database
from registry.db.options import DatabaseSettings
from registry.db.upgrading import upgrade_schema

LONG = pytest.mark.long
KINDS = ("sqlite", "postgresql", "mysql")
IN_EVERY_RUN = KINDS
IN_LONG_RUNS = ("sqlite", *(pytest.param(kind, marks=LONG) for kind in KINDS[1:]))


def server_of(request: pytest.FixtureRequest) -> Server | None:
    """Return the running server of the kind that is the parameter; None for SQLite.

    For fixtures of the session: what others start counts as left behind.
    """
    if request.param == "sqlite":
        return None
    server = request.getfixturevalue("postgres" if request.param == "postgresql" else "mariadb")
    assert isinstance(server, Server)
    return server


@asynccontextmanager
async def empty_database(server: Server | None, directory: Path) -> AsyncIterator[str]:
    """Make a database for as long as the context lasts; yield its URL."""
    if server is None:
        yield f"sqlite:///{directory}/registry.sqlite"
        return
    name = await asyncio.to_thread(server.create)
    try:
        yield server.url(name)
    finally:
        await asyncio.to_thread(server.drop, name)


async def sync(settings: DatabaseSettings) -> None:
    """Give an empty database its tables; the migrations of SQLite run once, for they have tests."""
    database = await asyncio.to_thread(Database, settings)
    try:
        if database.file is None:
            await upgrade_schema(database)
        else:
            await asyncio.to_thread(write_database, database.file)
    finally:
        await database.aclose()


def write_database(file: Path) -> None:
    """Write an SQLite file as `db sync` leaves it; one that is there stays."""
    if file.exists():
        return
    file.write_bytes(_synced_file())
    with closing(sqlite3.connect(file)) as connection:
        epoch = secrets.token_hex(16)  # another one for each catalog
        connection.execute("UPDATE change_feed SET epoch = ?", (epoch,))
        connection.commit()


@cache
def _synced_file() -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "registry.sqlite"
        # Not on the loop that an async test may have here.
        thread = Thread(target=asyncio.run, args=(_upgrade(DatabaseSettings(f"sqlite:///{file}")),))
        thread.start()
        thread.join()
        return file.read_bytes()


async def _upgrade(settings: DatabaseSettings) -> None:
    database = await asyncio.to_thread(Database, settings)
    await upgrade_schema(database)
    await database.aclose()


async def change_rows(settings: DatabaseSettings, *statements: sa.Executable) -> None:
    """Change a catalog's database as another service, or another release, would have."""
    database = await asyncio.to_thread(Database, settings)
    async with database.write() as connection:
        for statement in statements:
            await connection.execute(statement)
    await database.aclose()
