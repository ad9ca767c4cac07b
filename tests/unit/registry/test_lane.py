"""A connection between the fast lane and aiohttp; a release of aiohttp that changes it fails here."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from backends.ordinary import whole_head
from harness.waiting import until_async
from registry.web.lane import Lane

FAST = b"GET /fast"
SLOW = b"GET /slow"


class Answers:
    """A fast lane that takes what begins so; it goes on with it until it is let."""

    def __init__(self) -> None:
        self.lane: Lane | None = None
        self.taken: list[bytes] = []
        self.begun = asyncio.Event()
        self.let = asyncio.Event()
        self.ended = ""

    def begin(self, lane: Lane, data: bytes) -> bool:
        self.lane = lane
        if not (data.startswith((FAST, SLOW)) and whole_head(data)):
            return False
        self.taken.append(data)
        if data.startswith(FAST):
            lane.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", memoryview(b"fast"))
        else:
            lane.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
            lane.sends(self._send(lane))
        return True

    async def _send(self, lane: Lane) -> None:
        self.begun.set()
        try:
            await self.let.wait()
        except asyncio.CancelledError:
            self.ended = "cancelled"
            raise
        if lane.transport is not None:
            lane.write(b"slow")
        self.ended = "sent"


class Side:
    def __init__(
        self, server: web.Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer
        self.arrived, self.let = asyncio.Event(), asyncio.Event()

    async def handle(self, request: web.BaseRequest) -> web.Response:
        if request.path == "/waits":
            self.arrived.set()
            await self.let.wait()
        return web.Response(body=request.path.encode() + await request.read())

    def ask(self, *requests: bytes) -> None:
        self.writer.write(b"".join(requests))

    async def answer(self) -> bytes:
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        assert length, head
        body: bytes = await self.reader.readexactly(int(length[1]))
        return body


@pytest.fixture
def fast() -> Answers:
    return Answers()


@pytest.fixture
async def side(fast: Answers) -> AsyncIterator[Side]:
    async def handle(request: web.BaseRequest) -> web.Response:
        return await made.handle(request)

    server = web.Server(handle)
    nobody = logging.getLogger("nobody")
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(
        lambda: Lane(server, fast, access_log=None, logger=nobody), "127.0.0.1", 0
    )
    reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname()[:2])
    made = Side(server, reader, writer)
    yield made
    writer.close()
    await asyncio.wait({asyncio.ensure_future(writer.wait_closed())})
    listening.close()
    await server.shutdown(1)


def get(path: str, *fields: str, method: str = "GET") -> bytes:
    return "\r\n".join((f"{method} {path} HTTP/1.1", "Host: h", *fields, "", "")).encode()


async def test_each_has_its_own(side: Side, fast: Answers) -> None:
    for path in ("/fast", "/", "/fast", "/other", "/fast"):
        side.ask(get(path))
        assert await side.answer() == (b"fast" if path == "/fast" else path.encode())
    assert len(fast.taken) == 3


@pytest.mark.parametrize(
    "request_bytes",
    [
        get("/", "Content-Length: 3", method="POST") + b"abc",
        get("/") + get("/"),
        get("/")[:-2],
        get("/").replace(b"\r\n", b"\n"),
    ],
)
async def test_what_is_not_whole_is_aiohttps_for_good(
    side: Side, fast: Answers, request_bytes: bytes
) -> None:
    side.ask(request_bytes)
    if request_bytes.endswith((b"abc", get("/"))):
        await side.answer()
        if request_bytes.count(b"GET") == 2:
            await side.answer()
        side.ask(get("/fast"))
        assert await side.answer() == b"/fast"
    else:
        side.ask(get("/fast"))
        await side.reader.readuntil(b"\r\n\r\n")
    assert not fast.taken


async def test_what_comes_early_is_answered_in_order(side: Side, fast: Answers) -> None:
    side.ask(get("/slow"))
    await fast.begun.wait()
    for path in ("/fast", "/1", "/fast", "/2"):
        side.ask(get(path))
    fast.let.set()
    # What comes in one piece is aiohttp's.
    wanted = [b"slow", b"fast", b"1", b"fast", b"2"]
    assert [(await side.answer()).lstrip(b"/") for _ in wanted] == wanted
    side.ask(get("/fast"))
    assert (await side.answer()).endswith(b"fast")


async def test_what_comes_while_aiohttp_answers(side: Side, fast: Answers) -> None:
    """Only the end of an answer tells where its parser stands, and the client may not wait for it."""
    side.ask(get("/waits"))
    await side.arrived.wait()
    side.ask(get("/fast"))
    await until_async("it is held", lambda: fast.lane is not None and fast.lane.holds)
    side.let.set()
    assert [await side.answer(), await side.answer()] == [b"/waits", b"fast"]
    assert len(fast.taken) == 1


async def test_a_connection_that_aiohttp_takes_for_idle(side: Side, fast: Answers) -> None:
    side.ask(get("/slow"))
    await fast.begun.wait()
    assert fast.lane is not None
    fast.lane.force_close()
    fast.let.set()
    assert await side.answer() == b"slow"
    assert await side.reader.read() == b""


async def test_a_shutdown(side: Side, fast: Answers) -> None:
    side.ask(get("/slow"))
    await fast.begun.wait()
    assert fast.lane is not None
    await fast.lane.shutdown(1)
    assert fast.ended == "cancelled"
    assert (await side.reader.read()).endswith(b"\r\n\r\n")


async def test_a_client_that_leaves(side: Side, fast: Answers) -> None:
    side.ask(get("/slow"))
    await fast.begun.wait()
    side.writer.transport.abort()
    await until_async("its connection is gone", lambda: not side.server.connections)
    fast.let.set()
    await until_async("the answer has ended", lambda: fast.ended)
    assert fast.ended == "sent"


async def test_the_last_answer_of_a_connection(side: Side, fast: Answers) -> None:
    side.ask(get("/", "Connection: close"))
    assert await side.answer() == b"/"
    assert await side.reader.read() == b""
    assert not fast.taken
