"""Bodies of requests received into memory of ours; a release of aiohttp that changes it fails here."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from harness.waiting import until_async
from registry.domain.errors import InvalidRequestError, UploadCutError
from registry.web import incoming
from registry.web.errors import answer_errors
from registry.web.incoming import PIECE_BYTES, RAW_BODY, RawBody, end_connection, received

DATA = random.Random(7).randbytes(6 * PIECE_BYTES + 5)
RECEIVE_BYTES = 1 << 20


class Side:
    """A service that receives bodies, once it `may_begin`, and a client's connection to it."""

    def __init__(self) -> None:
        self.pieces: list[int] = []
        self.data = bytearray()
        self.is_raw: bool | None = None
        self.error: Exception | None = None
        self.may_begin = asyncio.Event()
        self.may_begin.set()
        self.begun = asyncio.Event()
        self.each: Callable[[], Awaitable[None]] | None = None
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def handle(self, request: web.Request) -> web.Response:
        await self.may_begin.wait()
        self.begun.set()
        try:
            async for piece in received(request):
                self.is_raw = RAW_BODY in request
                self.pieces.append(len(piece))
                self.data += piece
                if self.each is not None:
                    await self.each()
        except UploadCutError as error:
            self.error = error
            raise
        return web.Response(status=204)

    async def send(self, *pieces: bytes, length: int = len(DATA)) -> None:
        self.writer.write(b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % length)
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def status(self) -> tuple[bytes, bool]:
        """Return the status of the answer, and whether it ends the connection."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        return head.split()[1], b"connection: close" in head.lower()


@pytest.fixture
async def side() -> AsyncIterator[Side]:
    side = Side()
    application = web.Application(middlewares=[answer_errors])
    application.on_response_prepare.append(end_connection)
    application.router.add_put("/", side.handle)
    runner = web.AppRunner(application, read_bufsize=RECEIVE_BYTES, lingering_time=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    side.reader, side.writer = await asyncio.open_connection(host, port)
    yield side
    side.writer.close()
    side.may_begin.set()
    await runner.cleanup()


@pytest.mark.parametrize("early", [0, 1, 70_000, PIECE_BYTES, 2 * PIECE_BYTES + 5])
async def test_all_of_it_comes_whatever_aiohttp_has_received(side: Side, early: int) -> None:
    side.may_begin.clear()
    await side.send(DATA[:early])
    side.may_begin.set()
    await side.begun.wait()
    side.writer.write(DATA[early:])
    assert await side.status() == (b"204", True)
    assert await side.reader.read() == b""
    assert (bytes(side.data), side.is_raw) == (DATA, True)


async def test_what_aiohttp_held_back_comes_first(side: Side) -> None:
    side.may_begin.clear()
    sending = asyncio.create_task(side.send(DATA))
    for _ in range(200):  # aiohttp receives as much as it takes for a handler that does not read
        await asyncio.sleep(0)
    side.may_begin.set()
    assert await side.status() == (b"204", True)
    await sending
    assert (bytes(side.data), side.is_raw) == (DATA, True)


async def test_pieces_are_whole_while_they_come_fast(side: Side) -> None:
    await side.send()
    await side.begun.wait()
    side.writer.write(DATA)
    assert await side.status() == (b"204", True)
    assert sum(side.pieces) == len(DATA)
    assert PIECE_BYTES in side.pieces


async def test_a_client_that_is_slow_is_not_waited_for(side: Side) -> None:
    await side.send(DATA[:10])
    await until_async("what came", lambda: len(side.data) == 10)
    side.writer.write(DATA[10:20])
    await until_async("what came then", lambda: len(side.data) == 20)
    side.writer.write(DATA[20:])
    assert await side.status() == (b"204", True)
    assert bytes(side.data) == DATA


async def test_short_bodies_are_left_to_aiohttp(side: Side) -> None:
    for _ in range(2):
        side.data.clear()
        await side.send(DATA[:100], length=100)
        assert await side.status() == (b"204", False)
        assert (bytes(side.data), side.is_raw) == (DATA[:100], False)


async def test_chunks_are_left_to_aiohttp(side: Side) -> None:
    for _ in range(2):
        side.data.clear()
        side.writer.write(b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        side.writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(DATA), DATA))
        assert await side.status() == (b"204", False)
        assert (bytes(side.data), side.is_raw) == (DATA, False)


@pytest.mark.parametrize("count", [1, PIECE_BYTES - 1, PIECE_BYTES, 2 * PIECE_BYTES + 1])
async def test_what_came_before_the_connection_broke_is_given(side: Side, count: int) -> None:
    await side.send()
    await side.begun.wait()
    side.writer.write(DATA[:count])
    side.writer.close()
    await until_async("the end", lambda: side.error is not None)
    assert bytes(side.data) == DATA[:count]
    assert f"{len(DATA) - count} bytes are missing" in str(side.error)


async def test_a_connection_that_is_reset(side: Side) -> None:
    await side.send(DATA[:10])
    await until_async("what came", lambda: len(side.data) == 10)
    sock = side.writer.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    side.writer.transport.abort()
    await until_async("the end", lambda: side.error is not None)
    assert len(side.data) == 10


async def test_a_silent_client_is_given_up(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "CLIENT_SILENCE_SECONDS", 0.1)
    await side.send(DATA[:10])
    await until_async("the end", lambda: side.error is not None)
    assert "No data came" in str(side.error)
    assert bytes(side.data) == DATA[:10]
    side.writer.write(DATA[10:])
    assert await side.status() == (b"400", True)


async def test_who_is_refused_midway_hears_why(side: Side) -> None:
    async def refuse() -> None:
        raise InvalidRequestError("no more")

    side.each = refuse
    await side.send()
    await side.begun.wait()
    side.writer.write(DATA)
    assert await side.status() == (b"400", True)
    assert b"no more" in await side.reader.read()


async def test_no_more_is_received_than_is_asked_for(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = 0
    update = RawBody.buffer_updated

    def counting(body: RawBody, nbytes: int) -> None:
        nonlocal counted
        counted += nbytes
        update(body, nbytes)

    monkeypatch.setattr(RawBody, "buffer_updated", counting)
    asked, let = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        asked.set()
        await let.wait()

    side.each = wait
    await side.send(DATA[:10])
    await asked.wait()
    side.writer.write(DATA[10:])
    await until_async("a piece", lambda: counted >= PIECE_BYTES)
    for _ in range(200):
        await asyncio.sleep(0)
    assert counted <= PIECE_BYTES + 10
    let.set()
    assert await side.status() == (b"204", True)
    assert bytes(side.data) == DATA
