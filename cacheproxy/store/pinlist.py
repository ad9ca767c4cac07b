"""The pinned images: in memory for whoever asks, changed on the disk first.  Of the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

from cacheproxy.core.ledger import Ledger, allocated
from cacheproxy.errors import StorageError
from cacheproxy.store.disk import Disk
from cacheproxy.store.pinfile import PinFile
from cacheproxy.store.pintext import check_image, packed_bytes
from cacheproxy.store.threads import Threads

WRITE_SECONDS = 60.0  # the longest wait for the disk


class PinList:
    """Pinned images by id, and since when, in seconds since the epoch.

    A change that has begun is brought to its end, whether or not anybody still waits for it; one is
    made after the other.
    """

    def __init__(
        self, file: PinFile, images: dict[str, int], ledger: Ledger, threads: Threads, disk: Disk
    ) -> None:
        """`images` and the file's bytes on disk are what the file has, and the ledger counts."""
        self._file = file
        self._images = images
        self._ledger = ledger
        self._threads = threads
        self._disk = disk
        self._cost = file.cost
        self._writing: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<PinList {len(self._images)} images>"

    @property
    def images(self) -> Mapping[str, int]:
        """What is pinned, durably."""
        return MappingProxyType(self._images)

    async def add(self, image_id: str, since: int) -> None:
        """Pin an image; returns once that survives a power cut.

        `ValueError` for what cannot be an image's id; `StorageError`, and nothing is changed, if
        the disk fails.
        """
        check_image(image_id)
        await self.settled()
        await self._write({**self._images, image_id: since})

    async def remove(self, image_id: str) -> None:
        """Do not pin an image any more; errors as of `add`."""
        await self.settled()
        await self._write({each: at for each, at in self._images.items() if each != image_id})

    async def settled(self) -> None:
        """Wait until no change is in progress; `StorageError` if that takes too long."""
        while self._writing is not None:
            await self._wait(self._writing)

    async def _write(self, images: dict[str, int]) -> None:
        # No `await` since nothing was being written: this is the only change now.
        self._disk.check_usable()
        job = self._threads.start(self._file.replace, images, self._images)
        self._writing = job
        # Both files are there for a moment.
        claimed = allocated(packed_bytes(images))
        self._ledger.adjust(overhead=claimed)
        job.add_done_callback(partial(self._written, images, claimed))
        await self._wait(job)
        job.result()

    async def _wait(self, job: asyncio.Future[None]) -> None:
        done, _ = await asyncio.wait([job], timeout=WRITE_SECONDS)
        if not done:
            raise StorageError("writing the pins hangs; it may still come about")

    def _written(self, images: dict[str, int], claimed: int, job: asyncio.Future[None]) -> None:
        """The thread has ended."""
        self._writing = None
        if job.exception() is None:
            self._images = images
        growth, self._cost = self._file.cost - self._cost, self._file.cost
        self._ledger.adjust(overhead=growth - claimed)
