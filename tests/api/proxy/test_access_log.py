"""The access log: whose request it was is looked up behind the answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from aiohttp import web

from cacheproxy.config import KeystoneSettings
from cacheproxy.identity import Identities, Identity
from cacheproxy.meter import Board
from cacheproxy.web.front import Door

SOMEBODY = Identity("the-user", "the-project", frozenset(), datetime.now(UTC) + timedelta(hours=1))


class Lines(logging.Handler):
    """Keeps what is logged, and tells of it."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: asyncio.Queue[str] = asyncio.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.put_nowait(record.getMessage())


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    handler = Lines()
    logger = logging.getLogger("cacheproxy.access")
    monkeypatch.setattr(logger, "handlers", [handler])
    former = logger.level
    logger.setLevel(logging.INFO)  # which also makes it forget what others found disabled
    yield handler
    logger.setLevel(former)


@asynccontextmanager
async def serving(identities: Identities | None) -> AsyncIterator[str]:
    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text="x")

    door = Door(answer, Board.create(1).meter(0), lambda: None, log=True, identities=identities)
    server = await asyncio.get_running_loop().create_server(door, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await door.drain(0)
        await server.wait_closed()


async def get(url: str, token: str | None) -> str:
    headers = {} if token is None else {"X-Auth-Token": token}
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        return await answer.text()


async def test_without_keystone(lines: Lines) -> None:
    async with serving(None) as url:
        await get(f"{url}/v2/images?token=secret", "secret")
        line = await lines.lines.get()
    assert line.startswith('127.0.0.1 "GET /v2/images?…" 200 ')
    assert line.endswith(" pass - - - -")
    assert "secret" not in line


async def test_the_answer_does_not_wait_for_keystone(lines: Lines) -> None:
    asked, say = asyncio.Event(), asyncio.Event()

    async def keystone(token: str) -> Identity | None:
        asked.set()
        await say.wait()
        return SOMEBODY if token == "valid" else None

    identities = Identities(KeystoneSettings(auth_url="http://x"), keystone)
    async with serving(identities) as url:
        assert await get(f"{url}/a", "valid") == "x"
        await asked.wait()
        assert await get(f"{url}/b", None) == "x"
        line = await lines.lines.get()
        assert "/b" in line
        assert line.endswith(" - -")
        assert lines.lines.empty()
        say.set()
        line = await lines.lines.get()
        assert "/a" in line
        assert line.endswith(" the-project the-user")
        await get(f"{url}/c", "invalid")
        assert (await lines.lines.get()).endswith(" - -")
    await identities.close()


async def test_lines_are_not_lost_at_the_end(lines: Lines) -> None:
    asked = asyncio.Event()

    async def keystone(_: str) -> Identity | None:
        asked.set()
        await asyncio.Event().wait()
        return None

    identities = Identities(KeystoneSettings(auth_url="http://x"), keystone)
    async with serving(identities) as url:
        await get(f"{url}/a", "valid")
        await asked.wait()
    await identities.close()
    assert (await lines.lines.get()).endswith(" - -")
