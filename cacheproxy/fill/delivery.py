"""One reader's way through a content: chunk after chunk, in order, as they are there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from backends.spans import Span
from cacheproxy.config import CacheSettings
from cacheproxy.core.facts import ImageFacts
from cacheproxy.core.plan import plan
from cacheproxy.errors import ChunkLostError, StorageError
from cacheproxy.fill.content import Content
from cacheproxy.fill.demand import Credential, Demand
from cacheproxy.fill.fill import Fill
from cacheproxy.fill.flights import Flights
from cacheproxy.store.chunkstore import ChunkStore, OpenChunk

DISK_SECONDS_MAX = 15.0  # the longest wait for the disk to give one chunk
WINDOW_CHUNKS_MAX = 64  # looked at in one go: each is a look into the index
LOST_MAX = 5  # a chunk that is gone or damaged again and again: the disk is not to be used

Deliver = Callable[[int, bytes, OpenChunk, bool], None]
"""Takes a chunk's index, digest, open file (which it owns) and whether it was fetched meanwhile."""
Join = Callable[[int, bytes, bool], bool]
"""The same without a file, if the chunk is just going to others; False if it is not."""


class Delivery:
    """Delivers the chunks of a span; fetches what is absent, joined with all who want the same.

    With a proven manifest a chunk is delivered once its digest is right; of a published one the
    pages are fetched as the reader gets to them.  While the manifest is
    being learnt, chunks are delivered as they land, but a span that could be taken for the whole
    gets its last chunk only with the proof (`Grid.ends_whole`).  Without `deliver` chunks are only
    brought in.
    """

    def __init__(  # noqa: PLR0913  everything is a collaborator or the question itself
        self,
        flights: Flights,
        store: ChunkStore,
        settings: CacheSettings,
        *,
        facts: ImageFacts,
        content: Content,
        span: Span,
        credential: Credential,
        deliver: Deliver | None,
        join: Join = lambda *_: False,
    ) -> None:
        self.content = content
        self._flights = flights
        self._store = store
        self._facts = facts
        self._indexes = content.grid.covering(span)
        self._credential = credential
        self._deliver, self._join_others = deliver, join
        self._opened = flights.now
        self._granted = self._indexes.start
        self._first = 0  # what is below is not wanted
        self._more = asyncio.Event()
        self._fill: Fill | None = None
        self._demand: Demand | None = None
        self._withheld_from = self._indexes.stop
        if not content.proven:
            if settings.unproven_ranges == "wait":
                self._withheld_from = self._indexes.start
            elif content.grid.ends_whole(span):
                self._withheld_from = content.grid.count - 1
        self._complete = settings.complete_in_background

    def grant(self, stop: int, first: int = 0) -> None:
        """The reader takes the chunks `first <= index < stop`; what is below `first` it has."""
        self._granted = max(self._granted, stop)
        self._first = max(self._first, first)
        if self._demand is not None:
            self._demand.cursor = max(self._demand.cursor, first)
        self._more.set()

    async def run(self) -> None:
        """Deliver all of the span; raises what it fails with."""
        index = self._indexes.start
        lost, lost_at = 0, -1  # how often the same chunk was lost
        try:
            if not self.content.proven and (self._complete or self._must_prove):
                # Nothing is sent before there is room for the rest: who has to be sent elsewhere
                # then is better sent there from the start.
                await self._join(index).begun()
            while index < self._indexes.stop:
                await self._permission_to_send(index)
                if index < self._first:
                    index = self._first
                    continue
                if self.content.proven and self.content.manifest.digest(index) is None:
                    await self._flights.manifests.know(
                        self.content, index, self._indexes.stop, self._credential
                    )
                if not self.content.present(index):
                    # Between this look and the wait nothing can land: no `await` stands there.
                    await self._join(index).landed(index)
                    continue
                stop = min(self._granted, self._indexes.stop, index + WINDOW_CHUNKS_MAX)
                window = range(index, stop)
                hits = next(plan(window, self.content.present, self._expected))
                try:
                    for index in range(hits.first, hits.stop):
                        await self._proof(index)
                        await self._send(index)
                        self._passed(index)
                    index += 1
                except ChunkLostError:
                    if self._fill is not None:
                        self._fill.look_again()
                    lost, lost_at = lost + 1 if index == lost_at else 1, index
                    if lost >= LOST_MAX:
                        raise StorageError("a chunk is lost again and again") from None
        finally:
            if self._fill is not None and self._demand is not None:
                self._fill.leave(self._demand)

    @property
    def _must_prove(self) -> bool:
        return self._withheld_from < self._indexes.stop

    def _expected(self, index: int) -> bool:
        return self._fill is not None and self._fill.expects(index)

    def _join(self, index: int) -> Fill:
        """Make sure that a fill runs for what is wanted from here on."""
        if self._fill is not None and self._demand is not None:
            self._demand.cursor = index
            if self._fill.joinable or self._fill.failure is not None:
                return self._fill
            self._fill.leave(self._demand)
            self._fill = self._demand = None
        self._fill, self._demand = self._flights.join(
            self._facts,
            self.content,
            range(index, self._indexes.stop),
            self._credential,
            must_prove=self._must_prove,
        )
        return self._fill

    def _passed(self, index: int) -> None:
        """Nothing up to here is wanted any more."""
        if self._demand is not None:
            self._demand.cursor = index + 1

    async def _permission_to_send(self, index: int) -> None:
        while index >= self._granted:
            self._more.clear()
            await self._more.wait()

    async def _proof(self, index: int) -> None:
        """Hold a chunk back until the whole is proven, where the reader could not tell."""
        fill = self._fill
        if fill is None or self.content.proven:
            return
        if fill.failure is not None or index >= self._withheld_from:
            await fill.proven()

    async def _send(self, index: int) -> None:
        digest = self.content.manifest.digest(index)
        if digest is None or not self._store.has(digest):
            raise ChunkLostError(f"chunk {index} went meanwhile")
        if self._deliver is None:
            await asyncio.sleep(0)  # nothing else gives the loop its turn
            return
        fetched = self.content.landed.after(index, self._opened)
        if self._join_others(index, digest, fetched):
            return
        size = len(self.content.grid.chunk(index))
        opened = self._store.open_at_hand(digest, size)
        if opened is None:
            try:
                async with asyncio.timeout(DISK_SECONDS_MAX):
                    opened = await self._store.open_proven(digest, size)
            except TimeoutError as error:
                raise StorageError("the disk gives no chunk") from error
        self._deliver(index, digest, opened, fetched)


async def bring(  # noqa: PLR0913, PLR0917  (as above)
    flights: Flights,
    store: ChunkStore,
    settings: CacheSettings,
    facts: ImageFacts,
    content: Content,
    credential: Credential,
) -> None:
    """Bring the whole of a content in, for nobody who reads it; errors are those of `run`."""
    delivery = Delivery(
        flights,
        store,
        settings,
        facts=facts,
        content=content,
        span=content.grid.whole,
        credential=credential,
        deliver=None,
    )
    delivery.grant(content.grid.count)
    await delivery.run()
