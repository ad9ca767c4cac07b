"""Manifests that a scripted origin publishes: right ones, and such as a broken catalog might give."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from blake3 import blake3

from backends.manifest import (
    DIGEST_BYTES,
    PAGE_DIGESTS,
    ManifestName,
    ManifestRoot,
    ManifestShape,
)

Part = Literal["root", "pages"]


@dataclass(frozen=True, slots=True)
class Stall:
    """A barrier: the origin sets `reached` when it is asked, and answers after `release`."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(eq=False, slots=True)
class Publication:
    """A manifest, how it is given, and what was asked for; change it at any time."""

    name: str  # what the image's record shows
    root: bytes
    pages: list[bytes]
    status: dict[Part, int] = field(default_factory=dict)  # answered instead
    cuts: dict[Part, int] = field(default_factory=dict)  # so many answers are reset in the middle
    stalls: dict[Part, Stall] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)  # tokens that get a 403
    roots_asked: int = 0
    pages_asked: list[tuple[int, int]] = field(default_factory=list)  # the first and how many

    def stall(self, part: Part) -> Stall:
        """Hold all answers of this kind until released."""
        return self.stalls.setdefault(part, Stall())

    def body(self, page: int | None, pages: int) -> bytes:
        """Return what is answered, and note the question."""
        if page is None:
            self.roots_asked += 1
            return self.root
        self.pages_asked.append((page, pages))
        return b"".join(self.pages[page : page + pages])


def publication(size: int, read: Callable[[int, int], bytes], chunk_bytes: int) -> Publication:
    """Compute the manifest of a content that `read(start, stop)` gives."""
    shape = ManifestShape(size, chunk_bytes)
    starts = range(0, size, chunk_bytes)
    chunks = (read(start, min(start + chunk_bytes, size)) for start in starts)
    digests = b"".join(_digest(chunk) for chunk in chunks)
    page_bytes = PAGE_DIGESTS * DIGEST_BYTES
    pages = [digests[at : at + page_bytes] for at in range(0, len(digests), page_bytes)]
    root = ManifestRoot(shape, b"".join(map(_digest, pages))).pack()
    return Publication(str(ManifestName(chunk_bytes, _digest(root))), root, pages)


def _digest(data: bytes) -> bytes:
    return blake3(data).digest()
