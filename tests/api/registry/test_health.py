"""What balancers are told, and those who restart what does not answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from registry.app import listening
from registry.config import Settings
from registry.db.database import Database
from registry.domain.errors import UnavailableError
from registry.service import readiness
from registry.service.readiness import Readiness
from registry.upkeep import sync_database
from registry.web.options import WebSettings


async def asked(
    session: aiohttp.ClientSession, method: str = "GET", path: str = ""
) -> tuple[int, str]:
    async with session.request(method, f"/healthcheck{path}") as answer:
        return answer.status, await answer.text()


@asynccontextmanager
async def running(settings: Settings, stores: Any) -> AsyncIterator[aiohttp.ClientSession]:
    """Serve where nobody else asks, and stop without telling them."""
    await sync_database(settings)
    async with (
        listening(replace(settings, drain_notice_seconds=0.0), stores) as (host, port),
        aiohttp.ClientSession(f"http://{host}:{port}") as session,
    ):
        yield session


@pytest.mark.parametrize("path", ["", "/", "/live"])
async def test_an_instance_that_is_well(settings: Any, stores: Any, path: str) -> None:
    async with running(settings, stores) as session:
        assert await asked(session, path=path) == (200, "OK")


async def test_a_file_takes_an_instance_out(settings: Any, stores: Any, tmp_path: Path) -> None:
    file = tmp_path / "healthcheck_disable"
    named = replace(settings, front=WebSettings(disabling_file=file))
    async with running(named, stores) as session:
        for _ in range(2):
            assert await asked(session) == (200, "OK")
            file.touch()
            assert await asked(session) == (503, "DISABLED BY FILE")
            assert await asked(session, "HEAD") == (503, "")
            assert await asked(session, path="/live") == (200, "OK")
            async with session.get("/v2/images") as answer:
                assert answer.status == 200
            file.unlink()
        assert await asked(session, "HEAD") == (204, "")


async def test_a_file_that_cannot_be_looked_for(settings: Any, stores: Any) -> None:
    nobody_sees = Path("/" + "x" * 300)  # fails for root too, as a directory without rights does
    named = replace(settings, front=WebSettings(disabling_file=nobody_sees))
    async with running(named, stores) as session:
        assert await asked(session) == (200, "OK")


async def test_a_database_that_is_away(
    settings: Settings, stores: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "AWAY_SECONDS", 0.0)
    monkeypatch.setattr(readiness, "LOOK_SECONDS", 0.0)
    broken = True
    read = Database.read

    @asynccontextmanager
    async def reading(database: Database, seconds: float | None = 1.0) -> AsyncIterator[Any]:
        if broken and seconds == readiness.ANSWER_SECONDS:
            raise UnavailableError("connection to postgresql://catalog:secret@db/catalog failed")
        async with read(database, seconds) as connection:
            yield connection

    monkeypatch.setattr(Database, "read", reading)
    async with running(settings, stores) as session:
        while await asked(session) == (200, "OK"):
            pass
        assert await asked(session) == (503, "DATABASE AWAY")
        assert await asked(session, path="/live") == (200, "OK")
        broken = False
        while await asked(session) != (200, "OK"):
            pass


async def test_questions_cost_the_database_nothing(
    settings: Any, stores: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    look = Readiness.look

    async def counting(self: Readiness, newest: str) -> None:
        nonlocal looks
        looks += 1
        await look(self, newest)

    monkeypatch.setattr(Readiness, "look", counting)
    monkeypatch.setattr(readiness, "LOOK_SECONDS", 3600.0)
    async with running(settings, stores) as session:
        while not looks:
            await asked(session)
        for _ in range(100):
            assert await asked(session) == (200, "OK")
    assert looks == 1
