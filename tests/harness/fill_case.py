"""A keeper without processes: the real store and flights, in front of an origin of the test's own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backends.spans import Span
from cacheproxy.account import Account
from cacheproxy.config import CacheSettings, ServiceUserSettings, UpstreamSettings
from cacheproxy.core.facts import ImageFacts, image_facts
from cacheproxy.fill.content import Content, Contents
from cacheproxy.fill.delivery import Delivery
from cacheproxy.fill.demand import Credential
from cacheproxy.fill.flights import Flights
from cacheproxy.fill.source import NoShortcuts, OwnAccount, Shortcuts
from cacheproxy.meter import Board, Meter
from cacheproxy.metrics import RESERVED_BYTES
from cacheproxy.store.chunkstore import ChunkStore, OpenChunk
from cacheproxy.upstream import Upstream
from harness.origin import Origin, OriginImage

CHUNK = 256 << 10


class Reading:
    """A reader in this process: what it was given so far."""

    def __init__(self, case: Case, image: OriginImage, span: Span, credential: Credential) -> None:
        self._parts: list[tuple[int, Span]] = []  # open files, and what is ours of each
        self._read = b""
        self.fetched: list[bool] = []
        self.first = asyncio.Event()
        self._case = case
        self._image = image
        self._span = span
        self._credential = credential
        self.task = asyncio.create_task(self._run())

    @property
    def data(self) -> bytes:
        """What was delivered so far."""
        parts = (os.pread(fd, len(part), part.start) for fd, part in self._parts)
        return self._read + b"".join(parts)

    async def _run(self) -> bytes:
        try:
            await self._deliver()
        finally:
            self._read = self.data
            for fd, _ in self._parts:
                os.close(fd)
            self._parts.clear()
        return self._read

    async def _deliver(self) -> None:
        facts = facts_of(self._image)
        credential = self._credential
        content = await self._case.flights.admit(facts, credential)

        def deliver(index: int, digest: bytes, opened: OpenChunk, fetched: bool) -> None:
            assert len(digest) == 32
            chunk = content.grid.chunk(index)
            part = chunk.clip(self._span)
            inside = Span(part.start - chunk.start, part.stop - chunk.start)
            self._parts.append((opened.fd, inside))
            self.fetched.append(fetched)
            self.first.set()

        delivery = Delivery(
            self._case.flights,
            self._case.store,
            self._case.settings,
            facts=facts,
            content=content,
            span=self._span,
            credential=credential,
            deliver=deliver,
        )
        delivery.grant(content.grid.count)
        await delivery.run()


@dataclass
class Case:
    """Everything that a test of fills needs."""

    origin: Origin
    store: ChunkStore
    flights: Flights
    settings: CacheSettings
    board: Board
    upstream: Upstream

    def read(
        self,
        image: OriginImage,
        start: int = 0,
        stop: int | None = None,
        *,
        token: str = "t",
        prefer: tuple[str, ...] = (),
    ) -> Reading:
        """Begin to read a span of an image."""
        span = Span(start, image.record["size"] if stop is None else stop)
        return Reading(self, image, span, credential_for(image, token, prefer))

    async def admit(self, image: OriginImage) -> Content:
        """Find the content of an image, as a reader does."""
        return await self.flights.admit(facts_of(image), credential_for(image))

    async def idle(self) -> None:
        """Wait until no fill is in progress, and check that nothing is left of any."""
        while self.flights._tasks:
            await asyncio.wait(tuple(self.flights._tasks))
        # A chunk that a reader had open just then leaves when the reader has let go.
        while leaving := self.store._departures.all_leaving():
            await asyncio.wait(leaving)
        assert self.board.total(RESERVED_BYTES) == 0

    def chunk_files(self) -> int:
        """Count the chunk files on the disk."""
        return len([path for path in self.settings.directory.glob("chunks/*/*") if path.is_file()])


def credential_for(
    image: OriginImage, token: str = "t", prefer: tuple[str, ...] = ()
) -> Credential:
    """Return a reader's credential."""
    return Credential(image.id, (("X-Auth-Token", token),), prefer=prefer)


def facts_of(image: OriginImage) -> ImageFacts:
    """Return what the image's record tells."""
    facts = image_facts(image.id, image.record)
    assert facts is not None
    return facts


@asynccontextmanager
async def started(
    glance: Origin,
    directory: Path,
    *,
    trust: bool = False,
    account: OwnAccount | None = None,
    read_seconds: float = 60.0,
    shortcuts: Callable[[Upstream, Meter], Shortcuts] = lambda *_: NoShortcuts(),
    **options: Any,
) -> AsyncIterator[Case]:
    """Open a store in a directory, and everything on top of it."""
    settings = replace(
        CacheSettings(directory=directory, limit_bytes=1 << 30, chunk_bytes=CHUNK), **options
    )
    board = Board.create(1)
    meter = board.meter(0)
    upstream = Upstream(UpstreamSettings(url=glance.url, read_timeout_seconds=read_seconds), meter)
    store = await ChunkStore.open(settings, meter, on_dying=lambda *_: None)
    contents = Contents(store, settings.chunk_bytes, trust)
    account = account or Account(ServiceUserSettings())
    direct = shortcuts(upstream, meter)
    flights = Flights(contents, store, upstream, account, settings, meter, direct)
    try:
        yield Case(glance, store, flights, settings, board, upstream)
    finally:
        await flights.close()
        await store.close()
        await upstream.close()
