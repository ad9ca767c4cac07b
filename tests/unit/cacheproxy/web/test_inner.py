"""What the lanes need of aiohttp's request handler; a release that changes it fails here."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections.abc import AsyncIterator
from typing import cast

import pytest
from aiohttp import web

from cacheproxy.web.inner import NEVER_SECONDS, Behind, Inner
from cacheproxy.web.outlet import Outlet
from fuzz.sides import soon

BODY = b"a body of which nobody reads anything\n"


class Outer(asyncio.Protocol):
    """A connection all of which is aiohttp's; notes what it is told, and what was sent by then."""

    outlet: Outlet
    transport: asyncio.Transport

    def __init__(self, server: web.Server, client: socket.socket) -> None:
        self.inner = Inner(server, self, logger=logging.getLogger("nobody"), access_log=None)
        self.client = client
        self.told: list[bool] = []
        self.received = b""
        self.closed = 0
        self.lost = asyncio.Event()
        self.more = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.outlet = Outlet(self.transport, None)
        self.inner.connection_made(Behind(self.transport, self._close))

    def connection_lost(self, exc: BaseException | None) -> None:
        self.inner.connection_lost(exc)
        self.lost.set()

    def data_received(self, data: bytes) -> None:
        self.inner.data_received(data)

    def pause_writing(self) -> None:
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        self.inner.resume_writing()

    def begun(self) -> None:
        """An answer is on its way."""

    def answered(self, goes_on: bool) -> None:
        self.told.append(goes_on)
        self.received += self.client.recv(1 << 16)  # without waiting: it is there
        self.more.set()

    def _close(self) -> None:
        self.closed += 1
        self.transport.close()


async def handle(request: web.BaseRequest) -> web.StreamResponse:
    match request.path:
        case "/error":
            raise RuntimeError("a mistake")
        case "/raised":
            raise web.HTTPNotFound(text="nothing")
        case "/304":
            return web.Response(status=304)
        case "/204":
            return web.Response(status=204)
        case "/last":
            response = web.Response(body=BODY)
            response.force_close()
            return response
        case "/begun":
            streamed = web.StreamResponse(headers={"Content-Length": "5"})
            await streamed.prepare(request)
            outer = request.protocol.lane  # type: ignore[attr-defined]  # an Inner
            outer.received += outer.client.recv(1 << 16)
            assert outer.received.endswith(b"\r\n\r\n"), "the head goes out before any body"
            outer.outlet.write(b"round")
            await streamed.write_eof()
            return streamed
        case "/waits":
            outer = request.protocol.lane  # type: ignore[attr-defined]  # an Inner
            outer.more.set()
            try:
                await asyncio.Event().wait()
            finally:
                outer.received = b"cancelled"
        case _:
            pass
    return web.Response(body=BODY)


@pytest.fixture
async def outer() -> AsyncIterator[Outer]:
    server = web.Server(handle, handler_cancellation=True)
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)
    made = Outer(server, ours)
    await asyncio.get_running_loop().connect_accepted_socket(lambda: made, theirs)
    yield made
    ours.close()
    await made.lost.wait()
    await server.shutdown(0)


def get(path: str, *fields: str, method: str = "GET", version: str = "1.1") -> bytes:
    return "\r\n".join((f"{method} {path} HTTP/{version}", "Host: h", *fields, "", "")).encode()


@pytest.mark.parametrize(
    ("request_bytes", "status", "goes_on"),
    [
        (get("/"), b"200", True),
        (get("/", method="HEAD"), b"200", True),
        (get("/304"), b"304", True),
        (get("/304", method="HEAD"), b"304", True),
        (get("/204"), b"204", True),
        (get("/raised"), b"404", True),
        (get("/error"), b"500", False),
        (get("/last"), b"200", False),
        (get("/begun"), b"200", True),
        (get("/", "Connection: close"), b"200", False),
        (get("/", version="1.0"), b"200", False),
        (get("/", "Content-Length: 3", method="POST") + b"abc", b"200", True),
        (get("/", "Expect: 100-continue"), b"200", True),
        (b"GET / HTTP/1.1\r\n\r\n", b"400", False),
        (b"GET / HTTP/1.1\r\nHost : h\r\n\r\n", b"400", False),
        (b"no HTTP\r\n\r\n", b"400", False),
    ],
)
async def test_it_tells_once_when_an_answer_is_written(
    outer: Outer, request_bytes: bytes, status: bytes, goes_on: bool
) -> None:
    outer.client.send(request_bytes)
    await outer.more.wait()
    assert outer.told == [goes_on]
    assert outer.received.startswith((b"HTTP/1.1 " + status, b"HTTP/1.0 " + status))
    assert whole(outer.received, request_bytes.startswith(b"HEAD"))
    if goes_on:
        outer.more.clear()
        outer.client.send(get("/"))
        await outer.more.wait()
        assert outer.told == [True, True], "it stands where it stood"
        assert not outer.closed
    else:
        await outer.lost.wait()
        assert outer.closed, "it is ended through the transport that it was given"
        assert len(outer.told) == 1


def whole(received: bytes, head_only: bool) -> bool:
    """Whether this ends with an answer, and with all of it."""
    *_, head, body = received.split(b"\r\n\r\n")
    length = re.search(rb"Content-Length: (\d+)", head)
    return len(body) == (int(length[1]) if length and not head_only else 0)


async def test_each_answer_of_a_pipeline_is_told(outer: Outer) -> None:
    outer.client.send(get("/") + get("/304") + get("/last") + get("/"))
    await outer.lost.wait()
    assert outer.told == [True, True, False]


async def test_who_leaves_ends_his_request_and_is_told_nothing(outer: Outer) -> None:
    outer.client.send(get("/waits"))
    await outer.more.wait()
    outer.client.shutdown(socket.SHUT_RDWR)
    await outer.lost.wait()
    await soon(lambda: outer.received == b"cancelled")
    assert not outer.told


async def test_it_leaves_idle_connections_alone(outer: Outer) -> None:
    assert outer.inner.keepalive_timeout == NEVER_SECONDS
    outer.client.send(get("/"))
    await outer.more.wait()
    await outer.inner.shutdown(0)
    assert outer.closed, "but for a shutdown"
