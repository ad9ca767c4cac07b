"""What is computed of an image while its bytes pass by: its two hashes, and its manifest."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from blake3 import blake3

from backends.manifest import (
    PAGE_BYTES,
    PAGES_MAX,
    ManifestName,
    ManifestRoot,
    ManifestShape,
)
from registry.domain.manifest import Manifest, ManifestPage


@dataclass(frozen=True, slots=True)
class Hashing:
    """What an operator chooses of it: the second hash, and how the manifest cuts the data."""

    algorithm: str  # as hashlib names it
    chunk_bytes: int  # one of `backends.manifest.CHUNK_BYTES`


class Digests:
    """The md5, the configured hash and the manifest of a stream that each of `observers` has seen."""

    def __init__(self, hashing: Hashing) -> None:
        self._algorithm = hashing.algorithm
        self._checksum = hashlib.md5(usedforsecurity=False)
        self._hash = hashlib.new(hashing.algorithm, usedforsecurity=False)
        self._chunks = ChunkDigests(hashing.chunk_bytes)
        updates = (self._checksum.update, self._hash.update, self._chunks.update)
        self.observers = tuple(_InThreads(update) for update in updates)

    def fields(self) -> Mapping[str, object]:
        """Return the two hashes of all bytes, by fields of the image."""
        return {
            "checksum": self._checksum.hexdigest(),
            "os_hash_algo": self._algorithm,
            "os_hash_value": self._hash.hexdigest(),
        }

    def manifest(self) -> Manifest | None:
        """The manifest of all bytes, which end here; None of more than a manifest can list."""
        return self._chunks.finish()


class _InThreads:
    """An observer (`registry.service.intake.Observer`) of which each update is in a thread."""

    def __init__(self, update: Callable[[bytes], None]) -> None:
        self._update = update

    async def update(self, data: bytes) -> None:
        await asyncio.to_thread(self._update, data)

    async def finish(self) -> Mapping[str, object]:
        return {}


def chunk_digest(chunk: bytes) -> bytes:
    """Return the BLAKE3-256 of a chunk.  Blocks: 3.6 GB/s, the interpreter released."""
    return blake3(chunk).digest()


class ChunkDigests:
    """BLAKE3-256 of every chunk of a stream, whatever the pieces it comes in.

    Keeps 32 bytes for each chunk, up to what a manifest can list (128 MiB).
    """

    def __init__(self, chunk_bytes: int) -> None:
        self._chunk_bytes = chunk_bytes
        self._size = 0
        self._hash = blake3()
        self._open_page = bytearray()
        self._pages: list[ManifestPage] = []
        self._is_too_long = False

    def update(self, data: bytes) -> None:
        """Add bytes.  Blocks: 3.6 GB/s, the interpreter released for all but small pieces."""
        rest = memoryview(data)
        while rest and not self._is_too_long:
            piece = rest[: self._chunk_bytes - self._size % self._chunk_bytes]
            self._hash.update(piece)
            self._size += len(piece)
            rest = rest[len(piece) :]
            if self._size % self._chunk_bytes == 0:
                self._end_chunk()

    def finish(self) -> Manifest | None:
        """Return the manifest of what was added; to be called once."""
        if self._size % self._chunk_bytes:
            self._end_chunk()
        if self._open_page:
            self._end_page()
        if self._is_too_long:
            return None
        shape = ManifestShape(self._size, self._chunk_bytes)
        root = ManifestRoot(shape, b"".join(page.digest for page in self._pages))
        name = ManifestName(self._chunk_bytes, blake3(root.pack()).digest())
        return Manifest(str(name), tuple(self._pages))

    def _end_chunk(self) -> None:
        if len(self._pages) == PAGES_MAX:
            self._is_too_long = True
            self._pages.clear()
            return
        self._open_page += self._hash.digest()
        self._hash.reset()
        if len(self._open_page) == PAGE_BYTES:
            self._end_page()

    def _end_page(self) -> None:
        packed = bytes(self._open_page)
        self._pages.append(ManifestPage(blake3(packed).digest(), packed))
        self._open_page.clear()
