"""The manifest pages of all contents: kept in the index, the latest in memory, published ones checked.

A page of a published manifest that the index gives is held against the root document again; one
that is damaged there is as good as absent, and fetched again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from backends.manifest import ManifestError, ManifestRoot
from cacheproxy.core.records import ContentRecord
from cacheproxy.store.chunkstore import ChunkStore
from cacheproxy.store.digest import digest_of

PAGES_MAX = 256  # in memory, of all contents together: 8 MiB
ROOTS_MAX = 64  # in memory; 32 bytes for each page, so 32 KiB for 1 TiB in chunks of 1 MiB
_ROOT_PAGE = 0xFFFF_FFFF  # the number under which the index keeps a root document


class ManifestPages:
    """Pages by content key and number, and the roots of published manifests."""

    def __init__(self, store: ChunkStore) -> None:
        self._store = store
        self._pages: OrderedDict[tuple[str, int], bytes | None] = OrderedDict()
        self._roots: OrderedDict[str, ManifestRoot] = OrderedDict()

    def __repr__(self) -> str:
        return f"<ManifestPages {len(self._pages)} pages, {len(self._roots)} roots>"

    def root(self, key: str, record: ContentRecord) -> ManifestRoot | None:
        """Return the root that a published content's record names, None if it is not to be had."""
        root = self._roots.get(key)
        if root is not None:
            self._roots.move_to_end(key)
            return root
        document = self._store.manifest_page(key, _ROOT_PAGE)
        if document is None or digest_of(document) != record.root:
            return None
        try:
            root = ManifestRoot.unpack(document)
        except ManifestError:
            return None
        self._keep_root(key, root)
        return root

    def page(self, key: str, number: int) -> bytes | None:
        """Return a page, None if there is none, or none that is right."""
        place = (key, number)
        try:
            self._pages.move_to_end(place)
        except KeyError:
            self._keep(place, self._load(key, number))
        return self._pages[place]

    def put(self, key: str, number: int, packed: bytes) -> None:
        """Write a page; a published one was checked by whoever brings it."""
        self._store.put_manifest_page(key, number, packed)
        self._keep((key, number), packed)

    def complete(self, key: str, pages: Iterable[tuple[int, bytes]]) -> None:
        """Write those of these pages that are absent and that the content's root vouches for."""
        for number, packed in pages:
            if self.page(key, number) is None and self._right(key, number, packed) is not None:
                self.put(key, number, packed)

    def publish(self, key: str, root: ManifestRoot) -> None:
        """Write a root, by which this content's pages are judged from now on."""
        self._store.put_manifest_page(key, _ROOT_PAGE, root.pack())
        self.unload(key)
        self._keep_root(key, root)

    def forget(self, key: str) -> None:
        """Remove a content's record, and all that is known of its manifest."""
        self._store.forget_content(key)
        self.unload(key)

    def unload(self, key: str) -> None:
        """Forget what is in memory of a content."""
        self._roots.pop(key, None)
        for place in [place for place in self._pages if place[0] == key]:
            del self._pages[place]

    def _load(self, key: str, number: int) -> bytes | None:
        packed = self._store.manifest_page(key, number)
        return None if packed is None else self._right(key, number, packed)

    def _right(self, key: str, number: int, packed: bytes) -> bytes | None:
        """Return a page unless the root of a published content says that it is wrong."""
        record = self._store.content(key)
        if record is None or not record.published:
            return packed
        root = self.root(key, record)
        if root is None:
            return None
        try:
            return root.verify_pages(number, 1, packed, digest_of)[0]
        except ManifestError:
            return None

    def _keep(self, place: tuple[str, int], packed: bytes | None) -> None:
        self._pages[place] = packed
        self._pages.move_to_end(place)
        if len(self._pages) > PAGES_MAX:
            self._pages.popitem(last=False)

    def _keep_root(self, key: str, root: ManifestRoot) -> None:
        self._roots[key] = root
        self._roots.move_to_end(key)
        if len(self._roots) > ROOTS_MAX:
            self._roots.popitem(last=False)
