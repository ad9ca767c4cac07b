"""What the index knows of images and contents is bounded: what nobody has used for longest goes.

Manifests outlive their chunks, so that what was evicted is fetched again by the chunk; but they are
in the index, which counts against the limit.  Whatever is pinned or in use stays.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from contextlib import suppress
from typing import Protocol

from cacheproxy.errors import StorageError
from cacheproxy.fill.pages import ManifestPages
from cacheproxy.store.chunkstore import ChunkStore

log = logging.getLogger(__name__)

RECORDS_SHARE = (
    64  # one in so many of the limit's bytes may be records; manifests of 512 limits' worth
)
RECORDS_BYTES_MIN = 1 << 20
LOOK_SECONDS = 3600.0
USE_SECONDS = 86_400  # a use is noted when the last one noted is so long ago
BATCH = 256  # contents forgotten at once


class Kept(Protocol):
    """Tells what must not go."""

    def __call__(self, key: str) -> bool:
        """Whether a content is pinned, read or filled."""


class Ageing:
    """Notes when contents are used, and forgets the oldest."""

    def __init__(self, store: ChunkStore, pages: ManifestPages, kept: Kept) -> None:
        self._store = store
        self._pages = pages
        self._kept = kept

    def used(self, key: str) -> None:
        """A content is being read; noted once a day."""
        now = int(time.time())
        with suppress(StorageError):  # it may seem older than it is
            if now - self._store.last_use(key) >= USE_SECONDS:
                self._store.note_use(key, now)

    async def run(self) -> None:
        """Look at once, and every `LOOK_SECONDS`; runs until cancelled."""
        while True:
            try:
                if forgotten := await self.forget_oldest():
                    log.info("%d contents that nobody used for long are forgotten", forgotten)
            except StorageError as error:
                log.warning("old records stay for now: %s", error)
            await asyncio.sleep(LOOK_SECONDS)

    async def forget_oldest(self) -> int:
        """Forget contents, the least lately used first, until the rest is within the bound.

        Returns how many.
        """
        limit = self._store.allowance.limit_bytes
        bound = max(RECORDS_BYTES_MIN, limit // RECORDS_SHARE)
        forgotten = 0
        while self._store.record_bytes() > bound and (oldest := await self._oldest()):
            async for image_id, record in self._store.images():
                if record.content in oldest or self._store.content(record.content) is None:
                    self._store.forget_image(image_id)
            for key in oldest:
                if not self._kept(key):  # since then
                    self._pages.forget(key)
                    forgotten += 1
                await asyncio.sleep(0)
            await self._store.sync()
        return forgotten

    async def _oldest(self) -> set[str]:
        latest_first: list[tuple[int, str]] = []
        async for key, _ in self._store.contents():
            if self._kept(key):
                continue
            item = (-self._store.last_use(key), key)
            if len(latest_first) < BATCH:
                heapq.heappush(latest_first, item)
            else:
                heapq.heappushpop(latest_first, item)
        return {key for _, key in latest_first}
