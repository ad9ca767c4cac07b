"""What a client gets of a file that goes round the transport, whatever it and the file do."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import pytest
from aiohttp import web

from backends.spans import Span
from harness.authority import Authority
from registry.web import outgoing
from registry.web.outgoing import JOINED_BYTES_MAX, SPILL_BYTES, Outgoing

MIB = 1 << 20
PIECE = 100_000
CONTENT = random.Random(1).randbytes(24 * MIB + 7)  # more than the buffers between two sockets hold


class FileSource:
    """A file of which `in_memory` tells what may be sent at once; the rest comes in pieces."""

    def __init__(self, path: Path, size: int, in_memory: Callable[[int], bool]) -> None:
        self._path = path
        self._size = size
        self._in_memory = in_memory
        self.position = 0
        self.was_sent = 0
        self.was_read = 0
        self.open()

    def open(self) -> None:
        self.descriptor = os.open(self._path, os.O_RDONLY)

    def close(self) -> None:
        os.close(self.descriptor)

    @property
    def left(self) -> int:
        return self._size - self.position

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self.left:
            raise StopAsyncIteration
        count = min(PIECE, self.left)
        piece = await asyncio.to_thread(os.pread, self.descriptor, count, self.position)
        if not piece:
            raise OSError("became shorter")
        self.position += len(piece)
        self.was_read += len(piece)
        return piece

    def file(self) -> tuple[int, Span] | None:
        stop = min(self.position + 2 * MIB, self._size)
        if not self._in_memory(self.position):
            stop = self.position
        return self.descriptor, Span(self.position, stop)

    def sent(self, count: int) -> None:
        assert count > 0
        self.position += count
        self.was_sent += count


class NoFile(FileSource):
    def file(self) -> None:
        return None


class Side:
    """A server of one source at a time, and how the answers ended."""

    def __init__(self) -> None:
        self.source: FileSource
        # The number of bytes that went out, or why they did not.
        self.endings: asyncio.Queue[BaseException | int] = asyncio.Queue()
        self.port = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = self.source.left
        await response.prepare(request)
        try:
            await Outgoing(request.transport, request.writer).send(self.source)
            await response.write_eof()
        except (OSError, TimeoutError) as error:
            self.endings.put_nowait(error)
            if request.transport is not None:
                request.transport.abort()
            return response
        self.endings.put_nowait(response.body_length)
        return response


@asynccontextmanager
async def serving(side: Side, context: ssl.SSLContext | None = None) -> AsyncIterator[Side]:
    application = web.Application()
    application.router.add_get("/", side.answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    side.port = runner.addresses[0][1]
    yield side
    await runner.cleanup()


@pytest.fixture
async def side() -> AsyncIterator[Side]:
    async with serving(Side()) as side:
        yield side


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def file(path: Path) -> Iterator[Callable[..., FileSource]]:
    opened: list[FileSource] = []

    def open_file(
        in_memory: Callable[[int], bool] = lambda _: True,
        size: int = len(CONTENT),
        kind: type[FileSource] = FileSource,
    ) -> FileSource:
        opened.append(kind(path, size, in_memory))
        return opened[-1]

    yield open_file
    for each in opened:
        each.close()


class Client:
    """A bare connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.head_bytes = 0

    async def ask(self) -> int:
        """Ask, and return how long the body will be."""
        self.writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        head = await self.reader.readuntil(b"\r\n\r\n")
        self.head_bytes = len(head)
        return int(head.lower().partition(b"content-length: ")[2].split()[0])

    async def get(self) -> bytes:
        return await self.reader.readexactly(await self.ask())


@asynccontextmanager
async def connected(side: Side, **more: Any) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", side.port, **more)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()
        await asyncio.wait({asyncio.ensure_future(writer.wait_closed())})


async def test_everything_in_memory(side: Side, file: Callable[..., FileSource]) -> None:
    side.source = file()
    async with connected(side) as client:
        assert await client.get() == CONTENT
        assert await side.endings.get() == client.head_bytes + len(CONTENT)
        assert (side.source.was_sent, side.source.was_read) == (len(CONTENT), 0)


@pytest.mark.parametrize("size", [0, 1, JOINED_BYTES_MAX, JOINED_BYTES_MAX + 1, 3 * MIB])
async def test_lengths_on_one_connection(
    side: Side, file: Callable[..., FileSource], size: int
) -> None:
    async with connected(side) as client:
        for _ in range(3):
            side.source = file(size=size)
            assert await client.get() == CONTENT[:size]
            assert await side.endings.get() == client.head_bytes + size


@pytest.mark.parametrize("kind", [FileSource, NoFile])
async def test_what_is_not_in_memory(
    side: Side, file: Callable[..., FileSource], kind: type[FileSource]
) -> None:
    side.source = file(lambda position: position // PIECE % 3 == 1, kind=kind)
    async with connected(side) as client:
        assert await client.get() == CONTENT
        assert await side.endings.get() == client.head_bytes + len(CONTENT)
        assert (side.source.was_sent > 0) == (kind is FileSource)
        assert side.source.was_sent + side.source.was_read == len(CONTENT)


async def test_over_tls(file: Callable[..., FileSource], tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    trusting = ssl.create_default_context(cafile=authority.cafile)
    secure = Side()
    secure.source = file()
    async with serving(secure, authority.server()), connected(secure, ssl=trusting) as client:
        assert await client.get() == CONTENT
        assert secure.source.was_sent == 0


async def test_a_slow_client_holds_next_to_nothing(
    side: Side, file: Callable[..., FileSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: list[int] = []
    ready = Outgoing._ready

    async def noting(self: Outgoing) -> None:
        waiting.append(self._transport.get_write_buffer_size())
        await ready(self)

    monkeypatch.setattr(Outgoing, "_ready", noting)
    side.source = file()
    async with connected(side, limit=PIECE) as client:
        length = await client.ask()
        received = bytearray()
        while len(received) < length:
            received += await client.reader.read(PIECE)
    assert received == CONTENT
    assert 0 < max(waiting) <= SPILL_BYTES


async def test_a_silent_client(
    side: Side, file: Callable[..., FileSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "CLIENT_SILENCE_SECONDS", 0.05)
    side.source = file()
    async with connected(side, limit=PIECE) as client:
        await client.ask()
        assert isinstance(await side.endings.get(), TimeoutError)


async def test_a_client_that_leaves(side: Side, file: Callable[..., FileSource]) -> None:
    side.source = file()
    async with connected(side, limit=PIECE) as client:
        await client.ask()
        client.writer.transport.abort()
        assert isinstance(await side.endings.get(), ConnectionError)
    assert side.source.left


async def test_a_file_that_became_shorter(
    side: Side, file: Callable[..., FileSource], path: Path
) -> None:
    side.source = file()
    os.truncate(path, 3 * MIB)
    async with connected(side) as client:
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await client.get()
        assert str(await side.endings.get()) == "became shorter"


async def test_a_file_that_cannot_be_read(
    side: Side, file: Callable[..., FileSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the kernel says of it is not taken for the client's: the store is asked."""

    def sick(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "sendfile", sick)
    monkeypatch.setattr(outgoing, "_read_memory", lambda *_: b"")
    side.source = file()
    async with connected(side) as client:
        assert await client.get() == CONTENT
        assert side.source.was_read == len(CONTENT)
