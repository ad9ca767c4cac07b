"""The use case: find an image, and give the bytes of a span of it.  Knows no HTTP.

Whoever calls has asked for permission before.  The bytes come, in this order of preference, from
the worker's own open files (a repeated hit asks nobody), from the keeper (which has them, joins
who fetches them, or fetches them), or, when neither can, from the upstream at the byte where the
others stopped.  Only bytes that failed their proof end it: those are never papered over.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, Protocol

from backends.spans import Span
from cacheproxy.bypass import Bypass
from cacheproxy.chunkread import ChunkReader, OpenPart, Piece
from cacheproxy.config import CacheSettings
from cacheproxy.core.facts import ImageFacts, same_image
from cacheproxy.core.geometry import Grid
from cacheproxy.core.lookahead import Lookahead
from cacheproxy.errors import (
    CacheRefusedError,
    ChunkLostError,
    FillFailedError,
    KeeperError,
    StorageError,
)
from cacheproxy.fill.source import Headers
from cacheproxy.hotset import HotFile
from cacheproxy.keeper import Keeper, Reader
from cacheproxy.leftovers import Leftovers
from cacheproxy.memory import Known, Memory
from cacheproxy.meter import Meter
from cacheproxy.metrics import SERVED_BYTES

AHEAD_BYTES_MAX = 4 << 20  # read from the disk ahead of what is being sent, for one reader
LOOK_SECONDS = 3.0  # how long who reads a known image waits for its record; qemu gives up after 5
REOPENS_MAX = (
    3  # how often the same chunk may be damaged or gone before a reader goes round the cache
)


@dataclass(frozen=True, slots=True)
class Image:
    """An image that can be served; `proven`: by its hash as a whole, or a published manifest."""

    facts: ImageFacts
    proven: bool


class ImageSource(Protocol):
    """Shows image records with a caller's credentials."""

    async def show(self, image_id: str, headers: Headers) -> ImageFacts | None:
        """Return the record of an active image, None if there is none to be had."""


