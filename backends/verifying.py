"""Bytes that are held against a manifest before anybody gets them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Self

from backends.base import ReadStore, ReadStream
from backends.errors import InvalidError
from backends.location import Location
from backends.manifest import DIGEST_BYTES, PAGE_DIGESTS, Digest, ManifestShape
from backends.spans import Span
from backends.wrapping import Behaviour

Page = Callable[[int], Awaitable[bytes]]  # the digests of the chunks of one page of a manifest


class Verified(Behaviour):
    """Releases each chunk only if it is right; for reads of one object, whose manifest this is.

    A span is widened to whole chunks, and cut again.  A wrong chunk is an `InvalidError`, before
    any byte of it is released.  Holds one chunk; `digest` runs in threads.
    """

    def __init__(self, shape: ManifestShape, page: Page, digest: Digest) -> None:
        self._shape = shape
        self._page = page
        self._digest = digest

    def __repr__(self) -> str:
        return f"Verified(size={self._shape.size})"

    @asynccontextmanager
    async def read(
        self, inner: ReadStore, location: Location, span: Span | None
    ) -> AsyncIterator[ReadStream]:
        """Read and verify."""
        whole = Span(0, self._shape.size)
        wanted = whole if span is None else span.clip(whole)
        async with inner.read(location, self._widened(wanted)) as stream:
            if stream.size not in {None, self._shape.size}:
                raise InvalidError(
                    f"{location}: has {stream.size} bytes, its manifest {self._shape.size}"
                )
            chunks = _Chunks(location, stream, self._shape, wanted.start)
            yield _VerifiedStream(self, chunks, wanted)

    def _widened(self, wanted: Span) -> Span:
        step = self._shape.chunk_bytes
        if not len(wanted):
            return wanted
        start, stop = wanted.start // step * step, -(-wanted.stop // step) * step
        return Span(start, min(stop, self._shape.size))

    async def is_right(self, page: bytes, number: int, chunk: bytes) -> bool:
        """Whether a chunk has the digest that a page has for it."""
        start = number % PAGE_DIGESTS * DIGEST_BYTES
        found = await asyncio.to_thread(self._digest, chunk)
        return found == page[start : start + DIGEST_BYTES]

    async def page_of(self, number: int) -> bytes:
        """Return the page that has a chunk's digest."""
        return await self._page(number // PAGE_DIGESTS)


class _Chunks:
    """Whole chunks out of the pieces of a stream."""

    def __init__(
        self, location: Location, stream: ReadStream, shape: ManifestShape, start: int
    ) -> None:
        self.location = location
        self.stream = stream
        self.step = shape.chunk_bytes
        self.number = start // shape.chunk_bytes  # of the next chunk
        self._size = shape.size
        self._pieces = aiter(stream)
        self._rest = memoryview(b"")  # of a piece that belongs to the next chunk

    async def next(self) -> bytes:
        due = min(self.step, self._size - self.number * self.step)
        parts: list[memoryview] = []
        while due:
            piece = self._rest or memoryview(await anext(self._pieces, b""))
            if not piece:
                raise InvalidError(f"{self.location}: ended early, in chunk {self.number}")
            parts.append(piece[:due])
            self._rest = piece[due:]
            due -= len(parts[-1])
        self.number += 1
        return b"".join(parts)


class _VerifiedStream:
    def __init__(self, verified: Verified, chunks: _Chunks, wanted: Span) -> None:
        self._verified = verified
        self._chunks = chunks
        self._wanted = wanted  # what is left of it
        self._page: bytes | None = None

    @property
    def size(self) -> int | None:
        return self._chunks.stream.size

    @property
    def version(self) -> str | None:
        return self._chunks.stream.version

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not len(self._wanted):
            raise StopAsyncIteration
        number, step = self._chunks.number, self._chunks.step
        chunk = await self._chunks.next()
        if self._page is None or number % PAGE_DIGESTS == 0:
            self._page = await self._verified.page_of(number)
        if not await self._verified.is_right(self._page, number, chunk):
            raise InvalidError(
                f"{self._chunks.location}: chunk {number}, bytes {number * step} to "
                f"{number * step + len(chunk) - 1}, is not the one that the manifest names"
            )
        first = number * step
        part = Span(first, first + len(chunk)).clip(self._wanted)
        self._wanted = Span(part.stop, self._wanted.stop)
        return chunk[part.start - first : part.stop - first]
