r"""An origin that speaks HTTP byte by byte, so that a test decides what goes over the wire.

A script is a coroutine function called with each connection that comes in:

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 204 No Content\r\n\r\n")

The connection is closed when the script returns.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

LINGER_AND_RESET = struct.pack("ii", 1, 0)  # struct linger: close() sends RST

Script = Callable[["Peer"], Awaitable[None]]


@dataclass(frozen=True)
class Request:
    """One request as it came, its body read to the end."""

    method: str
    target: str
    fields: list[tuple[str, str]]  # names in lower case
    body: bytes

    def all(self, name: str) -> list[str]:
        """Return the values of a field, in order."""
        return [value for key, value in self.fields if key == name]

    def one(self, name: str) -> str | None:
        """Return the value of a field that comes at most once."""
        values = self.all(name)
        assert len(values) <= 1, values
        return values[0] if values else None


@dataclass
class Peer:
    """The origin's end of one connection."""

    origin: RawOrigin
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def head(self) -> Request:
        """Read a request's head only; its body is left to be read with `reader`."""
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ")
        fields = [
            (name.lower(), value.strip())
            for name, _, value in (line.partition(":") for line in lines[1:] if line)
        ]
        request = Request(method, target, fields, b"")
        self.origin.heads.append(request)
        return request

    async def request(self) -> Request:
        """Read a request with its body."""
        head = await self.head()
        body = await self.body(head)
        request = Request(head.method, head.target, head.fields, body)
        self.origin.requests.append(request)
        return request

    async def body(self, head: Request) -> bytes:
        """Read the body that belongs to a head; IncompleteReadError if it is cut."""
        if head.one("transfer-encoding") != "chunked":
            return await self.reader.readexactly(int(head.one("content-length") or 0))
        body = bytearray()
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            body += await self.reader.readexactly(size)
            assert await self.reader.readexactly(2) == b"\r\n"
        assert await self.reader.readexactly(2) == b"\r\n"
        return bytes(body)

    async def send(self, data: bytes) -> None:
        """Send these bytes as they are; ConnectionError if the other side is gone."""
        if self.writer.transport.is_closing():
            raise ConnectionResetError("the other side has reset the connection")
        self.writer.write(data)
        await self.writer.drain()

    async def closed_by_peer(self) -> None:
        """Wait until the other side is gone, politely or not; what it still sends is dropped."""
        with suppress(ConnectionError):
            while await self.reader.read(1 << 20):
                pass

    def reset(self) -> None:
        """End the connection with a reset."""
        reset(self.writer)


@dataclass
class RawOrigin:
    """Where the origin listens, and what it got."""

    url: str = ""
    connections: int = 0
    heads: list[Request] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection so that the other side gets a reset."""
    writer.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, LINGER_AND_RESET
    )
    writer.transport.abort()


def listener(buffer_bytes: int | None = None) -> socket.socket:
    """Return a listening socket on a free port, with small receive buffers if told."""
    sock = socket.socket()
    if buffer_bytes is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    return sock


@asynccontextmanager
async def raw_origin(
    script: Script,
    buffer_bytes: int | None = None,
    read_limit: int = 1 << 16,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[RawOrigin]:
    """Run a script for each connection; an exception in it, but a cut, fails the test."""
    origin = RawOrigin()
    running: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        origin.connections += 1
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
                await script(Peer(origin, reader, writer))
        finally:
            writer.close()
            with suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running[asyncio.get_running_loop().create_task(serve(reader, writer))] = writer

    sock = listener(buffer_bytes)
    port = sock.getsockname()[1]
    server = await asyncio.start_server(connected, sock=sock, limit=read_limit, ssl=tls)
    origin.url = f"http{'s' if tls else ''}://127.0.0.1:{port}"
    try:
        yield origin
    finally:
        server.close()
        await server.wait_closed()
        for task in running:
            task.cancel()
        results = await asyncio.gather(*running, return_exceptions=True)
        for writer in running.values():  # of tasks that were cancelled before they began
            writer.close()
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
            raise result


def always(answer: bytes) -> Script:
    """Answer every request of every connection with these bytes."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(answer)

    return script
