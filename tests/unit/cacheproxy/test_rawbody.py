"""Bodies received straight into memory: every cut, plain and over TLS, and what aiohttp has to give."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from cacheproxy.config import UpstreamSettings
from cacheproxy.connections import UpstreamSilentError
from cacheproxy.errors import UpstreamUnreachableError
from cacheproxy.meter import Board
from cacheproxy.metrics import UPSTREAM_BYTES
from cacheproxy.upstream import Upstream, UpstreamBody
from harness.authority import Authority
from harness.raw_origin import Peer, RawOrigin, Script, raw_origin
from harness.waiting import passing

IMAGE = "0b8a4b6e-0000-4000-8000-000000000001"
CHUNK = 16  # bytes of room at once
DATA = random.Random(5).randbytes(3 * CHUNK - 5)
BORDERS = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 1, len(DATA)]
LARGE = random.Random(6).randbytes(8 << 20)


class Bowl:
    """A sink that has room for a chunk at a time, while it is open."""

    def __init__(self, wanted: int = len(DATA), chunk: int = CHUNK) -> None:
        self.data = bytearray()
        self.open = True
        self.failure: Exception | None = None
        self.asked = asyncio.Event()  # it had no room
        self.on_news: Callable[[], None] | None = None
        self._came = asyncio.Event()
        self._wanted = wanted
        self._chunk = chunk
        self._room = memoryview(b"")

    @property
    def satisfied(self) -> bool:
        return len(self.data) >= self._wanted

    def room(self) -> memoryview | None:
        if self.failure is not None:
            raise self.failure
        if not self.open:
            self.asked.set()
            return None
        left = self._chunk - len(self.data) % self._chunk
        self._room = memoryview(bytearray(min(left, self._wanted - len(self.data))))
        return self._room

    def advance(self, count: int) -> None:
        self.data += self._room[:count]
        self._came.set()

    def listen(self, on_news: Callable[[], None] | None) -> None:
        self.on_news = on_news
        self._came.set()

    async def has(self, count: int) -> None:
        """Wait until somebody fills it and it has so many bytes."""
        while self.on_news is None or len(self.data) < count:
            self._came.clear()
            await self._came.wait()

    def news(self) -> None:
        assert self.on_news is not None
        self.on_news()


@dataclass
class Asked:
    """A client before a scripted origin."""

    origin: RawOrigin
    upstream: Upstream
    board: Board

    @asynccontextmanager
    async def body(self) -> AsyncIterator[UpstreamBody]:
        async with self.upstream.read(IMAGE, [], None) as body:
            yield body

    async def into(self, bowl: Bowl) -> bool:
        async with self.body() as body:
            return await body.into(bowl)


@pytest.fixture(params=["plain", "tls"])
def authority(request: pytest.FixtureRequest, tmp_path: Path) -> Authority | None:
    return Authority(tmp_path) if request.param == "tls" else None


@asynccontextmanager
async def asking(
    script: Script, authority: Authority | None = None, read_seconds: float = 60.0
) -> AsyncIterator[Asked]:
    board = Board.create(1)
    tls = None if authority is None else authority.server()
    async with raw_origin(script, tls=tls) as origin:
        settings = UpstreamSettings(
            origin.url,
            cafile=None if authority is None else authority.cafile,
            read_timeout_seconds=read_seconds,
        )
        upstream = Upstream(settings, board.meter(0))
        try:
            yield Asked(origin, upstream, board)
        finally:
            await upstream.close()


def head(length: int = len(DATA)) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length


@pytest.mark.parametrize("cut", BORDERS)
async def test_a_body_in_two_pieces(authority: Authority | None, cut: int) -> None:
    go_on = asyncio.Event()
    peer_saw_end = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head() + DATA[:cut])
        await go_on.wait()
        await peer.send(DATA[cut:])
        await peer.closed_by_peer()
        peer_saw_end.set()

    async with asking(script, authority) as asked:
        bowl = Bowl()
        async with asked.body() as body:
            receiving = asyncio.create_task(body.into(bowl))
            if cut < len(DATA):
                await bowl.has(cut)
            go_on.set()
            taken = await receiving
            if not taken:  # all of it came with the head
                assert cut == len(DATA)
                bowl.data += b"".join([piece async for piece in body.pieces()])
        assert bowl.data == DATA
        assert bowl.on_news is None
        assert asked.board.total(UPSTREAM_BYTES) == len(DATA)
        if taken:
            await peer_saw_end.wait()  # such a connection is not used again


@pytest.mark.parametrize("cut", BORDERS[:-1])
@pytest.mark.parametrize("reset", [False, True])
async def test_a_body_that_is_cut(authority: Authority | None, cut: int, *, reset: bool) -> None:
    there = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head() + DATA[:cut])
        await there.wait()
        if reset:
            peer.reset()

    async with asking(script, authority) as asked, asked.body() as body:
        bowl = Bowl()
        receiving = asyncio.create_task(body.into(bowl))
        await bowl.has(cut)
        there.set()
        with pytest.raises(UpstreamUnreachableError):
            await receiving
        assert bowl.data == DATA[:cut]
        assert asked.board.total(UPSTREAM_BYTES) == cut


async def test_a_body_that_stalls(authority: Authority | None) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head() + DATA[:20])
        await peer.closed_by_peer()

    async with asking(script, authority, read_seconds=0.2) as asked:
        bowl = Bowl()
        with pytest.raises(UpstreamSilentError):
            await asked.into(bowl)
        assert bowl.data == DATA[:20]


async def test_a_large_body_waits_for_room(authority: Authority | None) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head(len(LARGE)) + LARGE)
        await peer.closed_by_peer()

    async with asking(script, authority, read_seconds=0.2) as asked, asked.body() as body:
        bowl = Bowl(len(LARGE), 1 << 20)
        bowl.open = False
        receiving = asyncio.create_task(body.into(bowl))
        await bowl.asked.wait()
        assert not bowl.data
        await passing(0.5)  # longer than an upstream may be silent, which it is not
        assert not receiving.done()
        bowl.open = True
        bowl.news()
        assert await receiving
        assert bowl.data == LARGE


async def test_a_sink_that_has_enough_or_fails(authority: Authority | None) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head(len(LARGE)) + LARGE[:CHUNK])
        await peer.closed_by_peer()

    async with asking(script, authority) as asked:
        bowl = Bowl(CHUNK)
        assert await asked.into(bowl)
        assert bowl.data == LARGE[:CHUNK]
        bowl = Bowl(len(LARGE))
        bowl.failure = KeyError("the disk")
        with pytest.raises(KeyError, match="the disk"):
            await asked.into(bowl)
        assert asked.origin.connections == 2


async def test_a_receiver_that_is_cancelled(authority: Authority | None) -> None:
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head() + DATA[:20])
        await peer.closed_by_peer()
        gone.set()

    async with asking(script, authority) as asked:
        bowl = Bowl()
        receiving = asyncio.create_task(asked.into(bowl))
        await bowl.has(20)
        receiving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await receiving
        await gone.wait()
        assert bowl.on_news is None


async def test_what_aiohttp_has_to_give() -> None:
    """Without a length, or with all of it there already, `pieces` gives the body as ever."""
    framed = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"

    async def script(peer: Peer) -> None:
        for told in (framed, head(3) + b"abc", framed):
            await peer.request()
            await peer.send(told)

    async with asking(script) as asked:
        for _ in range(3):
            bowl = Bowl(3)
            async with asked.body() as body:
                assert not await body.into(bowl)
                assert b"".join([piece async for piece in body.pieces()]) == b"abc"
        assert asked.origin.connections == 1
