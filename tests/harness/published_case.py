"""Images whose manifests are published, and what is asked for of them."""

from __future__ import annotations

import random
from typing import Any

from backends.manifest import PAGE_DIGESTS
from harness.fill_case import CHUNK
from harness.origin import Content, Origin, OriginImage

SIZE = 6 * CHUNK + 1000
DATA = random.Random(11).randbytes(SIZE)
OTHER = random.Random(12).randbytes(SIZE)
SOURCES: list[dict[str, Any]] = [
    {"ranges": "yes"},
    {"ranges": "refused"},
    {"ranges": "ignored"},
]


def add(glance: Origin, data: bytes | Content = DATA, **how: Any) -> OriginImage:
    """Add an image with its manifest."""
    image = glance.add(data, **how)
    image.publish(CHUNK)
    return image


def asked(image: OriginImage) -> tuple[int, list[tuple[int, int]]]:
    """Return how often its root was asked for, and which pages."""
    assert image.publication is not None
    return image.publication.roots_asked, image.publication.pages_asked


def islands(chunks: dict[int, bytes], pages: int = 3) -> Content:
    """Return a content of so many pages (and a bit) of zeros, but for these chunks."""
    size = (pages * PAGE_DIGESTS + 5) * CHUNK

    def read(start: int, stop: int) -> bytes:
        data = bytearray(stop - start)
        for index, chunk in chunks.items():
            first, last = max(start, index * CHUNK), min(stop, index * CHUNK + CHUNK)
            if first < last:
                data[first - start : last - start] = chunk[first - index * CHUNK :][: last - first]
        return bytes(data)

    return Content(size, read)
