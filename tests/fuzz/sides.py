"""A worker's way from a socket to an answer, all of it real but keeper and upstream.

Two of these, one with the fast lane and one without, are given the same bytes; what they make of
them, and what they leave behind, has to be the same.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from operator import itemgetter

from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from msgspec.structs import replace

from backends.spans import Span
from cacheproxy.chunkread import PIECE_BYTES, ChunkReader, OpenPart
from cacheproxy.config import CacheSettings, UpstreamSettings
from cacheproxy.core.geometry import Grid
from cacheproxy.hotset import HotFile, HotSet
from cacheproxy.meter import LAYOUT, Board, Counter, Histogram
from cacheproxy.metrics import CONNECTIONS, FAST_REQUESTS, FILE_REQUESTS, LEASES
from cacheproxy.permission import Permissions
from cacheproxy.serve import Images
from cacheproxy.web.access_log import AccessLog, access_log
from cacheproxy.web.errors import SERVER
from cacheproxy.web.fast_lane import FastLane
from cacheproxy.web.front import (
    HEADER_BYTES_MAX,
    HEADERS_MAX,
    LINGERING_SECONDS,
    Door,
    Front,
    http_log,
)
from cacheproxy.web.image_file import ImageFile
from cacheproxy.web.witness import Witness
from fuzz.answers import Answer, answers
from fuzz.conversation import Event, Kind, Line, Pace, Part
from fuzz.requests import SIZES, WARM
from fuzz.world import CHUNK_BYTES, Files, Keeper, Upstream, facts_of
from harness.waiting import until_async

QUIET_TURNS = 12  # turns of the loop without a byte after which nothing more comes
STUCK_SECONDS = 10.0  # without a byte, and with an open file in use
TURNS = 2000  # then it is looked at now and then only
READ_BYTES = 1 << 20

counters = itemgetter(
    *(
        cell
        for each in LAYOUT.metrics
        if isinstance(each, Counter) and each is not FAST_REQUESTS
        for cell in each.cells.values()
    )
)
histograms = [
    (each, key) for each in LAYOUT.metrics if isinstance(each, Histogram) for key in each.cells
]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a connection."""

    answers: list[Answer]
    hung_up: bool  # by the server, and not because the client had nothing more to say
    ended: bool  # by the server, when it was told so


