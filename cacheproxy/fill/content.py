"""One content in use: what is known of its chunks, shared by all of its readers and its fill."""

from __future__ import annotations

import time
from collections.abc import Iterable

import msgspec

from backends.manifest import PAGE_DIGESTS, ManifestName, ManifestRoot
from cacheproxy.core.arrivals import Ticks
from cacheproxy.core.facts import ImageFacts, same_image
from cacheproxy.core.geometry import Grid
from cacheproxy.core.manifest import Manifest, content_id, content_key, private_id, private_image
from cacheproxy.core.records import ContentRecord, ImageRecord
from cacheproxy.fill.pages import ManifestPages
from cacheproxy.store.chunkstore import ChunkStore
from cacheproxy.store.digest import digest_of


class Content:
    """A content being read or filled.

    `proven`: its manifest is the truth for every byte, because its whole matched the hash of an
    image, or because a catalog published it; of a published one pages may still be to come.
    `about`: of a content that is private to an image, which image that is, should its id be used again.
    `ranged`: whether what answered last gave the range that it was asked for, not the whole; None
    while that is not known of who is asked next.  `ranged_upstream`: the same of the upstream, once
    that showed.
    `landed` notes when a chunk arrived (a tick of the process, not a time), so that a reader can
    tell what was there before it came; `arrived_bytes` counts them all.
    """

    def __init__(  # noqa: PLR0913  what it is, and where it is kept
        self,
        key: str,
        grid: Grid,
        store: ChunkStore,
        pages: ManifestPages,
        *,
        proven: bool,
        about: bytes | None,
    ) -> None:
        self.key = key
        self.grid = grid
        self.proven = proven
        self.about = about
        self.ranged: bool | None = None
        self.ranged_upstream: bool | None = None
        self.landed = Ticks()
        self.arrived_bytes = 0
        self._store = store
        self._pages = pages
        if not proven:
            pages.unload(key)  # somebody may have cleaned up behind it
        self.manifest = Manifest(grid, lambda page: pages.page(self.key, page))

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
            self._pages.forget(self.key)
        self.key, self.proven = key, True
        if private_image(key) is None:
            self.about = None
        self._put(pages)

    def discard(self) -> None:
        """Forget what was learnt: it was wrong."""
        if not self._published():
            self._pages.forget(self.key)

    def _put(self, pages: Iterable[tuple[int, bytes]]) -> None:
        if self._published():
            # What a catalog says is not replaced by what was learnt, but an image without a
            # manifest of its own, to whose readers no page is given, may bring what is absent.
            self._pages.complete(self.key, pages)
            return
        record = ContentRecord(
            size=self.grid.size,
            chunk_bytes=self.grid.chunk_bytes,
            proven=self.proven,
            published=False,
            about=self.about,
        )
        self._store.put_content(self.key, record)
        for number, packed in pages:
            self._pages.put(self.key, number, packed)

    def _published(self) -> bool:
        record = self._store.content(self.key)
        return record is not None and record.published


