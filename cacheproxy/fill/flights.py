"""The table of fills in progress: readers of one content share one fill."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from weakref import WeakValueDictionary

from cacheproxy.config import CacheSettings
from cacheproxy.core.facts import ImageFacts
from cacheproxy.errors import (
    DistrustedError,
    FillFailedError,
    NeverFitsError,
    NoRoomError,
    ProxyError,
)
from cacheproxy.fill.ageing import Ageing
from cacheproxy.fill.buffers import Buffers
from cacheproxy.fill.content import Content, Contents
from cacheproxy.fill.demand import Credential, Demand
from cacheproxy.fill.fill import Fill
from cacheproxy.fill.inflight import InFlight
from cacheproxy.fill.pins import Pins
from cacheproxy.fill.ports import FillPorts
from cacheproxy.fill.published import PublishedManifests
from cacheproxy.fill.source import Glance, NoShortcuts, OwnAccount, Shortcuts
from cacheproxy.meter import Meter
from cacheproxy.metrics import FILL_DURATION, FLIGHTS, FLIGHTS_JOINED
from cacheproxy.store.chunkstore import ChunkStore

log = logging.getLogger(__name__)

STRIKES_MAX = 3  # failed proofs in a row ...
DISTRUST_SECONDS = 600.0  # ... after which an image is passed through uncached for so long
STRIKES_ENTRIES_MAX = 10_000
PROVERS_MAX = 2


class Strikes:
    """Proofs that failed, by image; bounded, the oldest forgotten first."""

    def __init__(self) -> None:
        self._failed: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def count(self, image_id: str) -> None:
        """Note a failed proof."""
        strikes, _ = self._failed.pop(image_id, (0, 0.0))
        self._failed[image_id] = (strikes + 1, time.monotonic() + DISTRUST_SECONDS)
        if len(self._failed) > STRIKES_ENTRIES_MAX:
            self._failed.popitem(last=False)

    def clear(self, image_id: str) -> None:
        """Note a good one."""
        self._failed.pop(image_id, None)

    def distrusted(self, image_id: str) -> bool:
        """Whether the image is to be passed through for now."""
        strikes, until = self._failed.get(image_id, (0, 0.0))
        if strikes < STRIKES_MAX:
            return False
        if time.monotonic() < until:
            return True
        del self._failed[image_id]
        return False


class Flights:
    """Every content in use and every fill in progress, by the content's key.

    Two readers that miss at once meet in `join`, which looks and inserts without an `await`
    between: the second finds the first one's fill.
    """

    def __init__(  # noqa: PLR0913, PLR0917  all of them are collaborators
        self,
        contents: Contents,
        store: ChunkStore,
        glance: Glance,
        account: OwnAccount,
        settings: CacheSettings,
        meter: Meter,
        shortcuts: Shortcuts = NoShortcuts(),  # noqa: B008  it has no state
    ) -> None:
        self.contents = contents
        self.manifests = PublishedManifests(contents, glance, account, meter)
        self._store = store
        self._settings = settings
        self._meter = meter
        self._tick = itertools.count(1)
        self.now = 0
        self._executor = ThreadPoolExecutor(PROVERS_MAX, thread_name_prefix="prove")
        self._ports = FillPorts(
            store=store,
            source=glance,
            shortcuts=shortcuts,
            account=account,
            manifests=self.manifests,
            inflight=InFlight(),
            buffers=Buffers(settings.fills_memory_bytes),
            settings=settings,
            meter=meter,
            provers=self._executor,
            tick=self._next_tick,
            shared=self._shared,
            pinned=self._pinned,
        )
        self.pins = Pins(store, settings.chunk_bytes)
        self.ageing = Ageing(store, contents.pages, self._kept)
        self._background = [
            asyncio.create_task(self.pins.run(), name="pins"),
            asyncio.create_task(self.ageing.run(), name="ageing"),
        ]
        self._in_use: WeakValueDictionary[str, Content] = WeakValueDictionary()
        self._fills: dict[str, tuple[Fill, asyncio.Task[None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._strikes = Strikes()
        self._begun = 0

    def __repr__(self) -> str:
        return f"<Flights {[fill for fill, _ in self._fills.values()]}>"

    def in_progress(self) -> list[Fill]:
        """Return the fills that run now, the oldest first."""
        return [fill for fill, _ in self._fills.values()]

    def filling(self, key: str) -> Fill | None:
        """Return the fill of a content that runs now."""
        fill, _ = self._fills.get(key, (None, None))
        return fill

    def calm(self) -> int | None:
        """Return how many fills there have ever been, None while one runs."""
        return None if self._fills else self._begun

    def uses(self, key: str) -> bool:
        """Whether anybody reads or fills a content."""
        return key in self._in_use or key in self._fills

    def _kept(self, key: str) -> bool:
        return self.uses(key) or self.pins.holds(key)

    def filling_image(self, image_id: str) -> bool:
        """Whether a fill that this image began is in progress."""
        return any(fill.facts.image_id == image_id for fill, _ in self._fills.values())

    async def adopt(self, facts: ImageFacts, credential: Credential) -> bool:
        """Tell whether an image is proven; asks the catalog for its manifest if that may help.

        While the image is being learnt it is not asked: what comes would be fetched twice.
        """
        key, _, proven = self.contents.find(facts)
        if proven or key in self._fills:
            return proven
        adopted = await self.manifests.adopt(facts, credential)
        if adopted:
            self.pins.look_again()
        return adopted

    async def admit(self, facts: ImageFacts, credential: Credential) -> Content:
        """Find the content to read for an image; waits while a failed fill of it is put away.

        Raises a `CacheRefusedError` if the cache will not hold this image now.
        """
        await self.adopt(facts, credential)
        while True:
            key, grid, proven = self.contents.find(facts)
            if not proven and self._strikes.distrusted(facts.image_id):
                raise DistrustedError(facts.image_id)
            if not proven and facts.size > self._store.allowance.limit_bytes:
                raise NeverFitsError(f"{facts.size} bytes")  # to be proven it must all be there
            about = self.contents.about(facts, key)
            fill, task = self._fills.get(key, (None, None))
            if fill is not None and fill.content.about != about:
                fill.break_off(FillFailedError("the image's id is another image's now"))
            if fill is None or fill.joinable or task is None:
                break
            await asyncio.wait([task])
        content = self._in_use.get(key)
        if (
            content is None
            or (content.grid, content.proven) != (grid, proven)
            or content.about != about
        ):
            content = self._in_use[key] = self.contents.open(facts, key, grid, proven=proven)
        self.ageing.used(key)
        return content

    def join(
        self,
        facts: ImageFacts,
        content: Content,
        indexes: range,
        credential: Credential,
        *,
        must_prove: bool,
    ) -> tuple[Fill, Demand]:
        """Join the fill of a content, or start one."""
        fill, _ = self._fills.get(content.key, (None, None))
        if fill is not None and fill.joinable and fill.content is content:
            self._meter.inc(FLIGHTS_JOINED)
        else:
            self._store.disk.check_writable()
            if len(self._fills) >= self._settings.fills_max:
                raise NoRoomError("too many fills at once")
            fill = Fill(facts, content, self._ports, self._proven, credential.prefer)
            self._begun += 1
            task = asyncio.create_task(self._fly(fill), name=f"fill {content.key}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            self._fills[content.key] = (fill, task)
            self._meter.set(FLIGHTS, len(self._fills))
        return fill, fill.demand(indexes, credential, must_prove=must_prove)

    async def _fly(self, fill: Fill) -> None:
        key, started = fill.content.key, time.monotonic()
        try:
            await fill.run()
            # Before the gauge falls: who sees that no fill is left, sees how all of them ended.
            self._meter.observe(FILL_DURATION, time.monotonic() - started, self._outcome(fill))
        finally:
            if (entry := self._fills.get(key)) is not None and entry[0] is fill:
                del self._fills[key]
                self._meter.set(FLIGHTS, len(self._fills))

    def _outcome(self, fill: Fill) -> str:
        """How a fill ended, by the name that figures have for it; a mismatch is held against it."""
        if not fill.mismatched:
            return "ok" if fill.failure is None else "failed"
        if not fill.content.proven:
            self._strikes.count(fill.facts.image_id)
            self._in_use.pop(fill.content.key, None)
        return "mismatch"

    def _proven(self, facts: ImageFacts, content: Content) -> None:
        """The whole matched: name the content by its hash and bind the image to it."""
        old, key = content.key, self.contents.proven_key(facts)
        content.promote(key)
        self.contents.bind(facts, key)
        self._in_use.pop(old, None)
        self._in_use.setdefault(key, content)
        self._strikes.clear(facts.image_id)
        self.pins.look_again()
        self.ageing.used(key)

    def _shared(self, by: object, digest: bytes) -> None:
        for fill, _ in self._fills.values():
            if fill.stowage is not by:
                fill.stowage.disown(digest)

    def _pinned(self, facts: ImageFacts, content: Content) -> bool:
        return self.pins.wants(facts.image_id, content.key)

    def break_off(self, error: ProxyError) -> None:
        """End every fill with this error, keeping what it learnt."""
        for fill, _ in self._fills.values():
            fill.break_off(error)

    def _next_tick(self) -> int:
        self.now = next(self._tick)
        return self.now

    async def close(self) -> None:
        """End every fill, keeping what it learnt."""
        tasks = [*self._tasks, *self._background]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.manifests.close()
        await asyncio.to_thread(self._executor.shutdown)
