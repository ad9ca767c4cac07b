"""Images that are gone upstream: their chunks, unless another image lists them, and their records.

A pin does not hold what nobody can ask for any more.  The chunks go first and the image's record last: who is killed in between finds the image still
there, and is told again.  What a reader still has open goes when the reader has let go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable

from cacheproxy.core.manifest import private_id
from cacheproxy.errors import StorageError
from cacheproxy.fill.flights import Flights
from cacheproxy.fill.forgetting import unshared
from cacheproxy.meter import Meter
from cacheproxy.metrics import IMAGES_FORGOTTEN
from cacheproxy.store.chunkstore import ChunkStore

log = logging.getLogger(__name__)

TOLD_MAX = 10_000  # images waiting to be forgotten; more are found by the next look upstream
AT_ONCE_MAX = 256
RETRY_SECONDS = 10.0  # before those are tried again that a fill, or the disk, stood in the way of


class GoneImages:
    """Forgets images, some at a time."""

    def __init__(self, store: ChunkStore, flights: Flights, meter: Meter) -> None:
        self._store = store
        self._flights = flights
        self._meter = meter
        self._told: dict[str, None] = {}  # the first told first
        self._news = asyncio.Event()
        # Two at once would each keep what the other one's images still list.
        self._forgetting = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<GoneImages {len(self._told)} told>"

    def tell(self, image_ids: Iterable[str]) -> None:
        """Images are gone: the upstream said so, to one whom it would have shown them."""
        for image_id in image_ids:
            if len(self._told) < TOLD_MAX:
                self._told[image_id] = None
        if self._told:
            self._news.set()

    async def run(self) -> None:
        """Forget what is told, until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._told:
                batch = list(self._told)[:AT_ONCE_MAX]
                try:
                    left = await self.forget(batch)
                except StorageError as error:
                    log.warning("images that are gone stay for now: %s", error)
                    left = set(batch)
                for image_id in batch:
                    del self._told[image_id]
                if left:
                    self.tell(left)
                    await asyncio.sleep(RETRY_SECONDS)

    async def forget(self, image_ids: Collection[str]) -> set[str]:
        """Forget images; returns those that are being filled at the moment."""
        async with self._forgetting:
            contents = {image_id: self._contents_of(image_id) for image_id in image_ids}
            busy = {image_id for image_id, keys in contents.items() if self._busy(image_id, keys)}
            going = {image_id for image_id, keys in contents.items() if keys} - busy
            if going:
                await self._forget(going, {key for i in going for key in contents[i]})
            return busy

    async def _forget(self, going: set[str], keys: set[str]) -> None:
        async for image_id, record in self._store.images():
            if image_id not in going:
                keys.discard(record.content)
        dropped = 0
        async for digests in unshared(self._store, keys):
            dropped += len(digests)
            await self._store.drop(digests)
        for image_id in going:  # while the records are there: it is tried again if the disk fails
            await self._flights.pins.unpin(image_id)
        for key in keys:
            if self._flights.filling(key) is None:  # since then
                self._flights.contents.pages.forget(key)
        for image_id in going:
            self._store.forget_image(image_id)
        self._meter.inc(IMAGES_FORGOTTEN, len(going))
        log.info("%d images are gone upstream, and with them %d chunks", len(going), dropped)

    def _busy(self, image_id: str, keys: set[str]) -> bool:
        return self._flights.filling_image(image_id) or any(
            self._flights.filling(key) is not None for key in keys
        )

    def _contents_of(self, image_id: str) -> set[str]:
        """Return the contents that an image is bound to, or was being learnt as."""
        keys = set(self._store.contents_named(private_id(image_id)))
        record = self._store.image(image_id)
        if record is not None:
            keys.add(record.content)
        return keys