class Contents:
    """Finds the content of an image, and binds the two once that is proven."""

    def __init__(self, store: ChunkStore, chunk_bytes: int, trust_upstream_hashes: bool) -> None:
        self.store = store
        self.pages = ManifestPages(store)
        self.chunk_bytes = chunk_bytes
        self._trust_upstream_hashes = trust_upstream_hashes

    def describe(self, image_id: str) -> ImageFacts | None:
        """Return what a proven image's record says."""
        record = self.store.image(image_id)
        if record is None or self._proven(record.content, record.size) is None:
            return None
        return facts_of(image_id, record)

    def find(self, facts: ImageFacts) -> tuple[str, Grid, bool]:
        """Return the key, the grid and whether it is proven, of the content to read for an image.

        Proven is what this image is bound to, or, if the operator trusts the upstream's hashes,
        what its claimed hash names.  Without either it is private to the image until proven.
        """
        record = self.store.image(facts.image_id)
        if record is not None and same_image(facts_of(facts.image_id, record), facts):
            grid = self._proven(record.content, facts.size)
            if grid is not None:
                if record.created_at is None and facts.created_at is not None:
                    noted = msgspec.structs.replace(record, created_at=facts.created_at)
                    self.store.put_image(facts.image_id, noted)
                return record.content, grid, True
        claimed = content_id(facts) if self._trust_upstream_hashes else None
        key = content_key(claimed or private_id(facts.image_id), self.chunk_bytes)
        if claimed is not None and (known := self.store.content(key)) is not None:
            grid = self._proven(key, facts.size)
            if grid is not None and (not known.published or self._whole(key, grid)):
                self.bind(facts, key)
                return key, grid, True
            if known.published or known.size != facts.size:
                # Of two sizes one is a lie, and what is known is not to suffer from finding out
                # which; pages that are to come are for those to whom the catalog gives them.
                key = content_key(private_id(facts.image_id), self.chunk_bytes)
        return key, Grid(facts.size, self.chunk_bytes), False

    def open(self, facts: ImageFacts, key: str, grid: Grid, *, proven: bool) -> Content:
        """Return the content that `find` has found; of another image that had this id, nothing."""
        about = self.about(facts, key)
        known = self.store.content(key)
        if known is not None and not (proven or known.published) and known.about != about:
            self.pages.forget(key)
        return Content(key, grid, self.store, self.pages, proven=proven, about=about)

    def about(self, facts: ImageFacts, key: str) -> bytes | None:
        """Tell images apart that have the same id, where the content is private to one of them."""
        if private_image(key) is None:
            return None
        lasting = msgspec.structs.replace(facts, owner=None, manifest=None)
        return digest_of(msgspec.msgpack.encode(lasting))

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
                owner=facts.owner,
                created_at=facts.created_at,
                bound_at=int(time.time()),
            ),
        )

    def publish(self, facts: ImageFacts, name: ManifestName, root: ManifestRoot) -> bool:
        """Bind an image to the content whose manifest the catalog has published for it.

        False, and nothing is changed, if equal content is known by another published manifest.
        """
        key = content_key(content_id(facts) or private_id(facts.image_id), name.chunk_bytes)
        known = self.store.content(key)
        if known is None or not known.published or self.pages.root(key, known) is None:
            self.pages.publish(key, root)
            self.store.put_content(
                key,
                ContentRecord(
                    size=facts.size,
                    chunk_bytes=name.chunk_bytes,
                    proven=True,
                    published=True,
                    root=name.root_digest,
                ),
            )
        elif known.root != name.root_digest:
            return False
        learnt = content_key(private_id(facts.image_id), self.chunk_bytes)
        if learnt != key and self.store.content(learnt) is not None:
            self.pages.forget(learnt)
        self.bind(facts, key)
        return True

    def proven_key(self, facts: ImageFacts) -> str:
        """Name the content that a fill of this image has proven."""
        return content_key(content_id(facts) or private_id(facts.image_id), self.chunk_bytes)

    def _proven(self, key: str, size: int) -> Grid | None:
        record = self.store.content(key)
        if record is None or not record.proven or record.size != size:
            return None
        if record.published and self.pages.root(key, record) is None:
            return None
        return Grid(size, record.chunk_bytes)

    def _whole(self, key: str, grid: Grid) -> bool:
        """Whether every page of the manifest is there."""
        pages = range(-(-grid.count // PAGE_DIGESTS))
        return all(self.pages.page(key, number) is not None for number in pages)


def facts_of(image_id: str, record: ImageRecord) -> ImageFacts:
    """Return what Glance said of an image when it was bound."""
    return ImageFacts(
        image_id=image_id,
        size=record.size,
        checksum=record.checksum,
        hash_algo=record.hash_algo,
        hash_value=record.hash_value,
        owner=record.owner,
        created_at=record.created_at,
    )
