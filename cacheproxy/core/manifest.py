"""The ordered chunk digests of one content, in pages, known or not yet.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from backends.manifest import DIGEST_BYTES, PAGE_BYTES, PAGE_DIGESTS
from cacheproxy.core.facts import ImageFacts
from cacheproxy.core.geometry import Grid

_UNKNOWN = bytes(DIGEST_BYTES)

# Algorithms of Glance's `hashing_algorithm` that hashlib computes, and the hex digits they give.
# Any other algorithm, or none, cannot name a content across images.
CONTENT_ALGORITHMS = {
    "sha256": 64,
    "sha384": 96,
    "sha512": 128,
    "sha3_256": 64,
    "sha3_384": 96,
    "sha3_512": 128,
    "blake2b": 128,
    "blake2s": 64,
}


def content_id(facts: ImageFacts) -> str | None:
    """Name the content that the image's record claims, or None where its hash cannot name one."""
    algorithm, value = facts.hash_algo, facts.hash_value
    if algorithm is None or value is None or CONTENT_ALGORITHMS.get(algorithm) != len(value):
        return None
    return f"{algorithm}:{value}"


def private_id(image_id: str) -> str:
    """Name a content that is known for one image only: unproven yet, or not provable by hash."""
    return f"image:{image_id}"


def private_image(key: str) -> str | None:
    """Return the image that a content's key makes it private to, None if it is not."""
    kind, _, image_id = key.rpartition("/")[0].partition(":")
    return image_id if kind == "image" else None


def content_key(content: str, chunk_bytes: int) -> str:
    """Name a manifest: the same content cut differently is another one."""
    return f"{content}/{chunk_bytes}"


class Manifest:
    """Digests by chunk index: those learnt here, and else what `load_page` gives of a page.

    It keeps only what it learnt; whoever loads pages keeps as many in memory as he likes.
    """

    def __init__(self, grid: Grid, load_page: Callable[[int], bytes | None]) -> None:
        self.grid = grid
        self._load_page = load_page
        self._last = (grid.count - 1) // PAGE_DIGESTS  # the last page, which may be shorter
        self._last_bytes = (grid.count - self._last * PAGE_DIGESTS) * DIGEST_BYTES
        self._learnt: dict[int, bytearray] = {}
        self._changed: set[int] = set()

    def page(self, number: int) -> bytes | bytearray | None:
        """Return a page, None while nothing is known of it."""
        page = self._learnt.get(number) or self._load_page(number)
        return page if page is not None and len(page) == self._page_bytes(number) else None

    def _page_bytes(self, number: int) -> int:
        return PAGE_BYTES if number < self._last else self._last_bytes

    def digest(self, index: int) -> bytes | None:
        """Return a chunk's digest, None while it is unknown."""
        number, place = divmod(index, PAGE_DIGESTS)
        page = self.page(number)
        if page is None:
            return None
        packed = bytes(page[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES])
        return None if packed == _UNKNOWN else packed

    def learn(self, index: int, digest: bytes) -> None:
        """Note a chunk's digest; a known one is not changed."""
        known = self.digest(index)
        if known is None:
            number, place = divmod(index, PAGE_DIGESTS)
            page = self._learnt.get(number)
            if page is None:
                page = bytearray(self.page(number) or self._page_bytes(number))
                self._learnt[number] = page
            page[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES] = digest
            self._changed.add(number)
        elif known != digest:
            raise ValueError(f"chunk {index} has another digest already")

    def changed_pages(self) -> Iterator[tuple[int, bytes]]:
        """Give each page that changed since the last call, packed, once."""
        for number in sorted(self._changed):
            yield number, bytes(self._learnt[number])
        self._changed.clear()

    def pages(self) -> Iterator[tuple[int, bytes]]:
        """Give every page, packed."""
        for number in range(-(-self.grid.count // PAGE_DIGESTS)):
            yield number, bytes(self.page(number) or self._page_bytes(number))
