"""The records of images, remembered for as long as it is certain that they are still so.

What is remembered was read at a moment of the database (`Database.moment`), and counts only while it
is that moment: whatever anybody commits, here or in another process, is seen by the very next
request.  Where the database tells no moments (PostgreSQL, MariaDB) nothing is remembered.
"""

from __future__ import annotations

from collections import OrderedDict

from registry.db.database import Database
from registry.db.images import get_image
from registry.domain.image import Image

RECORDS_MAX = 1024  # remembered, a few KiB each; the longest unused goes first


class Records:
    """Reads the records of images."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: OrderedDict[str, tuple[Image, int]] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Records {len(self._known)} remembered>"

    def known(self, image_id: str) -> Image | None:
        """Return an image if it is certain how it is now; None tells nothing.  Does not wait."""
        found = self._known.get(image_id)
        if found is None or found[1] != self._database.moment():
            return None
        self._known.move_to_end(image_id)
        return found[0]

    async def get(self, image_id: str) -> Image | None:
        """Return an image as it is now, None if there is none."""
        image = self.known(image_id)
        if image is not None:
            return image
        # Taken before: what is committed while the record is read makes it a moment that has passed.
        moment = self._database.moment()
        image = await self._database.ask(get_image, image_id)
        if image is None or moment is None:
            self._known.pop(image_id, None)
            return image
        self._known[image_id] = image, moment
        self._known.move_to_end(image_id)
        if len(self._known) > RECORDS_MAX:
            self._known.popitem(last=False)
        return image
