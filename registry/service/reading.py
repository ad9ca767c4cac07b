"""An image's data as it is read again: its hashes, the pages of its manifest, between two rates."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

from backends.manifest import PAGE_DIGESTS
from registry.domain.errors import UnavailableError
from registry.domain.image import Image
from registry.domain.manifest import ManifestPage
from registry.service.digests import ChunkDigests

LEAST_BYTES = 2 << 20  # what a source sends, or has ended, in
PATIENCE_SECONDS = (
    120.0  # of waiting for it: longer than a read may be silent, so that one ends first
)

T = TypeVar("T")


class Reading:
    """The hashes and pages of a stream, from one of its pages on; hashes only from its beginning."""

    def __init__(
        self, image: Image, chunk_bytes: int, algorithms: Sequence[str], first_page: int
    ) -> None:
        assert image.size is not None
        self.size = image.size
        self._page_bytes = PAGE_DIGESTS * chunk_bytes
        self._chunk_bytes = chunk_bytes
        self.position = first_page * self._page_bytes
        self._hashes = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
        self._chunks = ChunkDigests(chunk_bytes)

    async def update(self, data: bytes) -> list[tuple[int, ManifestPage]]:
        """Add bytes; return the pages that are whole now, with their numbers."""
        hashing = [asyncio.to_thread(each.update, data) for each in self._hashes.values()]
        adding = asyncio.create_task(asyncio.to_thread(self._add, data))
        await asyncio.gather(adding, *hashing)
        return adding.result()

    def hashes(self) -> dict[str, str]:
        """Return the hashes of all bytes, in hex."""
        return {name: each.hexdigest() for name, each in self._hashes.items()}

    def _add(self, data: bytes) -> list[tuple[int, ManifestPage]]:
        pages = []
        rest = memoryview(data)
        while rest:
            piece = rest[: self._page_bytes - self.position % self._page_bytes]
            self._chunks.update(bytes(piece) if len(piece) < len(data) else data)
            rest = rest[len(piece) :]
            self.position += len(piece)
            if self.position % self._page_bytes == 0 or self.position == self.size:
                manifest = self._chunks.finish()
                assert manifest is not None
                (page,) = manifest.pages
                pages.append(((self.position - 1) // self._page_bytes, page))
                self._chunks = ChunkDigests(self._chunk_bytes)
        return pages


class Pacing:
    """Holds a reading to a rate, in bytes per second; 0 is none."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._passed = 0
        self._begun = asyncio.get_running_loop().time()

    async def passed(self, count: int) -> None:
        """Wait until so many more bytes are within the rate."""
        self._passed += count
        if self._rate:
            elapsed = asyncio.get_running_loop().time() - self._begun
            await asyncio.sleep(max(0.0, self._passed / self._rate - elapsed))


class Patience:
    """Waits for a source, `PATIENCE_SECONDS` for each `LEAST_BYTES`; what else is done is not counted.

    `UnavailableError` if less comes.  Without it, one byte now and then would hold a reading for ever.
    """

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock or asyncio.get_running_loop().time
        self._left = PATIENCE_SECONDS
        self._count = 0

    async def wait(self, coming: Awaitable[T]) -> T:
        """Wait for what the source does next."""
        begun = self._clock()
        try:
            async with asyncio.timeout(self._left):
                return await coming
        except TimeoutError as error:
            raise _too_slow() from error
        finally:
            self._left -= self._clock() - begun

    async def piece(self, pieces: AsyncIterator[bytes]) -> bytes:
        """Return the source's next piece, nothing at its end."""
        piece = await self.wait(anext(pieces, b""))
        self._count += len(piece)
        if self._count >= LEAST_BYTES or not piece:
            self._count, self._left = 0, PATIENCE_SECONDS
        elif self._left <= 0:
            raise _too_slow()
        return piece


def _too_slow() -> UnavailableError:
    return UnavailableError(
        f"What holds the data sends less than {LEAST_BYTES} bytes in {PATIENCE_SECONDS:.0f} s."
    )
