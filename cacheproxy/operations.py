"""The use case of an operator who acts: evict, prefetch and verify images, and clean up.

Knows no sockets.  An operation that is cancelled leaves nothing behind but what it had done by then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Protocol

from cacheproxy.admin.results import (
    EvictResult,
    GcResult,
    PinResult,
    Prefetched,
    PrefetchResult,
    Progress,
    VerifyResult,
)
from cacheproxy.checking import Checking
from cacheproxy.cleanup import Cleanup
from cacheproxy.config import CacheSettings
from cacheproxy.core.facts import ImageFacts
from cacheproxy.errors import (
    DistrustedError,
    FillFailedError,
    NeverFitsError,
    NoRoomError,
    PinsFullError,
    ProxyError,
)
from cacheproxy.evicting import Eviction
from cacheproxy.fill.delivery import Delivery
from cacheproxy.fill.demand import Credential
from cacheproxy.fill.flights import Flights
from cacheproxy.inspection import Inspection, OperationError
from cacheproxy.store.chunkstore import ChunkStore
from cacheproxy.watch import Watch

log = logging.getLogger(__name__)

BACKGROUND_MAX = 8  # prefetches that nobody waits for


class ImageSource(Protocol):
    """Asks the Glance behind the proxy about images."""

    async def show(self, image_id: str, headers: Sequence[tuple[str, str]]) -> ImageFacts | None:
        """Return the record of an active image, None if there is none to be had."""

    async def may_download(self, image_id: str, headers: Sequence[tuple[str, str]]) -> int | None:
        """Return the status of the question whether one may download it; None: unreachable."""


class Operations:
    """Acts on one keeper; used on its loop, `close` ends what runs in the background."""

    def __init__(
        self,
        inspection: Inspection,
        flights: Flights,
        store: ChunkStore,
        source: ImageSource,
        settings: CacheSettings,
    ) -> None:
        self.inspection = inspection
        self._flights = flights
        self._store = store
        self._source = source
        self._settings = settings
        self._background: set[asyncio.Task[PrefetchResult]] = set()

    async def close(self) -> None:
        """End the prefetches that nobody waits for."""
        tasks = tuple(self._background)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def gc(self) -> GcResult:
        """Remove records and chunks that nobody needs, and what was set aside as damaged."""
        return await Cleanup(self.inspection, self._flights, self._store).run()

    async def verify(self, image_ids: Sequence[str], watch: Watch) -> VerifyResult:
        """Read and hash the chunks of images, or of the whole cache where none is named."""
        return await Checking(self.inspection, self._store, watch).run(image_ids)

    # --- pins -------------------------------------------------------------------------------------

    async def pin(self, image_id: str) -> PinResult:
        """Keep an image's chunks, those that are there and those that come."""
        already = image_id in self._flights.pins
        try:
            await self._flights.pins.pin(image_id)
        except PinsFullError as error:
            raise OperationError("refused", str(error)) from error
        return PinResult(image=image_id, pinned=True, changed=not already)

    async def unpin(self, image_id: str) -> PinResult:
        """Let an image's chunks be evicted like others."""
        changed = await self._flights.pins.unpin(image_id)
        return PinResult(image=image_id, pinned=False, changed=changed)

    # --- evict ------------------------------------------------------------------------------------

    async def evict(self, image_ids: Sequence[str], *, content: bool) -> EvictResult:
        """Drop the chunks of images, but for those that other images have too.

        With `content` those as well: the images' whole contents.
        """
        return await Eviction(self.inspection, self._flights, self._store, whole=content).run(
            image_ids
        )

    # --- prefetch ---------------------------------------------------------------------------------

    async def prefetch(
        self, image_ids: Sequence[str], token: str | None, watch: Watch
    ) -> PrefetchResult:
        """Bring all of these images in, one after the other, with this token's right."""
        headers = () if token is None else (("X-Auth-Token", token),)
        images: list[Prefetched] = []
        for image_id in image_ids:
            try:
                images.append(await self._prefetch(image_id, headers, watch))
            except ProxyError as error:
                images.append(Prefetched(image=image_id, error=_reason(error, token)))
        return PrefetchResult(waited=True, images=images)

    def prefetch_later(self, image_ids: Sequence[str], token: str | None) -> PrefetchResult:
        """Do the same in the background; the log tells what failed."""
        if len(self._background) >= BACKGROUND_MAX:
            raise OperationError(
                "busy", f"{BACKGROUND_MAX} prefetches are running already; wait for one to end"
            )
        task = asyncio.create_task(self.prefetch(image_ids, token, Watch()), name="prefetch")
        self._background.add(task)
        task.add_done_callback(self._prefetched)
        return PrefetchResult(waited=False, images=[Prefetched(image=each) for each in image_ids])

    def _prefetched(self, task: asyncio.Task[PrefetchResult]) -> None:
        self._background.discard(task)
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            log.error("a prefetch broke", exc_info=error)
            return
        for image in task.result().images:
            if image.error is not None:
                log.warning("prefetching %s failed: %s", image.image, image.error)

    async def _prefetch(
        self, image_id: str, headers: tuple[tuple[str, str], ...], watch: Watch
    ) -> Prefetched:
        began = time.monotonic()
        facts = self._flights.contents.describe(image_id)
        if facts is None:
            facts = await self._source.show(image_id, headers)
        if facts is None:
            raise OperationError("upstream", await self._why_not(image_id, headers))
        credential = Credential(image_id, headers)
        content = await self._flights.admit(facts, credential)
        before = await self._cached(image_id, facts)
        arrived = content.arrived_bytes

        def look() -> Progress:
            fetched = content.arrived_bytes - arrived
            done = min(facts.size, before + fetched)
            proving = done == facts.size and not content.proven
            return Progress(
                image=image_id,
                phase="prove" if proving else "fetch",
                done_bytes=done,
                total_bytes=facts.size,
            )

        watch.look = look
        delivery = Delivery(
            self._flights,
            self._store,
            self._settings,
            facts=facts,
            content=content,
            span=content.grid.whole,
            credential=credential,
            deliver=None,
        )
        delivery.grant(content.grid.count)
        await delivery.run()
        return Prefetched(
            image=image_id,
            size_bytes=facts.size,
            cached_bytes=await self._cached(image_id, facts),
            fetched_bytes=content.arrived_bytes - arrived,
            seconds=time.monotonic() - began,
        )

    async def _cached(self, image_id: str, facts: ImageFacts) -> int:
        try:
            known = self.inspection.known(image_id)
        except OperationError:
            return facts.size if not facts.size else 0
        return (await self.inspection.chunk_map(known)).present_bytes

    async def _why_not(self, image_id: str, headers: tuple[tuple[str, str], ...]) -> str:
        status = await self._source.may_download(image_id, headers)
        asked = "with this token" if headers else "without a token"
        if status is None:
            return "the upstream cannot be reached"
        if status in (401, 403, 404):
            return f"the upstream answers {status} {asked}"
        return f"the upstream shows no active image of a known size {asked}"


def _reason(error: ProxyError, token: str | None) -> str:
    """Say to an operator why an image did not come."""
    match error:
        case FillFailedError() if token is None:
            return f"{error} (asked without a token)"
        case NeverFitsError():
            return f"it is larger than the cache: {error}"
        case NoRoomError():
            return f"there is no room for it now: {error}"
        case DistrustedError():
            return "its bytes did not match its hash several times; it is not cached for a while"
        case _:
            return str(error)