class Images:
    """Everything that a worker serves."""

    def __init__(
        self,
        keeper: Keeper,
        upstream: ImageSource,
        bypass: Bypass,
        settings: CacheSettings,
        meter: Meter,
    ) -> None:
        self.keeper = keeper
        self.chunks = ChunkReader(settings)
        self.chunks.on_hang = keeper.hung
        self.chunks.hold, self.chunks.release = keeper.hot.hold, keeper.hot.release
        self.bypass = bypass
        self.meter = meter
        self._upstream = upstream
        self._looks: set[asyncio.Task[ImageFacts | None]] = set()
        self.memory = Memory(keeper.hot.has, settings.hot_files_max)

    async def close(self) -> None:
        """Read no more; downloads have ended."""
        for look in self._looks:
            look.cancel()
        await asyncio.gather(*self._looks, return_exceptions=True)
        self.chunks.close()

    async def find(self, image_id: str, headers: Headers) -> Image | None:
        """Find an image for a caller who may download it; None if it is not for the cache."""
        image = await self._known(image_id)
        if image is not None and not self.memory.look(image_id):
            return image
        look = self._look(image_id, headers)
        facts = await (look if image is None else self._look_briefly(look))
        if facts is None:
            return image  # that nothing is shown says nothing about what it is
        if image is not None and same_image(image.facts, facts):
            return image
        proven = False
        if facts.manifest is not None:
            # Before anything is said of the image: proven ones are answered with their tag.
            with suppress(KeeperError):
                proven = (await self.keeper.adopt(facts, headers)).proven
        return Image(facts, proven)

    async def _look(self, image_id: str, headers: Headers) -> ImageFacts | None:
        facts = await self._upstream.show(image_id, headers)
        if facts is not None:
            self.memory.shown(facts)
        return facts

    async def _look_briefly(
        self, look: Coroutine[Any, Any, ImageFacts | None]
    ) -> ImageFacts | None:
        """Wait for a look, but not long; it goes on, and what it shows counts for those who come."""
        task = asyncio.create_task(look, name="look at a record")
        self._looks.add(task)
        task.add_done_callback(self._looks.discard)
        await asyncio.wait([task], timeout=LOOK_SECONDS)
        return task.result() if task.done() else None

    async def _known(self, image_id: str) -> Image | None:
        facts = self.memory.facts(image_id)
        if facts is not None:
            return Image(facts, proven=True)
        try:
            description = await self.keeper.describe(image_id)
        except KeeperError:
            return None
        if description.facts is None or not self.memory.agrees(description.facts):
            return None
        return Image(description.facts, description.proven)

    # --- what is open here: for what is done with it before anything else happens -----------------

    def parts(self, known: Known, start: int, stop: int) -> list[OpenPart] | None:
        """Return a part of a known image, if all of it is in files that are open; the last first.

        They are not leased: use them now, or `hold` them.
        """
        parts: list[OpenPart] = []
        chunk_bytes = known.grid.chunk_bytes
        for index in range((stop - 1) // chunk_bytes, start // chunk_bytes - 1, -1):
            file = self._at_hand(known, index)
            if file is None:
                return None
            first = index * chunk_bytes
            begin, end = max(start - first, 0), min(stop - first, file.size)
            parts.append(self.chunks.part(file, begin, end))
        return parts

    def at_hand(self, known: Known, start: int, stop: int) -> bytes | None:
        """Return a (short) part of a known image, if it is in memory and its files are open."""
        index, within = divmod(start, known.grid.chunk_bytes)
        if within + stop - start <= known.grid.chunk_bytes:
            file = self._at_hand(known, index)
            return None if file is None else self.chunks.read(file, within, stop - start)
        pieces: list[bytes] = []
        for part in reversed(self.parts(known, start, stop) or ()):
            data = part.read(len(part))
            if data is None:
                return None
            pieces.append(data)
        return b"".join(pieces) or None

    def _at_hand(self, known: Known, index: int) -> HotFile | None:
        digest = known.digests.get(index)
        file = None if digest is None else self.keeper.hot.at_hand(digest)
        if file is not None:
            self.keeper.touch(file.digest)
        return file

    def hold(self, parts: list[OpenPart]) -> None:
        """Lease the files of these parts, which were just found; to be ended with `release`."""
        for part in parts:
            self.keeper.hot.hold(part.file)

    def release(self, parts: list[OpenPart], count: int | None = None) -> None:
        """End the leases of the last of these parts, of all of them without a number."""
        for _ in range(len(parts) if count is None else count):
            self.keeper.hot.release(parts.pop().file)

    async def open(
        self, image: Image, span: Span, headers: Headers, prefer: Sequence[str] = ()
    ) -> Download:
        """Begin to read a (not empty) span; `aclose` it in any case.

        What is absent is rather read from the stores `prefer`.
        """
        download = Download(self, image, span, headers, prefer)
        try:
            await download.begin()
        except BaseException:
            await download.aclose()
            raise
        return download


class Download:
    """The bytes of one span for one caller."""

    def __init__(
        self, images: Images, image: Image, span: Span, headers: Headers, prefer: Sequence[str]
    ) -> None:
        self.proven = image.proven
        self._images = images
        self._image = image
        self._span = span
        self._headers = headers
        self._prefer = prefer
        self._position = span.start
        self._grid: Grid | None = None
        self._hot: dict[int, bytes] = {}  # chunks of the worker's own, by index
        self._reader: Reader | None = None
        self._present = self._fetched = 0
        self._leftovers = Leftovers()
        self._lookahead = Lookahead()
        self._bypassed = False
        self._reopens = 0  # without a byte in between
        self._reopened_at = -1

    @property
    def result(self) -> str:
        """How it was served, so far: hit, partial, miss or bypass."""
        if self._bypassed:
            return "bypass"
        if not self._fetched:
            return "hit"
        return "partial" if self._present else "miss"

    async def begin(self) -> None:
        """Find where the bytes come from."""
        hot = self._images.memory.hot(self._image.facts, self._span)
        if hot is not None:
            self._grid, self._hot = hot
            return
        await self._open_reader()
        if self._reader is None or not self._reader.proven:
            self.proven = False

    async def aclose(self) -> None:
        """Let go of everything; safe at any time, and again."""
        self._close_reader()

    async def pieces(self) -> AsyncGenerator[Piece]:
        """Give the bytes in order, once.

        Raises `ProofFailedError` if they are not what the image's hash says, an `UpstreamError`
        or `BusyError` if nobody can bring the rest.
        """
        try:
            while self._position < self._span.stop and not self._bypassed:
                try:
                    async with aclosing(self._cached()) as pieces:
                        async for piece in pieces:
                            yield piece
                except ChunkLostError:
                    await self._reopen()
                except (KeeperError, CacheRefusedError, FillFailedError, StorageError):
                    self._go_round()
            if self._position < self._span.stop:
                async with aclosing(self._uncached()) as pieces:
                    async for piece in pieces:
                        yield piece
        finally:
            await self.aclose()

    # --- from the cache ---------------------------------------------------------------------------

    async def _open_reader(self) -> None:
        rest = Span(self._position, self._span.stop)
        try:
            self._reader = self._images.keeper.read(
                self._image.facts, rest, self._headers, self._prefer
            )
            self._grid = await self._reader.ready()
        except (KeeperError, CacheRefusedError, FillFailedError, StorageError):
            self._go_round()

    async def _reopen(self) -> None:
        """A chunk was damaged or vanished: ask the keeper again, from here."""
        self._close_reader()
        self._hot.clear()
        self._reopens = self._reopens + 1 if self._position == self._reopened_at else 1
        self._reopened_at = self._position
        if self._reopens > REOPENS_MAX:
            self._go_round()
        else:
            await self._open_reader()

    def _go_round(self) -> None:
        self._close_reader()
        self._bypassed = True

    def _close_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    async def _cached(self) -> AsyncGenerator[Piece]:
        assert self._grid is not None
        for index in self._grid.covering(Span(self._position, self._span.stop)):
            file, fetched = await self._next(index)
            try:
                if fetched:
                    self._fetched += 1
                else:
                    self._present += 1
                if self._reader is not None and self._reader.proven:
                    self._images.memory.remember(self._image.facts, self._grid, index, file.digest)
                elif self._reader is not None and not fetched:
                    self._leftovers.add(index, file.digest)
                self._read_ahead(index)
                source = "fill" if fetched else "cache"
                async with aclosing(self._send(file, index)) as pieces:
                    async for piece in pieces:
                        if isinstance(piece, OpenPart):
                            there = piece.position
                            try:
                                yield piece
                            finally:
                                self._count(piece.position - there, source)
                        else:
                            self._count(len(piece), source)
                            yield piece
            finally:
                self._images.keeper.hot.release(file)

    async def _next(self, index: int) -> tuple[HotFile, bool]:
        digest = self._hot.get(index)
        if digest is not None:
            file = self._images.keeper.hot.lease(digest)
            if file is None:
                raise ChunkLostError("it left the hot set")
            self._images.keeper.touch(digest)
            return file, False
        if self._reader is None:
            raise ChunkLostError("it was never in the hot set")
        return await self._reader.chunk(index, self._brought(index))

    def _brought(self, index: int) -> bytes | None:
        """Return the digest of a chunk of proven content that another reader, who was faster, has had."""
        if self._reader is None or not self._reader.proven or self._grid is None:
            return None
        return self._images.memory.proven_digest(self._image.facts, self._grid, index)

    def _within(self, index: int) -> Span:
        """Return what is still wanted of a chunk."""
        assert self._grid is not None
        chunk = self._grid.chunk(index)
        part = chunk.clip(Span(self._position, self._span.stop))
        return Span(part.start - chunk.start, part.stop - chunk.start)

    def _read_ahead(self, index: int) -> None:
        """Have what comes behind a chunk in memory when it is due, as far as that is worth it."""
        assert self._grid is not None
        stop = self._grid.covering(self._span).stop
        for following in self._lookahead.beyond(index, stop):
            file = self._soon(following)
            if file is None or not self._images.chunks.ahead(file, self._within(following)):
                break
            self._lookahead.saw_to(following)

    def _soon(self, index: int) -> HotFile | None:
        """Return the file of a chunk that is not due yet, if it is here."""
        if self._reader is not None and (file := self._reader.ahead(index)) is not None:
            return file
        digest = self._hot.get(index) or self._brought(index)
        return None if digest is None else self._images.keeper.hot.at_hand(digest)

    async def _send(self, file: HotFile, index: int) -> AsyncGenerator[Piece]:
        """Give a part of a chunk from its file."""
        assert self._grid is not None
        chunks_max = AHEAD_BYTES_MAX // self._grid.chunk_bytes

        def waits() -> None:
            self._lookahead.waited(chunks_max)
            self._read_ahead(index)

        part = self._within(index)
        try:
            async with aclosing(self._images.chunks.pieces(file, part, waits)) as pieces:
                async for piece in pieces:
                    yield piece
        except ChunkLostError:
            self._images.keeper.hot.expel(file.digest)
            await self._images.keeper.doubt(file.digest, file.size)
            raise

    # --- round the cache --------------------------------------------------------------------------

    async def _uncached(self) -> AsyncGenerator[Piece]:
        if self._grid is not None and self._grid.ends_whole(self._span):
            await self._leftovers.compare(self._grid, self._from_upstream)
        rest = Span(self._position, self._span.stop)
        async with aclosing(self._from_upstream(rest)) as pieces:
            async for piece in pieces:
                self._count(len(piece), "bypass")
                yield bytes(piece)

    def _from_upstream(self, span: Span) -> AsyncGenerator[bytes | memoryview]:
        return self._images.bypass.stream(self._image.facts, self._headers, span)

    def _count(self, size: int, source: str) -> None:
        self._position += size
        self._images.meter.inc(SERVED_BYTES, size, source)
