"""The way out of a connection whose client does not read, leaves, or comes back to it."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import cast

import pytest

from cacheproxy.chunkread import ChunkReader, OpenPart
from cacheproxy.config import CacheSettings
from cacheproxy.core.proof import Identity
from cacheproxy.hotset import HotFile
from cacheproxy.store.digest import digest_of
from cacheproxy.web import outlet as outlet_module
from cacheproxy.web.outlet import SPILL_BYTES, Outlet
from fuzz.sides import tcp_pair
from harness.images import random_bytes

BUFFER_BYTES = 4096
DATA = random_bytes(400_000)


class Connection(asyncio.Protocol):
    """A connection with an outlet, and its client."""

    outlet: Outlet
    transport: asyncio.Transport

    def __init__(self, client: socket.socket, sock: socket.socket) -> None:
        self.client = client
        self.sock = sock
        self.received = bytearray()
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.outlet = Outlet(self.transport, self.sock)

    def connection_lost(self, _exc: BaseException | None) -> None:
        self.outlet.lost()
        self.lost.set()

    def pause_writing(self) -> None:
        self.outlet.filled()

    def resume_writing(self) -> None:
        self.outlet.emptied()

    def fill(self) -> bytes:
        """Send until the client takes no more; return what was."""
        sent = b""
        while not self.outlet.full:
            self.outlet.write(DATA[:SPILL_BYTES])
            sent += DATA[:SPILL_BYTES]
        return sent

    async def receive(self, size: int) -> bytes:
        """Be the client who reads so much."""
        while len(self.received) < size:
            self.received += await asyncio.get_running_loop().sock_recv(self.client, 1 << 16)
        return bytes(self.received)

    def leave(self) -> None:
        """Be the client who resets."""
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.client.close()


@pytest.fixture
async def connection() -> AsyncIterator[Connection]:
    client, sock = tcp_pair(BUFFER_BYTES)
    for end in (client, sock):
        end.setblocking(False)
    made = Connection(client, sock)
    await asyncio.get_running_loop().connect_accepted_socket(lambda: made, sock)
    yield made
    made.transport.abort()
    await made.lost.wait()
    client.close()


@pytest.fixture
def part(tmp_path: Path) -> Iterator[OpenPart]:
    """A file that is in memory and proven."""
    (tmp_path / "chunk").write_bytes(DATA)
    fd = os.open(tmp_path / "chunk", os.O_RDONLY)
    identity = Identity.of(os.fstat(fd))
    file = HotFile(digest_of(DATA), fd, len(DATA), identity, time.monotonic())
    reader = ChunkReader(CacheSettings())
    yield OpenPart(reader, file, 0, len(DATA))
    reader.close()
    os.close(fd)


async def test_it_is_full_with_the_first_byte_that_the_socket_does_not_take(
    connection: Connection,
) -> None:
    outlet = connection.outlet
    now = time.monotonic()
    assert outlet.full_seconds(now) == 0.0
    sent = connection.fill()
    assert connection.transport.get_write_buffer_size() > 0
    assert outlet.full_seconds(now + 100.0) <= 100.0
    assert outlet.full_seconds(time.monotonic() + 100.0) >= 100.0
    assert await connection.receive(len(sent)) == sent
    await outlet.ready()
    assert not outlet.full
    assert outlet.full_seconds(now + 100.0) == 0.0
    assert connection.transport.get_write_buffer_size() == 0


async def test_everything_comes_in_order(connection: Connection, part: OpenPart) -> None:
    outlet = connection.outlet
    sent = connection.fill()

    async def send() -> None:
        await outlet.put(b"one")
        await outlet.put(part)
        await outlet.put(b"two")

    sending = asyncio.create_task(send())
    expected = sent + b"one" + DATA + b"two"
    assert await connection.receive(len(expected)) == expected
    await sending
    assert not len(part)


async def test_a_head_goes_with_its_part_or_not_at_all(
    connection: Connection, part: OpenPart, monkeypatch: pytest.MonkeyPatch
) -> None:
    outlet = connection.outlet
    monkeypatch.setattr("cacheproxy.chunkread.resident", lambda *_: False)
    assert not outlet.send_head(b"head", part)
    assert not outlet.send_now(part)
    await outlet.send(part)
    assert part.position == 0
    monkeypatch.undo()
    assert outlet.send_head(b"head", part)
    assert part.position > 0
    expected = b"head" + DATA[: part.position]
    assert await connection.receive(len(expected)) == expected


async def test_a_part_that_leaves_memory_while_the_socket_is_full(
    connection: Connection, part: OpenPart, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not connection.outlet.send_now(part)
    there = part.position
    assert connection.outlet.full
    monkeypatch.setattr("cacheproxy.chunkread.resident", lambda *_: False)
    sending = asyncio.create_task(connection.outlet.send(part))
    assert await connection.receive(there) == DATA[:there]
    await sending
    assert part.position == there


async def test_who_waits_for_readiness_is_called_instead_of_woken(connection: Connection) -> None:
    connection.fill()
    ready = asyncio.Event()
    connection.outlet.on_ready = ready.set
    receiving = asyncio.create_task(connection.receive(1 << 30))
    await ready.wait()
    assert not connection.outlet.full
    receiving.cancel()


async def test_who_takes_nothing_for_too_long(
    connection: Connection, part: OpenPart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlet_module, "STALL_SECONDS_MAX", 0.0)
    connection.fill()
    for sending in (connection.outlet.ready(), connection.outlet.put(b"x")):
        with pytest.raises(TimeoutError):
            await sending
    with pytest.raises(TimeoutError):
        await connection.outlet.send(part)


async def test_who_leaves_while_he_is_waited_for(connection: Connection) -> None:
    connection.fill()
    waiting = asyncio.create_task(connection.outlet.ready())
    await asyncio.sleep(0)
    connection.leave()
    with pytest.raises(ConnectionError):
        await waiting


async def test_to_who_has_left_nothing_is_sent(connection: Connection, part: OpenPart) -> None:
    connection.leave()
    connection.outlet.write(b"x")
    connection.outlet.write(b"x")
    assert connection.transport.is_closing()
    assert connection.outlet.send_head(b"head", part)
    assert not connection.outlet.send_now(part)
    for sending in (
        *(connection.outlet.ready(), connection.outlet.put(b"x"), connection.outlet.send(part)),
    ):
        with pytest.raises(ConnectionError):
            await sending
