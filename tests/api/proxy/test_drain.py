"""A stop lets uploads in progress finish."""

from __future__ import annotations

import asyncio

from aiohttp import web

from cacheproxy.meter import Board
from cacheproxy.web.front import Door

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
