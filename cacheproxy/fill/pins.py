"""Images that an operator wants kept, whatever else has to go.

A pin is an image's id in a file of its own; what is pinned are chunks, in a queue of their own that
nobody evicts from.  The two are brought to say the same, again and again: what the contents of
pinned images list, and the store has, is put into that queue, and what none of them lists is taken
out.  So an image may be pinned before it is cached, two pinned images may share chunks, and a crash
between a pin and its chunks leaves nothing behind.  Where the index was lost, with all that it knew
of contents, the pins are there still, and their images are pinned again as they come.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from cacheproxy.core.manifest import content_key, private_id
from cacheproxy.errors import PinsFullError, StorageError
from cacheproxy.fill.forgetting import digests_of, listed
from cacheproxy.store.chunkstore import ChunkStore
from cacheproxy.store.pintext import IMAGES_MAX

log = logging.getLogger(__name__)

SETTLE_SECONDS = 600.0  # a chunk that came in for another image is pinned no later than this


@dataclass(frozen=True, slots=True)
class Pin:
    """A pinned image."""

    image_id: str
    since: int  # seconds since the epoch
    size: int | None  # of the image in bytes; None: not cached yet, and pinned as it comes


class Pins:
    """The pinned images, and who settles what follows from them."""

    def __init__(self, store: ChunkStore, chunk_bytes: int) -> None:
        self._store = store
        self._chunk_bytes = chunk_bytes
        self._list = store.pin_list
        self._keys: set[str] = set()  # of their contents, as far as known at the last look
        self._settling = asyncio.Lock()
        self._wake = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Pins {len(self)} images>"

    def __len__(self) -> int:
        return len(self._list.images)

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._list.images

    def wants(self, image_id: str, key: str) -> bool:
        """Whether chunks that come in for this image, as this content, are to be pinned."""
        return image_id in self or key in self._keys

    def holds(self, key: str) -> bool:
        """Whether a content is of a pinned image."""
        return key in self._keys

    def pinned(self) -> list[Pin]:
        """Return all pinned images by id."""
        found = []
        for image_id, since in sorted(self._list.images.items()):
            known = self._store.image(image_id)
            found.append(Pin(image_id, since, None if known is None else known.size))
        return found

    async def pin(self, image_id: str) -> None:
        """Keep an image; one that is not cached yet is kept as it comes in.

        `PinsFullError` if there is no room for it among the pinned, `ValueError` for what cannot be
        an image's id, `StorageError` from the disk; then nothing is changed.
        """
        async with self._settling:
            if image_id not in self and len(self) >= IMAGES_MAX:
                raise PinsFullError(f"{IMAGES_MAX} images are pinned: unpin another one first")
            keys = self._contents([image_id])
            wanted = await self._unpinned_bytes(keys)
            free = self._store.pinned_bytes_max - self._store.pinned_bytes
            if wanted > free:
                raise PinsFullError(
                    f"{wanted} bytes to pin, but only {max(0, free)} of"
                    f" {self._store.pinned_bytes_max} are left: unpin another image,"
                    " or raise image_cache_size"
                )
            with self._settled_later():
                if image_id not in self:
                    await self._list.add(image_id, int(time.time()))
                await self._take_in(keys)

    async def unpin(self, image_id: str) -> bool:
        """Let an image go when its turn comes; False if it was not pinned.

        `StorageError`, and nothing is changed, if the disk fails.
        """
        async with self._settling:
            if image_id not in self:
                return False
            with self._settled_later():
                await self._list.remove(image_id)
                await self._let_out()
            return True

    def look_again(self) -> None:
        """An image was bound to its content."""
        self._wake.set()

    async def run(self) -> None:
        """Settle at once, after each binding, and every `SETTLE_SECONDS`; runs until cancelled."""
        while True:
            self._wake.clear()
            try:
                async with self._settling:
                    await self._list.settled()
                    await self._take_in(self._contents(self._list.images))
                    await self._let_out()
                    await self._keep_within_limit()
            except PinsFullError as error:
                log.warning("not all pinned images are kept whole: %s", error)
            except StorageError as error:
                log.warning("pins cannot be settled now: %s", error)
            try:
                async with asyncio.timeout(SETTLE_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                pass

    @contextlib.contextmanager
    def _settled_later(self) -> Iterator[None]:
        """Whoever is cancelled, or fails, in the middle leaves the rest to `run`."""
        try:
            yield
        except BaseException:
            self._wake.set()
            raise

    # --- what follows -----------------------------------------------------------------------------

    def _contents(self, images: Collection[str]) -> set[str]:
        """Return the keys of the images' contents, also of those being learnt."""
        keys = set()
        for image_id in images:
            record = self._store.image(image_id)
            learning = content_key(private_id(image_id), self._chunk_bytes)
            keys.add(learning if record is None else record.content)
        return keys

    async def _unpinned_bytes(self, keys: Collection[str]) -> int:
        """Return how many bytes more are pinned once all of these contents are."""
        wanted = 0
        for key in keys:
            record = self._store.content(key)
            if record is None:
                continue
            known = 0
            async for page in self._store.manifest_pages(key, record):
                digests = digests_of(page)
                known += len(digests) * record.chunk_bytes
                wanted += sum(self._store.unpinned_bytes(d, record.chunk_bytes) for d in digests)
            wanted += max(0, record.size - known)
        return wanted

    async def _take_in(self, keys: set[str]) -> None:
        self._keys |= keys
        async for block in listed(self._store, keys):
            await self._store.pin(block)

    async def _keep_within_limit(self) -> None:
        """Give up the youngest pins where a start found a limit too small for all: that is hard."""
        while self._store.allowance.pinned_excess and self._list.images:
            youngest = max(self._list.images, key=self._list.images.__getitem__)
            log.warning(
                "image %s is not pinned any more: image_cache_size has no room for all pinned ones",
                youngest,
            )
            await self._list.remove(youngest)
            await self._let_out()

    async def _let_out(self) -> None:
        """Unpin what no pinned image's content lists."""
        self._keys = self._contents(self._list.images)
        async for block in self._store.all_pinned():
            for key in self._keys:
                record = self._store.content(key)
                if record is None:
                    continue
                async for page in self._store.manifest_pages(key, record):
                    block.difference_update(digests_of(page))
            await self._store.unpin(block)
