"""Images, contents and manifest pages in the index."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from backends.manifest import PAGE_DIGESTS
from cacheproxy.core.records import ContentRecord, FeedPosition, ImageRecord
from cacheproxy.errors import StorageError
from cacheproxy.store.layout import KEY_BYTES_MAX, Key, Table, page_name
from cacheproxy.store.writer import Writer

WALK_NAMES = 256  # records met before the loop gets its turn
_FEED = Key(Table.META, b"feed")


class RecordBook:
    """Typed access by name; a name that is too long, or empty, is never found."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def image(self, image_id: str) -> ImageRecord | None:
        """Return the record of an image."""
        packed = self._read(Table.IMAGES, image_id)
        return None if packed is None else ImageRecord.unpack(packed)

    def put_image(self, image_id: str, record: ImageRecord) -> None:
        """Write the record of an image."""
        self._write(Key(Table.IMAGES, _name(image_id)), record.pack())

    def forget_image(self, image_id: str) -> None:
        """Remove the record of an image."""
        self._forget(Table.IMAGES, image_id)

    def content(self, key: str) -> ContentRecord | None:
        """Return the record of a content."""
        packed = self._read(Table.CONTENTS, key)
        return None if packed is None else ContentRecord.unpack(packed)

    def put_content(self, key: str, record: ContentRecord) -> None:
        """Write the record of a content."""
        self._write(Key(Table.CONTENTS, _name(key)), record.pack())

    def contents_named(self, content: str) -> list[str]:
        """Return the keys of a content's manifests: one for each size that it was cut into."""
        name = content.encode() + b"/"
        if len(name) > KEY_BYTES_MAX:
            return []
        return sorted(key.decode() for key in self._writer.names(Table.CONTENTS, name))

    def forget_content(self, key: str) -> None:
        """Remove the record of a content and its manifest."""
        self._forget(Table.CONTENTS, key)
        for name in self._writer.names(Table.PAGES, page_name(_name(key), 0)[:-4]):
            self._writer.write(Key(Table.PAGES, name), None)
        self._forget(Table.USES, key)

    def manifest_page(self, key: str, page: int) -> bytes | None:
        """Return a page of a content's manifest."""
        return self._writer.read(Key(Table.PAGES, page_name(_name(key), page)))

    def put_manifest_page(self, key: str, page: int, packed: bytes) -> None:
        """Write a page of a content's manifest."""
        self._write(Key(Table.PAGES, page_name(_name(key), page)), packed)

    def feed_position(self) -> FeedPosition | None:
        """Return how far the catalog's feed of changes was followed."""
        packed = self._writer.read(_FEED)
        return None if packed is None else FeedPosition.unpack(packed)

    def put_feed_position(self, position: FeedPosition) -> None:
        """Note how far the feed was followed."""
        self._write(_FEED, position.pack())

    def last_use(self, key: str) -> int:
        """Return when a content was last used, in seconds since the epoch; 0: never, or unknown."""
        packed = self._read(Table.USES, key)
        return int.from_bytes(packed or b"")

    def note_use(self, key: str, when: int) -> None:
        """Note when a content was last used."""
        self._write(Key(Table.USES, _name(key)), when.to_bytes(8))

    def record_bytes(self) -> int:
        """Return the bytes that all these records took in the index at the last commit."""
        return self._writer.size(Table.IMAGES, Table.CONTENTS, Table.PAGES, Table.USES)

    # --- walks ------------------------------------------------------------------------------------

    async def images(self) -> AsyncIterator[tuple[str, ImageRecord]]:
        """Give all images by id; records may come and go meanwhile."""
        async for name in self._walk(Table.IMAGES):
            if (record := self.image(name)) is not None:
                yield name, record

    async def contents(self) -> AsyncIterator[tuple[str, ContentRecord]]:
        """Give all contents by key; records may come and go meanwhile."""
        async for name in self._walk(Table.CONTENTS):
            if (record := self.content(name)) is not None:
                yield name, record

    async def manifest_pages(self, key: str, record: ContentRecord) -> AsyncIterator[bytes]:
        """Give the pages of a content's manifest that are known, in order."""
        for page in range(-(-record.size // (record.chunk_bytes * PAGE_DIGESTS))):
            if (packed := self.manifest_page(key, page)) is not None:
                yield packed
            await asyncio.sleep(0)

    def records(self) -> tuple[int, int]:
        """Return how many images and contents had a record at the last commit."""
        return self._writer.count(Table.IMAGES), self._writer.count(Table.CONTENTS)

    async def _walk(self, table: Table) -> AsyncIterator[str]:
        after = b""
        while names := self._writer.names_after(table, after, WALK_NAMES):
            for name in names:
                yield name.decode()
            after = names[-1]
            await asyncio.sleep(0)

    # --- names ------------------------------------------------------------------------------------

    def _read(self, table: Table, text: str) -> bytes | None:
        name = text.encode()
        if not 0 < len(name) <= KEY_BYTES_MAX:
            return None
        return self._writer.read(Key(table, name))

    def _write(self, key: Key, value: bytes) -> None:
        if self._writer.full:
            raise StorageError("the index does not take changes")
        self._writer.write(key, value)

    def _forget(self, table: Table, text: str) -> None:
        key = Key(table, _name(text))
        if self._writer.read(key) is not None:
            self._writer.write(key, None)


def _name(text: str) -> bytes:
    name = text.encode()
    if not 0 < len(name) <= KEY_BYTES_MAX or b"\0" in name:
        raise ValueError("a name that the index cannot hold")
    return name
