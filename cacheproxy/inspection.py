"""The use case of an operator who looks: how the daemon is, which images it has, and what of them.

Knows no sockets.  Whatever takes long gives the loop its turn, and sees what comes and goes meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from backends.manifest import PAGE_DIGESTS
from cacheproxy.admin.results import (
    Cached,
    Counts,
    DirectStore,
    Disk,
    ErrorCode,
    FillInProgress,
    ImageRow,
    Knowledge,
    Processes,
    Range,
    Requests,
    Scrub,
    ShowResult,
    Space,
    StatusResult,
    UpstreamUrl,
)
from cacheproxy.core.chunkmap import ChunkMap
from cacheproxy.core.geometry import Grid
from cacheproxy.core.manifest import content_key, private_id, private_image
from cacheproxy.core.records import ContentRecord
from cacheproxy.errors import ProxyError
from cacheproxy.fill.fill import Fill
from cacheproxy.fill.flights import Flights
from cacheproxy.fill.forgetting import digests_of
from cacheproxy.meter import Meter
from cacheproxy.metrics import REQUESTS, RESULTS, SERVED_BYTES, START_TIME, UPSTREAM_UNUSED
from cacheproxy.store.chunkstore import ChunkStore

FILLS_TOLD_MAX = 50
SAME_CONTENT_TOLD_MAX = 20
ROWS = 64  # images told of at once
SLICE = 256  # chunks looked at before the loop gets its turn; a page of a manifest has some of them


class OperationError(ProxyError):
    """A command cannot be carried out; `code` says why to programs, the message to people."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Known:
    """An image that the cache has something of, or had."""

    image_id: str
    key: str  # of its content
    grid: Grid
    knowledge: Knowledge  # why its bytes are believed

    @classmethod
    def recorded(cls, image_id: str, key: str, content: ContentRecord) -> Known:
        """Return what the index says."""
        grid = Grid(content.size, content.chunk_bytes)
        if content.published:
            return cls(image_id, key, grid, "published")
        return cls(image_id, key, grid, "proven" if content.proven else "learning")

    @classmethod
    def filled(cls, fill: Fill) -> Known:
        """Return what a fill says, of which the index does not know yet."""
        return cls(fill.facts.image_id, fill.content.key, fill.content.grid, "learning")


@dataclass(frozen=True, slots=True)
class Daemon:
    """What a keeper knows of the program that it belongs to."""

    version: str
    directory: str  # of the cache
    upstreams: Sequence[str]  # its URLs, the preferred one first
    processes: Callable[[], Processes]
    stores: Callable[[], Sequence[DirectStore]] = tuple  # that are read directly


