"""Writing an image to RBD: in chunks, several at once, as far as the buffer reaches."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from backends.base import Writer, WriteResult
from backends.errors import InvalidError, UnavailableError
from backends.location import Location
from backends.rbd.cluster import Visit
from backends.rbd.newimage import NewImage
from backends.rbd.options import RbdOptions
from backends.rbd.runs import written_runs
from backends.tally import Tally

_CHUNK_BYTES_MAX = 4 << 20  # written at once: more gain nothing, and are in memory for longer


class RbdWriter(Writer):
    """The image is given back with its visit."""

    def __init__(
        self, visit: Visit, image: NewImage, location: Location, tally: Tally, options: RbdOptions
    ) -> None:
        self._visit = visit
        self._image = image
        self._location = location
        self._tally = tally
        self._is_thin = options.thin
        self._chunk_bytes = min(options.chunk_bytes, _CHUNK_BYTES_MAX)
        # One more chunk is being gathered.
        self._room = asyncio.Semaphore(max(1, options.buffer_bytes // self._chunk_bytes - 1))
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._position = 0  # where the chunk that is gathered begins
        self._writes: set[asyncio.Future[Any]] = set()
        self._failed: asyncio.Future[Any] | None = None  # the first write that did
        self._is_broken = False

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes; waits while too many are on their way."""
        view = memoryview(data).cast("B")
        self._tally.add(view.nbytes)
        is_broken, self._is_broken = self._is_broken, True  # until all of it was taken
        while view:
            taken = view[: self._chunk_bytes - self._gathered_bytes]
            is_whole = isinstance(data, bytes) and taken.nbytes == len(data)
            self._gathered.append(data if is_whole else bytes(taken))  # type: ignore[arg-type]  # bytes
            self._gathered_bytes += taken.nbytes
            view = view[taken.nbytes :]
            if self._gathered_bytes == self._chunk_bytes:
                await self._flush()
        self._is_broken = is_broken

    async def publish(self) -> WriteResult:
        """Give the image its name."""
        self._tally.finish()
        if self._is_broken:
            raise InvalidError(f"{self._location}: some of it could not be written")
        await self._flush()
        await self._visit.ended(*self._writes)
        await self._raise_failure()
        await self._visit.run(partial(self._image.publish, self._tally.written))
        return WriteResult(self._location, self._tally.written)

    def keep(self) -> None:
        """Let the image stay."""
        self._image.keep()

    async def _flush(self) -> None:
        """Begin to write what was gathered."""
        if not self._gathered_bytes:
            return
        chunk, start = b"".join(self._gathered), self._position
        self._gathered.clear()
        self._gathered_bytes = 0
        self._position += len(chunk)
        if self._position > self._image.size:
            await self._visit.run(partial(self._image.grow, self._position))
        for run in written_runs(chunk) if self._is_thin else (slice(0, len(chunk)),):
            await self._place()
            await self._raise_failure()
            self._begin(chunk[run], start + run.start)

    async def _place(self) -> None:
        try:
            async with asyncio.timeout(self._visit.hang_seconds):
                await self._room.acquire()
        except TimeoutError:
            raise UnavailableError(f"{self._location}: Ceph takes no more") from None

    def _begin(self, data: bytes, start: int) -> None:
        try:
            write = self._visit.begin(partial(self._image.write, data, start))
        except BaseException:
            self._room.release()
            raise
        self._writes.add(write)
        write.add_done_callback(partial(self._wrote, data))

    def _wrote(self, _data: bytes, write: asyncio.Future[Any]) -> None:
        """Make room; librbd may have read from the data, which was kept until now."""
        self._writes.discard(write)
        self._room.release()
        if self._failed is None and write.result()[0] < 0:
            self._failed = write

    async def _raise_failure(self) -> None:
        if self._failed is not None:
            await self._visit.ended(self._failed)
