"""What a worker remembers of proven images, so that a repeated hit asks neither keeper nor upstream.

Glance lets an image id be used again once the deleted image was purged from its database, for
another owner and other data.  So the record is looked at again now and then: what is served then is
never older than that, and what a replaced image has left behind is not remembered.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from backends.spans import Span
from cacheproxy.core.facts import ImageFacts, same_image
from cacheproxy.core.geometry import Grid

IMAGES_MAX = 1024
DIGESTS_PER_HOT_FILE = 4  # remembered digests for each file that the hot set may hold
RECORD_SECONDS = 60.0  # how long an image's record is believed to say what it said


class Memory:
    """Facts, cut and chunks of images; plain, of the worker's loop."""

    def __init__(
        self,
        hot: Callable[[bytes], bool],
        hot_files_max: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`hot` tells whether a chunk's file is open in this worker."""
        self._hot = hot
        self._clock = clock
        self._known: OrderedDict[str, tuple[ImageFacts, Grid]] = OrderedDict()
        # By image, chunk size and index: an image may come to be cut differently.
        self._digests: OrderedDict[tuple[str, int, int], bytes] = OrderedDict()
        self._digests_max = hot_files_max * DIGESTS_PER_HOT_FILE
        self._records: OrderedDict[str, tuple[float, ImageFacts | None]] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Memory of {len(self._known)} images, {len(self._digests)} chunks>"

    # --- records ----------------------------------------------------------------------------------

    def look(self, image_id: str) -> bool:
        """Tell whether it is time to look at an image's record; the first who asks is to look."""
        now = self._clock()
        looked_at, facts = self._records.get(image_id, (None, None))
        if looked_at is not None and now - looked_at < RECORD_SECONDS:
            return False
        self._note(image_id, now, facts)
        return True

    def current(self, image_id: str) -> tuple[ImageFacts, Grid] | None:
        """Return what is known of a proven image, if it is not time to look at its record."""
        known = self._known.get(image_id)
        if known is None:
            return None
        looked_at, _ = self._records.get(image_id, (None, None))
        if looked_at is None or self._clock() - looked_at >= RECORD_SECONDS:
            return None
        self._known.move_to_end(image_id)
        return known

    def shown(self, facts: ImageFacts) -> None:
        """The upstream has just shown a record."""
        self._note(facts.image_id, self._clock(), facts)
        known = self._known.get(facts.image_id)
        if known is not None and not same_image(known[0], facts):
            self._forget(facts.image_id)

    def agrees(self, facts: ImageFacts) -> bool:
        """Whether these are of the image as its record was shown last."""
        _, shown = self._records.get(facts.image_id, (None, None))
        return shown is None or same_image(shown, facts)

    def purge(self, image_id: str | None) -> None:
        """An image may have changed; None: any: records are looked at before the next use."""
        if image_id is None:
            self._records.clear()
        else:
            self._records.pop(image_id, None)

    def _note(self, image_id: str, now: float, facts: ImageFacts | None) -> None:
        self._records[image_id] = (now, facts)
        self._records.move_to_end(image_id)
        if len(self._records) > IMAGES_MAX:
            self._records.popitem(last=False)

    # --- chunks -----------------------------------------------------------------------------------

    def facts(self, image_id: str) -> ImageFacts | None:
        """Return what is known of a proven image."""
        known = self._known.get(image_id)
        if known is None:
            return None
        self._known.move_to_end(image_id)
        return known[0]

    def remember(self, facts: ImageFacts, grid: Grid, index: int, digest: bytes) -> None:
        """Note a chunk of a proven image, so that the next reader of it need not ask."""
        if not self.agrees(facts):
            return  # read by one who began before the image was replaced
        image_id = facts.image_id
        self._known[image_id] = (facts, grid)
        self._known.move_to_end(image_id)
        if len(self._known) > IMAGES_MAX:
            self._known.popitem(last=False)
        self._digests[image_id, grid.chunk_bytes, index] = digest
        self._digests.move_to_end((image_id, grid.chunk_bytes, index))
        if len(self._digests) > self._digests_max:
            self._digests.popitem(last=False)

    def hot(self, facts: ImageFacts, span: Span) -> tuple[Grid, dict[int, bytes]] | None:
        """Return the digests of a span's chunks by index, if all of their files are open here."""
        known = self._known.get(facts.image_id)
        if known is None or not same_image(known[0], facts):
            return None
        grid = known[1]
        digests: dict[int, bytes] = {}
        for index in grid.covering(span):
            digest = self._digests.get((facts.image_id, grid.chunk_bytes, index))
            if digest is None or not self._hot(digest):
                return None
            digests[index] = digest
        return grid, digests

    def digest(self, image_id: str, grid: Grid, index: int) -> bytes | None:
        """Return the digest of a chunk of a known image, if it is remembered."""
        return self._digests.get((image_id, grid.chunk_bytes, index))

    def proven_digest(self, facts: ImageFacts, grid: Grid, index: int) -> bytes | None:
        """The same, if it is this image that is known, cut like this."""
        known = self._known.get(facts.image_id)
        if known is None or known[1] != grid or not same_image(known[0], facts):
            return None
        return self.digest(facts.image_id, grid, index)

    def _forget(self, image_id: str) -> None:
        del self._known[image_id]
        for key in [key for key in self._digests if key[0] == image_id]:
            del self._digests[key]