class Inspection:
    """Looks at one keeper; used on its loop."""

    def __init__(
        self,
        flights: Flights,
        store: ChunkStore,
        meter: Meter,
        daemon: Daemon,
    ) -> None:
        self._flights = flights
        self._contents = flights.contents
        self._store = store
        self._meter = meter
        self._daemon = daemon

    # --- status -----------------------------------------------------------------------------------

    def status(self) -> StatusResult:
        """Tell how the daemon is."""
        figures = self._store.survey.figures()
        images, contents = self._store.records()
        fills = self._flights.in_progress()
        disk, scrub = self._store.disk, self._store.scrub_status()
        return StatusResult(
            version=self._daemon.version,
            directory=self._daemon.directory,
            uptime_seconds=max(0.0, time.time() - self._meter.total(START_TIME)),
            processes=self._daemon.processes(),
            upstreams=[
                UpstreamUrl(url=url, unused_by=int(self._meter.total(UPSTREAM_UNUSED, str(place))))
                for place, url in enumerate(self._daemon.upstreams, 1)
            ],
            stores=list(self._daemon.stores()),
            disk=Disk(state=disk.state.value, trouble=disk.trouble),
            scrub=Scrub(
                state=scrub.state,
                progress=scrub.progress,
                chunks=scrub.chunks,
                read_bytes=scrub.read_bytes,
                damaged_chunks=scrub.damaged,
                begun_at=scrub.begun_at,
                finished_at=scrub.finished_at,
            ),
            space=Space(
                limit_bytes=figures.limit,
                effective_limit_bytes=figures.effective_limit,
                used_bytes=figures.used,
                chunk_bytes=figures.chunks,
                quarantine_bytes=figures.quarantine,
                unknown_bytes=figures.unknown,
                overhead_bytes=figures.overhead,
                reserved_bytes=figures.reserved,
                pinned_bytes=figures.pinned,
                reconciled=self._store.exact,
            ),
            counts=Counts(
                chunks=figures.chunk_count,
                contents=contents,
                images=images,
                pinned=len(self._flights.pins),
            ),
            requests=self._requests(),
            fills_in_progress=len(fills),
            fills=[told(fill) for fill in fills[:FILLS_TOLD_MAX]],
        )

    def _requests(self) -> Requests:
        counts = {result: int(self._meter.total(REQUESTS, result)) for result in RESULTS}
        answered = counts["hit"] + counts["partial"] + counts["miss"]
        served = self._meter.total(SERVED_BYTES)
        cached = self._meter.total(SERVED_BYTES, "cache")
        return Requests(
            **counts,
            hit_ratio=counts["hit"] / answered if answered else None,
            served_bytes=int(served),
            cached_byte_ratio=cached / served if served else None,
        )

    # --- images -----------------------------------------------------------------------------------

    def known(self, image_id: str) -> Known:
        """Find an image; OperationError if nothing is known of it."""
        record = self._store.image(image_id)
        private = content_key(private_id(image_id), self._contents.chunk_bytes)
        for key in (private,) if record is None else (record.content, private):
            content = self._store.content(key)
            if content is not None:
                return Known.recorded(image_id, key, content)
        for fill in self._flights.in_progress():
            if fill.facts.image_id == image_id:
                return Known.filled(fill)
        raise OperationError("unknown-image", f"nothing is known of image {image_id}")

    async def all_known(self) -> AsyncIterator[Known]:
        """Give all images, those bound to a content first."""
        async for image_id, record in self._store.images():
            content = self._store.content(record.content)
            if content is not None:
                yield Known.recorded(image_id, record.content, content)
        async for key, content in self._store.contents():
            private = private_image(key)
            if private is not None and self._store.image(private) is None:
                yield Known.recorded(private, key, content)
        for fill in self._flights.in_progress():
            if self._store.content(fill.content.key) is None:
                yield Known.filled(fill)

    async def rows(self) -> AsyncGenerator[list[ImageRow]]:
        """Give a row for each image, some at a time."""
        rows: list[ImageRow] = []
        async for known in self.all_known():
            rows.append(
                ImageRow(
                    image=known.image_id,
                    size_bytes=known.grid.size,
                    cached_bytes=(await self.chunk_map(known)).present_bytes,
                    knowledge=known.knowledge,
                    pinned=known.image_id in self._flights.pins,
                    filling=self._flights.filling(known.key) is not None,
                )
            )
            if len(rows) == ROWS:
                yield rows
                rows = []
        rows += [_only_pinned(image_id) for image_id in self._unknown_pins()]
        if rows:
            yield rows

    def _unknown_pins(self) -> list[str]:
        """Return the pinned images of which nothing is known yet."""
        unknown = []
        for pin in self._flights.pins.pinned():
            try:
                self.known(pin.image_id)
            except OperationError:
                unknown.append(pin.image_id)
        return unknown

    async def show(self, image_id: str) -> ShowResult:
        """Tell all about an image; OperationError if nothing is known of it."""
        known = self.known(image_id)
        record = self._store.image(image_id)
        there = await self.chunk_map(known)
        fill = self._flights.filling(known.key)
        return ShowResult(
            image=image_id,
            size_bytes=known.grid.size,
            checksum=None if record is None else record.checksum,
            hash_algo=None if record is None else record.hash_algo,
            hash_value=None if record is None else record.hash_value,
            content=known.key,
            chunk_bytes=known.grid.chunk_bytes,
            knowledge=known.knowledge,
            pinned=image_id in self._flights.pins,
            same_content=await self._same_content(known),
            cached=Cached(
                cached_bytes=there.present_bytes,
                chunks=there.present,
                chunk_count=known.grid.count,
                ranges=[Range(start=start, stop=stop) for start, stop in there.ranges],
                range_count=there.range_count,
                cells=there.cells,
            ),
            fill=None if fill is None else told(fill),
        )

    async def chunk_map(self, known: Known) -> ChunkMap:
        """Look which chunks of an image are there, as far as it is known which they are."""
        there = ChunkMap(known.grid)
        async for present in self._present(known):
            for each in present:
                there.take(each)
        return there

    async def complete(self, known: Known) -> bool:
        """Tell whether all chunks of an image are there."""
        async with contextlib.aclosing(self._present(known)) as slices:
            async for present in slices:
                if not all(present):
                    return False
        return True

    async def _present(self, known: Known) -> AsyncGenerator[list[bool]]:
        """Tell of each chunk in turn whether it is there, some at a time."""
        fill = self._flights.filling(known.key)
        digests: list[bytes] = []
        for start in range(0, known.grid.count, SLICE):
            stop = min(start + SLICE, known.grid.count)
            if fill is not None:  # it knows more than what it has saved
                present = [fill.content.present(index) for index in range(start, stop)]
            else:
                page, first = divmod(start, PAGE_DIGESTS)
                if first == 0:
                    digests = digests_of(self._store.manifest_page(known.key, page) or b"")
                present = self._store.survey.present(digests[first : first + stop - start])
            yield present + [False] * (stop - start - len(present))
            await asyncio.sleep(0)

    async def _same_content(self, known: Known) -> list[str]:
        found: list[str] = []
        async for image_id, record in self._store.images():
            if record.content == known.key and image_id != known.image_id:
                found.append(image_id)
                if len(found) == SAME_CONTENT_TOLD_MAX:
                    break
        return found


def _only_pinned(image_id: str) -> ImageRow:
    return ImageRow(
        image=image_id,
        size_bytes=0,
        cached_bytes=0,
        knowledge="unknown",
        pinned=True,
        filling=False,
    )


def told(fill: Fill) -> FillInProgress:
    """Describe a fill."""
    return FillInProgress(
        image=fill.facts.image_id,
        size_bytes=fill.facts.size,
        there_bytes=fill.there_bytes,
        whole=fill.whole,
        readers=fill.readers,
        seconds=time.monotonic() - fill.began,
    )
