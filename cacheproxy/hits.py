"""How often, and when last, an image was answered from the cache alone.

Workers tell their counts once a second; the index gets the sums once in `SAVE_SECONDS` and at the
end, one small record for each image that was used since.  What a crash loses is at most that.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

import msgspec

from cacheproxy.core.records import ImageRecord
from cacheproxy.errors import StorageError

SAVE_SECONDS = 30.0
IMAGES_MAX = 10_000  # counted between two saves; more are not counted
SLICE = 256  # records written before the loop gets its turn

log = logging.getLogger(__name__)


class Book(Protocol):
    """The records of images."""

    def image(self, image_id: str) -> ImageRecord | None:
        """Return a record."""

    def put_image(self, image_id: str, record: ImageRecord) -> None:
        """Write a record."""


class Use(NamedTuple):
    """How an image was used."""

    hits: int
    last: int  # seconds since the epoch; 0: never


class Hits:
    """Counts, and saves; used on the keeper's loop."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._unsaved: dict[str, Use] = {}

    def __repr__(self) -> str:
        return f"<Hits of {len(self._unsaved)} images not saved>"

    def add(self, counts: Mapping[str, int]) -> None:
        """Images were answered from the cache so many times."""
        now = int(time.time())
        for image_id, count in counts.items():
            if image_id in self._unsaved or len(self._unsaved) < IMAGES_MAX:
                before = self._unsaved.get(image_id, Use(0, 0))
                self._unsaved[image_id] = Use(before.hits + count, now)

    def of(self, image_id: str, record: ImageRecord) -> Use:
        """Return all uses of an image."""
        unsaved = self._unsaved.get(image_id, Use(0, 0))
        return Use(record.hits + unsaved.hits, max(record.hit_at, unsaved.last))

    def forget(self, image_ids: Iterable[str]) -> None:
        """Count these from nought: they are not cached any more."""
        for image_id in image_ids:
            self._unsaved.pop(image_id, None)
            record = self._book.image(image_id)
            if record is not None and record.hits:
                fresh = msgspec.structs.replace(record, hits=0, hit_at=0)
                self._book.put_image(image_id, fresh)

    async def run(self) -> None:
        """Save again and again, and once more when cancelled."""
        try:
            while True:
                await asyncio.sleep(SAVE_SECONDS)
                await self.save()
        finally:
            self._save(len(self._unsaved))

    async def save(self) -> None:
        """Write what is not saved."""
        while self._unsaved:
            self._save(SLICE)
            await asyncio.sleep(0)

    def _save(self, count: int) -> None:
        for image_id in list(self._unsaved)[:count]:
            use = self._unsaved.pop(image_id)
            try:
                record = self._book.image(image_id)
                if record is not None:
                    kept = msgspec.structs.replace(
                        record, hits=record.hits + use.hits, hit_at=max(record.hit_at, use.last)
                    )
                    self._book.put_image(image_id, kept)
            except StorageError as error:
                log.debug("hits of %s are not kept: %s", image_id, error)
