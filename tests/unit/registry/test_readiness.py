"""When an instance says that it cannot answer, for its database."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from harness.catalog_database import change_rows, sync
from registry.db.database import Database
from registry.db.options import DatabaseSettings
from registry.db.schema import newest_program
from registry.domain.errors import UnavailableError
from registry.service import readiness as module
from registry.service.readiness import AWAY_SECONDS, DATABASE_AWAY, DATABASE_TOO_NEW, Readiness


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def settings(tmp_path: Path) -> DatabaseSettings:
    return DatabaseSettings(f"sqlite:///{tmp_path}/registry.sqlite")


@pytest.fixture
async def database(settings: DatabaseSettings) -> AsyncIterator[Database]:
    await sync(settings)
    database = await asyncio.to_thread(Database, settings)
    yield database
    await database.aclose()


@asynccontextmanager
async def failing(_seconds: float) -> AsyncIterator[None]:
    raise UnavailableError("The database does not answer.")
    yield


async def test_only_a_database_that_is_away_for_longer_than_requests_wait(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, newest = Clock(), await newest_program()
    readiness = Readiness(database, clock)
    await readiness.look(newest)
    assert readiness.hindrance is None
    with monkeypatch.context() as patched:
        patched.setattr(database, "read", failing)
        await readiness.look(newest)
        clock.now += AWAY_SECONDS - 1
        await readiness.look(newest)
        assert readiness.hindrance is None
        clock.now += 1
        assert readiness.hindrance == DATABASE_AWAY
    await readiness.look(newest)
    assert readiness.hindrance is None
    clock.now += AWAY_SECONDS  # nobody has looked, as while the process was frozen
    assert readiness.hindrance is None


async def test_tables_of_a_release_that_has_no_place_for_this_one(
    database: Database, settings: DatabaseSettings
) -> None:
    newest = await newest_program()
    readiness = Readiness(database, Clock())
    for oldest, hindrance in (("9999", DATABASE_TOO_NEW), (newest, None)):
        await change_rows(
            settings, sa.text(f"UPDATE registry_oldest_program SET revision = '{oldest}'")
        )
        await readiness.look(newest)
        assert readiness.hindrance == hindrance


async def test_a_server_that_hangs_hangs_no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        settings = DatabaseSettings(f"postgresql://catalog:secret@127.0.0.1:{port}/catalog")
        database = await asyncio.to_thread(Database, settings)
        clock = Clock()
        readiness = Readiness(database, clock)
        await readiness.look("0001")
        clock.now += AWAY_SECONDS
        assert readiness.hindrance == DATABASE_AWAY
        await database.aclose()


async def test_it_looks_again_and_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: asyncio.Queue[Any] = asyncio.Queue()

    async def look(_self: Readiness, newest: str) -> None:
        looks.put_nowait(newest)

    monkeypatch.setattr(Readiness, "look", look)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)
    watching = asyncio.create_task(Readiness(database).watch())
    assert [await looks.get() for _ in range(3)] == [await newest_program()] * 3
    watching.cancel()
    await asyncio.wait({watching})