class Plain(web.Server):
    """aiohttp's own protocol, with the settings that the proxy has."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        on_closed: Callable[[], None],
    ) -> None:
        super().__init__(
            self._answer,
            handler_cancellation=True,
            access_log=access_log,
            access_log_class=AccessLog,
            logger=http_log,
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
            max_headers=HEADERS_MAX,
            lingering_time=LINGERING_SECONDS,
            auto_decompress=False,
        )
        self._handler = handler
        self._on_closed = on_closed

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        response = await self._handler(request)
        if not response.prepared:
            response.headers.setdefault("Server", SERVER)
        return response

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self._on_closed()


class CopyingReader(ChunkReader):
    """Gives copies of what is in memory, as aiohttp takes nothing else."""

    async def pieces(
        self, file: HotFile, part: Span, on_wait: Callable[[], None] = lambda: None
    ) -> AsyncGenerator[bytes]:
        async with aclosing(super().pieces(file, part, on_wait)) as pieces:
            async for piece in pieces:
                if not isinstance(piece, OpenPart):
                    yield piece
                    continue
                while len(piece) and (data := piece.read(PIECE_BYTES)) is not None:
                    yield data


class Uses:
    """Counts hits."""

    def __init__(self, told: list[object]) -> None:
        self._told = told

    def used(self, image_id: str) -> None:
        self._told.append(("used", image_id))


class Side:
    """A worker that has served the caller before, and what it tells others."""

    def __init__(self, files: Files, kind: Kind) -> None:
        self.told: list[object] = []  # to keeper and upstream, in order
        self.files = files
        self.now = time.monotonic()
        self.board = Board.create(1)
        meter = self.board.meter(0)
        self.hot = HotSet(512, meter, lambda digest: self.told.append(("closed", digest)))
        self.keeper = Keeper(files, self.hot, self.told)
        self.upstream = Upstream(self.told)
        settings = UpstreamSettings("http://glance.example:9292")
        clock = lambda: self.now  # noqa: E731
        self.permissions = Permissions(self.upstream, settings, meter, clock)
        self.images = Images(self.keeper, self.upstream, self.upstream, CacheSettings(), meter)
        witness = Witness(Uses(self.told), None, None)
        image_file = ImageFile(self.images, self.permissions, self.upstream.answer, meter, witness)
        front = Front(image_file, self.upstream.answer, self.upstream.answer)
        self.closed = 0
        self.fast = FastLane(
            self.images, self.permissions, meter, witness, log_requests=True, clock=clock
        )
        lane = self.fast if kind in {"fast", "guarded"} else None
        self.guarded = kind == "guarded"
        self.door = Door(front, meter, self._on_closed, log=True, fast=lane)
        self.server: web.Server | None = None
        if kind == "plain":
            self.images.chunks = CopyingReader(CacheSettings())
            self.server = Plain(front, self._on_closed)

    def _on_closed(self) -> None:
        self.closed += 1

    @property
    def file_requests(self) -> int:
        """How many requests for image data were answered."""
        return int(self.board.total(FILE_REQUESTS))

    @property
    def fast_requests(self) -> int:
        """How many of them by the fast lane."""
        return int(self.board.total(FAST_REQUESTS))

    async def know(self, caller: Sequence[Line]) -> None:
        """Have served a caller before."""
        pairs = [line.decode("utf-8", "surrogateescape").partition(":") for line in caller]
        headers = [("Host", "x"), *((name, value.strip(" \t")) for name, _, value in pairs)]
        for name in WARM:
            assert await self.permissions.allowed(name, headers)
            facts, grid = facts_of(name), Grid(SIZES[name], CHUNK_BYTES)
            self.images.memory.shown(facts)
            for index in range(grid.count):
                file = self.keeper.file(name, index)
                self.images.memory.remember(facts, grid, index, file.digest)
                self.hot.release(file)

    def happen(self, event: Event) -> None:
        """Have something happen to the worker."""
        match event:
            case Event.TIME:
                self.now += 11.0
            case Event.PURGE:
                self.permissions.purge("large")
                self.images.memory.purge("large")
            case Event.EXPEL:
                self.hot.expel(self.files.chunks["large", 1][0])
            case Event.ALTER:
                for name, index in (("large", 0), ("small", 0)):
                    file = self.hot.lease(self.files.chunks[name, index][0])
                    if file is not None:
                        file.identity = replace(file.identity, mtime_ns=0)
                        self.hot.release(file)
            case Event.CLEAR:
                self.hot.clear()
            case Event.COLD:
                for index in (0, 2):
                    _, fd, _, _ = self.files.chunks["large", index]
                    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)

    async def converse(self, parts: Sequence[Part]) -> Outcome:
        """Be sent these on a connection, and then the end of it."""
        closed = self.closed
        client = await self.connect()
        try:
            for part, following in zip_longest(parts, parts[1:]):
                if isinstance(part, Event):
                    self.happen(part)
                elif isinstance(part, bytes):
                    client.send(part)
                    if following is Pace.HASTY:
                        await asyncio.sleep(0)
                    else:
                        await self.settle(client)
            await self.settle(client)
            hung_up = client.ended
            client.say_all()
            await self.settle(client)
            return Outcome(answers(bytes(client.received)), hung_up, client.ended)
        finally:
            client.leave()
            await soon(lambda: self.closed > closed)

    async def connect(self, *, buffer_bytes: int | None = None) -> Client:
        """Connect a client: over TCP, where it matters how much the kernel takes."""
        if buffer_bytes is None:
            ours, theirs = socket.socketpair()
        else:
            ours, theirs = tcp_pair(buffer_bytes)
        ours.setblocking(False)
        theirs.setblocking(False)
        factory = self.server or partial(self.door, None if self.guarded else theirs)
        await asyncio.get_running_loop().connect_accepted_socket(factory, theirs)
        return Client(ours)

    async def settle(self, client: Client) -> None:
        """Wait until nothing more comes."""
        quiet = 0
        since = time.monotonic()
        while quiet < QUIET_TURNS or self.board.total(LEASES):
            await asyncio.sleep(0)
            if client.flush() | client.read():
                quiet, since = 0, time.monotonic()
            quiet += 1
            assert time.monotonic() - since < STUCK_SECONDS, "an answer does not come to its end"

    async def close(self) -> None:
        """End it; everything must have been given back."""
        await self.fast.close()
        await self.door.drain(0)
        if self.server is not None:
            await self.server.shutdown(0)
        await self.permissions.close()
        await self.images.close()
        self.hot.clear()
        assert self.board.total(LEASES) == self.board.total(CONNECTIONS) == 0

    def figures(self) -> list[float]:
        """Return all that was counted."""
        counted = [*counters(self.board._cells.tolist())]
        return counted + [self.board.total(metric, labels) for metric, labels in histograms]


class Client:
    """The other end of a connection; it waits for nothing."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.received = bytearray()
        self.ended = False  # nothing more can come
        self._unsent = b""

    def send(self, data: bytes) -> None:
        """Send this, as far as it is taken now."""
        self._unsent += data
        self.flush()

    def flush(self) -> bool:
        """Send what was not taken before; whether anything was."""
        if not self._unsent:
            return False
        try:
            sent = self.sock.send(self._unsent)
        except BlockingIOError:
            return False
        except ConnectionError:
            sent = len(self._unsent)
        self._unsent = self._unsent[sent:]
        return True

    def read(self, most: int = READ_BYTES) -> bool:
        """Take what has come; whether anything has."""
        if self.ended or not most:
            return False
        try:
            data = self.sock.recv(most)
        except BlockingIOError:
            return False
        except ConnectionError:
            data = b""
        self.received += data
        self.ended = not data
        return True

    def leave(self, *, politely: bool = True) -> None:
        """Close the connection, or reset it."""
        if not politely:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def say_all(self) -> None:
        """Tell that nothing more will be said."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)


def tcp_pair(buffer_bytes: int) -> tuple[socket.socket, socket.socket]:
    """Connect two sockets on this machine that buffer no more than the kernel insists on."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        ours = socket.socket()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        ours.connect(listener.getsockname())
        theirs, _ = listener.accept()
        return ours, theirs


async def soon(condition: Callable[[], bool]) -> None:
    """Wait until something has come true: a few turns of the loop, mostly."""
    for _ in range(TURNS):
        if condition():
            return
        await asyncio.sleep(0)
    await until_async("what was to come", condition)
