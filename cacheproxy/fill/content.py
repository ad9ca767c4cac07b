"""One content in use: what is known of its chunks, shared by all of its readers and its fill."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cacheproxy.core.facts import ImageFacts
from cacheproxy.core.geometry import Grid
from cacheproxy.core.manifest import Manifest, content_id, content_key, private_id
from cacheproxy.core.records import ContentRecord, ImageRecord
from cacheproxy.store.chunkstore import ChunkStore


class Content:
    """A content being read or filled.

    `proven`: its whole matched the hash of an image, so its manifest is the truth for every byte.
    `ranged`: whether its source can do ranges, once that showed.
    `landed` notes when a chunk arrived (a tick of the process, not a time), so that a reader can
    tell what was there before it came; `arrived_bytes` counts them all.
    """

    def __init__(self, key: str, grid: Grid, store: ChunkStore, *, proven: bool) -> None:
        self.key = key
        self.grid = grid
        self.proven = proven
        self.ranged: bool | None = None
        self.landed: dict[int, int] = {}
        self.arrived_bytes = 0
        self._store = store
        self.manifest = Manifest(grid, lambda page: store.manifest_page(self.key, page))

    def __repr__(self) -> str:
        return f"<Content {self.key} {self.grid.size} bytes{' proven' if self.proven else ''}>"

    def present(self, index: int) -> bool:
        """Whether a chunk can be had from the store now."""
        digest = self.manifest.digest(index)
        return digest is not None and self._store.has(digest)

    def save(self) -> None:
        """Note what was learnt, so that a restart begins there."""
        self._put(self.manifest.changed_pages())

    def promote(self, key: str) -> None:
        """The whole is right: keep the manifest under the name that its hash gives it."""
        pages = list(self.manifest.pages())
        if key != self.key:
            self._store.forget_content(self.key)
        self.key, self.proven = key, True
        self._put(pages)

    def discard(self) -> None:
        """Forget what was learnt: it was wrong."""
        self._store.forget_content(self.key)

    def _put(self, pages: Iterable[tuple[int, bytes]]) -> None:
        record = ContentRecord(
            size=self.grid.size,
            chunk_bytes=self.grid.chunk_bytes,
            proven=self.proven,
            published=False,
        )
        self._store.put_content(self.key, record)
        for number, packed in pages:
            self._store.put_manifest_page(self.key, number, packed)


@dataclass(frozen=True, slots=True)
class Contents:
    """Finds the content of an image, and binds the two once that is proven."""

    store: ChunkStore
    chunk_bytes: int
    trust_upstream_hashes: bool

    def describe(self, image_id: str) -> ImageFacts | None:
        """Return what a proven image's record says."""
        record = self.store.image(image_id)
        if record is None or self._proven(record.content, record.size) is None:
            return None
        return ImageFacts(
            image_id=image_id,
            size=record.size,
            checksum=record.checksum,
            hash_algo=record.hash_algo,
            hash_value=record.hash_value,
        )

    def find(self, facts: ImageFacts) -> tuple[str, Grid, bool]:
        """Return the key, the grid and whether it is proven, of the content to read for an image.

        Proven is what this image is bound to, or, if the operator trusts the upstream's hashes,
        what its claimed hash names.  Without either it is private to the image until proven.
        """
        record = self.store.image(facts.image_id)
        if record is not None and _same(record, facts):
            grid = self._proven(record.content, facts.size)
            if grid is not None:
                return record.content, grid, True
        claimed = content_id(facts) if self.trust_upstream_hashes else None
        key = content_key(claimed or private_id(facts.image_id), self.chunk_bytes)
        if claimed is not None and (known := self.store.content(key)) is not None:
            if known.proven and known.size == facts.size:
                self.bind(facts, key)
                return key, Grid(known.size, known.chunk_bytes), True
            if known.size != facts.size:
                # One of the two lies; what is known is not to suffer from finding out which.
                key = content_key(private_id(facts.image_id), self.chunk_bytes)
        return key, Grid(facts.size, self.chunk_bytes), False

    def bind(self, facts: ImageFacts, key: str) -> None:
        """Note that this image is that content."""
        self.store.put_image(
            facts.image_id,
            ImageRecord(
                size=facts.size,
                checksum=facts.checksum,
                hash_algo=facts.hash_algo,
                hash_value=facts.hash_value,
                content=key,
            ),
        )

    def proven_key(self, facts: ImageFacts) -> str:
        """Name the content that a fill of this image has proven."""
        return content_key(content_id(facts) or private_id(facts.image_id), self.chunk_bytes)

    def _proven(self, key: str, size: int) -> Grid | None:
        record = self.store.content(key)
        if record is None or not record.proven or record.size != size:
            return None
        return Grid(size, record.chunk_bytes)


def _same(record: ImageRecord, facts: ImageFacts) -> bool:
    """Whether the image's record still says what it said when it was bound."""
    return (record.size, record.checksum, record.hash_algo, record.hash_value) == (
        facts.size,
        facts.checksum,
        facts.hash_algo,
        facts.hash_value,
    )
