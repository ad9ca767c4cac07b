"""Large bodies through the pass-through: as fast as the other side takes them, and never held."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from harness.raw_origin import Peer
from harness.relay import Client, relaying, request, turns, until

NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
PUT = "PUT /v2/images/i/file HTTP/1.1\nContent-Type: application/octet-stream\n"
MIB = 1 << 20
SMALL_BUFFER_BYTES = 64 << 10


async def settled(counter: Callable[[], int]) -> int:
    """Wait until a counter has not moved for many turns of the loop."""
    before = -1
    while (now := counter()) != before:
        before = now
        await turns(500)
    return before


def small_socket() -> socket.socket:
    """Return a client's socket with a small send buffer."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER_BYTES)
    return sock


async def blindly(client: Client, size: int, piece: bytes = b"x" * MIB) -> None:
    """Send a body without looking for an answer, as naive clients do, until the other side closes."""
    with suppress(ConnectionError):
        for _ in range(size // len(piece)):
            await client.send(piece)


@pytest.mark.parametrize("framing", ["Content-Length: 67108864", "Transfer-Encoding: chunked"])
async def test_an_upload_is_no_faster_than_its_receiver(framing: str) -> None:
    size, go, sent = 64 * MIB, asyncio.Event(), 0
    in_chunks = "chunked" in framing

    async def script(peer: Peer) -> None:
        head = await peer.head()
        await go.wait()
        assert await peer.body(head) == b"x" * size
        await peer.send(NO_CONTENT)

    async with relaying(script, buffer_bytes=SMALL_BUFFER_BYTES) as relay:
        client = await relay.client(small_socket())
        await client.send(request(PUT + framing))

        async def upload() -> None:
            nonlocal sent
            piece = b"100000\r\n" + b"x" * MIB + b"\r\n" if in_chunks else b"x" * MIB
            while sent < size:
                await client.send(piece)
                sent += MIB
            if in_chunks:
                await client.send(b"0\r\n\r\n")

        sending = asyncio.create_task(upload())
        assert await settled(lambda: sent) < 16 * MIB
        go.set()
        await sending
        assert (await client.reply()).status == 204


async def test_a_huge_upload_takes_no_memory() -> None:
    size, received, peak = 384 * MIB, 0, 0

    def anonymous_kib() -> int:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        found = re.search(r"RssAnon:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1])

    async def script(peer: Peer) -> None:
        nonlocal received, peak
        await peer.head()
        while received < size:
            received += len(await peer.reader.readexactly(4 * MIB))
            peak = max(peak, anonymous_kib())
        await peer.send(NO_CONTENT)

    async with relaying(script, buffer_bytes=SMALL_BUFFER_BYTES) as relay:
        client = await relay.client()
        before = anonymous_kib()
        await client.send(request(f"{PUT}Content-Length: {size}"))
        await blindly(client, size)
        assert (await client.reply()).status == 204
    assert received == size
    assert peak - before < 48 * 1024


async def test_a_large_answer_waits_for_its_reader() -> None:
    """The origin cannot run ahead of a client that does not read: nothing is held in memory."""
    size, piece = 64 << 20, b"x" * (1 << 20)
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        while sent < size:
            await peer.send(piece)
            sent += len(piece)

    async with relaying(script) as relay:
        client = await relay.client()
        await client.send(request("GET / HTTP/1.1"))
        await client.head()
        assert await settled(lambda: sent) < size // 2
        got = 0
        while got < size:
            got += len(await client.reader.readexactly(1 << 20))
        await until(lambda: sent == size)
