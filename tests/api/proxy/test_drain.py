"""A stop: what is in progress, and who has just come, is answered; what takes too long is reset."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import web

from cacheproxy.meter import Board
from cacheproxy.web.front import Door
from cacheproxy.web.lane import Lane

HEAD = b"PUT /v2/images/i/file HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n"


async def test_an_upload_in_progress_is_read_to_its_end() -> None:
    begun = asyncio.Event()

    async def take(request: web.BaseRequest) -> web.Response:
        begun.set()
        return web.Response(body=await request.read())

    door = Door(take, Board.create(1).meter(0), lambda: None, log=False)
    server = await asyncio.get_running_loop().create_server(door, "127.0.0.1", 0)
    try:
        host, port = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(host, port)
        _, idle = await asyncio.open_connection(host, port)
        writer.write(HEAD + b"01234")
        await begun.wait()
        draining = asyncio.create_task(door.drain(60))
        await asyncio.sleep(0)  # the drain has begun
        writer.write(b"56789")
        answer = await reader.read()  # to the end: the connection is closed behind the answer
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"0123456789")
        await draining
        for end in (writer, idle):
            end.close()
            await end.wait_closed()
    finally:
        server.close()


@asynccontextmanager
async def served(door: Door) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Give a connection to a door."""
    server = await asyncio.get_running_loop().create_server(door, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        server.close()


async def test_who_has_just_connected_is_answered() -> None:
    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(text="here")

    made = asyncio.Event()

    class Watched(Door):
        def opened(self, lane: Lane) -> None:
            super().opened(lane)
            made.set()

    door = Watched(answer, Board.create(1).meter(0), lambda: None, log=False)
    async with served(door) as (reader, writer):
        await made.wait()
        draining = asyncio.create_task(door.drain(60))
        await asyncio.sleep(0)  # the drain has begun, and its request has not come
        writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await reader.read()).endswith(b"here")
        await draining
    assert not door._silent
    assert not door._answering


async def test_what_is_broken_off_is_reset() -> None:
    begun = asyncio.Event()

    async def begin(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()  # of no promised length: a polite end would look whole
        response.force_close()
        await response.prepare(request)
        await response.write(b"some")
        begun.set()
        await asyncio.Event().wait()
        return response

    door = Door(begin, Board.create(1).meter(0), lambda: None, log=False)
    async with served(door) as (reader, writer):
        writer.write(b"GET / HTTP/1.0\r\nHost: h\r\n\r\n")
        await begun.wait()
        await door.drain(0)
        with pytest.raises(ConnectionResetError):
            await reader.read()
    assert not door._answering
