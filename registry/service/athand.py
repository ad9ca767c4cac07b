"""Image data that can be given at once: its record is certain, its file open.

What a download has opened stays open for a while, as a `KeptFile`, for those who come after it: most
clients read an image by many ranges.  Each of them is judged anew, by the record as it is now
(`Records.known`), and the file counts only while its name leads to it.  Whatever is not certain is
left to `Downloads`, which refuses, waits and fails as it does.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Self

from backends.keptfile import KeptFile
from backends.spans import Span
from registry.domain import access
from registry.domain.errors import NoDataError, RegistryError
from registry.domain.identity import Identity
from registry.domain.image import Image
from registry.service.downloads import Data, Download, Downloads
from registry.service.records import Records

FILES_MAX = 128  # open; the longest unused is closed first
SEEN_SECONDS = (
    0.05  # what was in memory is taken to be there: to look takes as long as to send some
)
KEPT_SECONDS = 10.0  # unused: the blocks of a deleted file are not free before


class Held:
    """The data of an image in an open file; in use, or merely kept."""

    def __init__(self, image: Image, data: Data, file: KeptFile, now: float) -> None:
        self.image = image  # the record that `data` is of
        self.data = data
        self.file = file
        self.used_at = now
        self.users = 0
        self.is_kept = True


class AtHand:
    """What is at hand; belongs to one loop."""

    def __init__(self, records: Records, downloads: Downloads) -> None:
        self._records = records
        self._downloads = downloads
        self._held: OrderedDict[str, Held] = OrderedDict()
        self._sweeping: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<AtHand {len(self._held)} open>"

    def find(self, identity: Identity, image_id: str) -> Held | None:
        """Return what is at hand of an image that the caller may read; None tells nothing."""
        held = self._held.get(image_id)
        if held is None:
            return None
        image = self._records.known(image_id)
        if image is None:
            return None
        try:
            access.require_readable(identity, image, image_id)
        except RegistryError:
            return None
        if not self._is_still(held, image):
            self._drop(image_id)
            return None
        held.used_at = asyncio.get_running_loop().time()
        self._held.move_to_end(image_id)
        return held

    def _is_still(self, held: Held, image: Image) -> bool:
        if image is not held.image:
            if self._data_of(image) != held.data:
                return False
            held.image = image
        return held.file.is_there()

    def _data_of(self, image: Image) -> Data | None:
        try:
            return self._downloads.data_of(image)
        except NoDataError:
            return None

    def keep(self, data: Data, download: Download) -> None:
        """Keep what a download has opened, if that can be."""
        image = self._records.known(data.image_id)
        if image is None or data.image_id in self._held or self._data_of(image) != data:
            return
        file = download.keep()
        if file is None:
            return
        loop = asyncio.get_running_loop()
        self._held[data.image_id] = Held(image, data, file, loop.time())
        if len(self._held) > FILES_MAX:
            self._drop(next(iter(self._held)))
        if self._sweeping is None:
            self._sweeping = loop.call_later(KEPT_SECONDS, self._sweep)

    def download(self, held: Held, span: Span, near: Span) -> HeldDownload:
        """Begin a span of what is at hand; it must be ended by its `aclose`.

        `near` was just seen in memory.
        """
        held.users += 1
        return HeldDownload(self._downloads, held, span, near, self._release)

    async def aclose(self) -> None:
        """Close all files; nobody may use them any more."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        for image_id in list(self._held):
            self._drop(image_id)
        if self._closing:
            await asyncio.wait(self._closing)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        late = loop.time() - KEPT_SECONDS
        for image_id in [each for each, held in self._held.items() if held.used_at <= late]:
            self._drop(image_id)
        self._sweeping = None
        if self._held:
            first = min(held.used_at for held in self._held.values())
            self._sweeping = loop.call_at(first + KEPT_SECONDS, self._sweep)

    def _drop(self, image_id: str) -> None:
        held = self._held.pop(image_id)
        held.is_kept = False
        self._close_unused(held)

    def _release(self, held: Held) -> None:
        held.users -= 1
        self._close_unused(held)

    def _close_unused(self, held: Held) -> None:
        if not held.users and not held.is_kept:
            task = asyncio.get_running_loop().create_task(held.file.aclose(), name="close a file")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


class HeldDownload:
    """One span of data at hand on its way, as a `Download`; what has left memory comes as by one."""

    def __init__(
        self,
        downloads: Downloads,
        held: Held,
        span: Span,
        near: Span,
        release: Callable[[Held], None],
    ) -> None:
        self._downloads = downloads
        self._held = held
        self._left = span
        self._near = near  # seen in memory
        self._seen_at = time.monotonic()
        self._release = release
        self._stack = AsyncExitStack()
        self._rest: Download | None = None  # from where memory has ended
        self._from_memory = 0

    @property
    def left(self) -> int:
        """How many bytes are still to come."""
        return len(self._left)

    def file(self) -> tuple[int, Span] | None:
        """Return what can be sent now, as `Download.file` does."""
        if self._rest is not None:
            return self._rest.file()
        file, start, now = self._held.file, self._left.start, time.monotonic()
        if start >= self._near.stop or now > self._seen_at + SEEN_SECONDS:
            self._near, self._seen_at = file.near(self._left), now
        return file.descriptor, Span(start, self._near.stop)

    def sent(self, count: int) -> None:
        """Note that the next `count` bytes were taken from the file."""
        if self._rest is not None:
            self._rest.sent(count)
        else:
            self._from_memory += count
        self._left = Span(self._left.start + count, self._left.stop)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._rest is None:
            opening = self._downloads.open(self._held.data, self._left)
            self._rest = await self._stack.enter_async_context(opening)
        piece = await anext(self._rest)
        self._left = Span(self._left.start + len(piece), self._left.stop)
        return piece

    async def aclose(self) -> None:
        """Give back what is open; the store hears of what was read."""
        try:
            await self._stack.aclose()
        finally:
            self._held.file.on_read(self._from_memory)
            self._release(self._held)
