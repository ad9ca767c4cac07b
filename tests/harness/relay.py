"""A pass-through in front of a scripted origin, and a client that speaks HTTP byte by byte."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from aiohttp import web

from cacheproxy.config import UpstreamSettings
from cacheproxy.meter import Board
from cacheproxy.metrics import PASSTHROUGH_REQUESTS
from cacheproxy.upstream import Upstream
from cacheproxy.web.passthrough import PassThrough
from harness.authority import Authority
from harness.raw_origin import RawOrigin, Script, listener, raw_origin, reset

LIMIT_BYTES = 1 << 20  # of what a client's reader buffers


@dataclass(frozen=True)
class Reply:
    """An answer as it came over the wire, its body unframed but not decoded."""

    status: int
    reason: str
    fields: list[tuple[str, str]]  # names as they were spelt
    body: bytes

    def all(self, name: str) -> list[str]:
        """Return the values of a field, in order."""
        return [value for key, value in self.fields if key.lower() == name]

    def one(self, name: str) -> str | None:
        """Return the value of a field that comes at most once."""
        values = self.all(name)
        assert len(values) <= 1, values
        return values[0] if values else None


@dataclass
class Client:
    """One connection to the proxy."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        """Send these bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    async def ask(self, head: str, body: bytes = b"") -> Reply:
        """Send a request (the lines of its head), and read the answer."""
        await self.send(request(head, body))
        return await self.reply(head.split(" ", 1)[0])

    async def head(self) -> Reply:
        """Read an answer's head, also an interim one's."""
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        version, status, reason = lines[0].split(" ", 2)
        assert version in {"HTTP/1.0", "HTTP/1.1"}
        fields = [
            (name, value.strip()) for name, _, value in (x.partition(":") for x in lines[1:] if x)
        ]
        return Reply(int(status), reason, fields, b"")

    async def reply(self, method: str = "GET") -> Reply:
        """Read a whole answer; IncompleteReadError or ConnectionError if it is cut."""
        head = await self.head()
        body = await self._body(head, method)
        return Reply(head.status, head.reason, head.fields, body)

    async def _body(self, head: Reply, method: str) -> bytes:
        if method == "HEAD" or head.status in {204, 304}:
            return b""
        if (length := head.one("content-length")) is not None:
            assert head.one("transfer-encoding") is None
            return await self.reader.readexactly(int(length))
        if head.one("transfer-encoding") is None:
            return await self.reader.read()
        assert head.one("transfer-encoding") == "chunked"
        body = bytearray()
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            body += await self.reader.readexactly(size)
            assert await self.reader.readexactly(2) == b"\r\n"
        assert await self.reader.readexactly(2) == b"\r\n"
        return bytes(body)

    async def closed(self) -> bytes:
        """Read to the end of the connection, which must come; ConnectionError if it is a reset."""
        return await self.reader.read()

    async def leave(self, *, politely: bool = True) -> None:
        """Close the connection, or reset it."""
        if politely:
            self.writer.close()
        else:
            reset(self.writer)
        with suppress(ConnectionError):
            await self.writer.wait_closed()


@dataclass
class Relay:
    """The pass-through under test."""

    port: int
    origin: RawOrigin
    board: Board
    server: web.Server
    changes: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    clients: list[Client] = field(default_factory=list)

    async def client(self, sock: socket.socket | None = None) -> Client:
        """Connect, with a socket of one's own if its buffers matter."""
        if sock is None:
            streams = await asyncio.open_connection("127.0.0.1", self.port, limit=LIMIT_BYTES)
        else:
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
            streams = await asyncio.open_connection(sock=sock, limit=LIMIT_BYTES)
        client = Client(*streams)
        self.clients.append(client)
        return client

    async def ask(self, head: str, body: bytes = b"") -> Reply:
        """Ask with a connection of its own."""
        return await (await self.client()).ask(head, body)

    def counted(self, code: int) -> int:
        """Return how many requests were answered so."""
        return int(self.board.total(PASSTHROUGH_REQUESTS, (str(code),)))


async def turns(number: int = 200) -> None:
    """Let everything that can go on go on."""
    for _ in range(number):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool], turns_max: int = 100_000) -> None:
    """Wait until something has come true, within so many turns of the loop."""
    for _ in range(turns_max):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it did not come true")


def request(head: str, body: bytes = b"") -> bytes:
    """Write a request: the lines of its head (a Host is added), and its body."""
    lines = [line.strip() for line in head.strip().splitlines()]
    if not any(line.lower().startswith("host:") for line in lines):
        lines.insert(1, "Host: 127.0.0.1:9292")
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunked(*pieces: bytes) -> bytes:
    """Frame pieces as a chunked body."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])


@asynccontextmanager
async def relaying(
    script: Script | int | None,
    *,
    path: str = "",
    read_seconds: float = 60.0,
    change_seconds: float = 60.0,
    buffer_bytes: int | None = None,
    before: Callable[[web.BaseRequest], None] | None = None,
    authority: Authority | None = None,
) -> AsyncIterator[Relay]:
    """Run a pass-through in front of a script, or of a port; None: in front of nobody.

    `before` sees each request before it is passed on.  With an `authority` the upstream speaks TLS.
    """
    if script is None:
        with listener() as sock:
            script = sock.getsockname()[1]

    def settings(origin: RawOrigin) -> UpstreamSettings:
        return UpstreamSettings(
            origin.url + path,
            read_timeout_seconds=read_seconds,
            change_timeout_seconds=change_seconds,
            cafile=None if authority is None else authority.cafile,
        )

    if isinstance(script, int):
        origin = RawOrigin(f"http{'s' if authority else ''}://127.0.0.1:{script}")
        async with _relaying(origin, settings(origin), buffer_bytes, before) as relay:
            yield relay
        return
    async with (
        raw_origin(
            script, buffer_bytes, tls=None if authority is None else authority.server()
        ) as origin,
        _relaying(origin, settings(origin), buffer_bytes, before) as relay,
    ):
        yield relay


@asynccontextmanager
async def _relaying(
    origin: RawOrigin,
    settings: UpstreamSettings,
    buffer_bytes: int | None,
    before: Callable[[web.BaseRequest], None] | None,
) -> AsyncIterator[Relay]:
    board = Board.create(1)
    meter = board.meter(0)
    upstream = Upstream(settings, meter)
    changes: list[str] = []
    deleted: list[str] = []
    passthrough = PassThrough(upstream, meter, changes.append, deleted.append)

    async def handle(asked: web.BaseRequest) -> web.StreamResponse:
        if before is not None:
            before(asked)
        return await passthrough(asked)

    server = web.Server(
        handle,
        access_log=None,
        auto_decompress=False,
        handler_cancellation=True,
    )
    sock = listener(buffer_bytes)
    port = sock.getsockname()[1]
    listening = await asyncio.get_running_loop().create_server(server, sock=sock)
    relay = Relay(port, origin, board, server, changes, deleted)
    try:
        yield relay
    finally:
        for client in relay.clients:
            await client.leave()
        listening.close()
        await listening.wait_closed()
        await server.shutdown(0)
        await upstream.close()
