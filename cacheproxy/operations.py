"""The use case of an operator who acts: evict, prefetch and verify images, and clean up.

Knows no sockets.  An operation that is cancelled leaves nothing behind but what it had done by then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from cacheproxy.admin.results import (
    EvictResult,
    GcResult,
    PinResult,
    Prefetched,
    PrefetchResult,
    Progress,
    PurgeResult,
    VerifyResult,
)
from cacheproxy.checking import Checking
from cacheproxy.cleanup import Cleanup
from cacheproxy.config import CacheSettings
from cacheproxy.core.facts import ImageFacts
from cacheproxy.core.judgement import REFUSALS, Word
from cacheproxy.errors import (
    DistrustedError,
    FillFailedError,
    NeverFitsError,
    NoRoomError,
    PinsFullError,
    ProxyError,
)
from cacheproxy.evicting import Eviction
from cacheproxy.fill.delivery import bring
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

    async def may_download(self, image_id: str, headers: Sequence[tuple[str, str]]) -> Word | None:
        """Return the answer to the question whether one may download it; None: unreachable."""


class OwnAccount(Protocol):
    """The proxy's own account, with which it asks where no operator's token does."""

    @property
    def configured(self) -> bool:
        """Whether there is one."""

    async def headers(self) -> Sequence[tuple[str, str]]:
        """Return headers with its token; AccountError if there is none to be had."""


class _Right(NamedTuple):
    """With whose right the upstream is asked."""

    headers: tuple[tuple[str, str], ...]
    told: str

    def __repr__(self) -> str:
        return f"<asked {self.told}>"  # never the token


class Operations:
    """Acts on one keeper; used on its loop, `close` ends what runs in the background."""

    def __init__(  # noqa: PLR0913, PLR0917  everything is a collaborator
        self,
        inspection: Inspection,
        flights: Flights,
        store: ChunkStore,
        source: ImageSource,
        account: OwnAccount,
        settings: CacheSettings,
        purge: Callable[[str | None], bool],
    ) -> None:
        """`purge` has all workers forget who may download an image, or any."""
        self.inspection = inspection
        self._flights = flights
        self._store = store
        self._source = source
        self._account = account
        self._settings = settings
        self._purge = purge
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

    def purge(self, image_id: str | None) -> PurgeResult:
        """Believe no more who may download an image, or any: the upstream is asked again."""
        if not self._purge(image_id):
            raise OperationError("busy", "the supervisor takes no orders now; try again")
        return PurgeResult(image=image_id, workers=len(self.inspection.status().processes.workers))

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
        """Bring all of these images in, one after the other.

        With this token's right, without one with that of the proxy's own account, if it has one.
        """
        images: list[Prefetched] = []
        for image_id in image_ids:
            try:
                images.append(await self._prefetch(image_id, token, watch))
            except ProxyError as error:
                images.append(Prefetched(image=image_id, error=_reason(error)))
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

    async def _prefetch(self, image_id: str, token: str | None, watch: Watch) -> Prefetched:
        began = time.monotonic()
        facts = self._flights.contents.describe(image_id)
        before = 0 if facts is None else await self._cached(image_id)
        if facts is not None and before == facts.size:
            return Prefetched(image=image_id, size_bytes=before, cached_bytes=before)
        right = await self._right(token)
        if facts is None:
            facts = await self._source.show(image_id, right.headers)
        if facts is None:
            raise OperationError("upstream", await self._why_not(image_id, right))
        credential = Credential(image_id, right.headers)
        content = await self._flights.admit(facts, credential)
        before = await self._cached(image_id)
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
        try:
            await bring(self._flights, self._store, self._settings, facts, content, credential)
        except FillFailedError as error:
            raise OperationError("upstream", f"{error} (asked {right.told})") from error
        return Prefetched(
            image=image_id,
            size_bytes=facts.size,
            cached_bytes=await self._cached(image_id),
            fetched_bytes=content.arrived_bytes - arrived,
            seconds=time.monotonic() - began,
        )

    async def _right(self, token: str | None) -> _Right:
        if token is not None:
            return _Right((("X-Auth-Token", token),), "with this token")
        if self._account.configured:
            return _Right(tuple(await self._account.headers()), "with the proxy's own account")
        return _Right((), "without a token")

    async def _cached(self, image_id: str) -> int:
        try:
            known = self.inspection.known(image_id)
        except OperationError:
            return 0
        return (await self.inspection.chunk_map(known)).present_bytes

    async def _why_not(self, image_id: str, right: _Right) -> str:
        word = await self._source.may_download(image_id, right.headers)
        if word is None:
            return "the upstream cannot be reached"
        if word.status in REFUSALS:
            return f"the upstream answers {word.status} (asked {right.told})"
        return f"the upstream shows no active image of a known size (asked {right.told})"


def _reason(error: ProxyError) -> str:
    """Say to an operator why an image did not come."""
    match error:
        case NeverFitsError():
            return f"it is larger than the cache: {error}"
        case NoRoomError():
            return f"there is no room for it now: {error}"
        case DistrustedError():
            return "its bytes did not match its hash several times; it is not cached for a while"
        case _:
            return str(error)
