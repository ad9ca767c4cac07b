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
ENDED = float("-inf")


class Known:
    """What is remembered of a proven image; whoever keeps it looks at `until` before each use.

    It is emptied when it is no longer true, and never filled again.
    """

    __slots__ = ("digests", "facts", "grid", "until")

    def __init__(self, facts: ImageFacts, grid: Grid, until: float) -> None:
        self.facts = facts
        self.grid = grid
        self.until = until  # of time.monotonic(): when it is time to look at its record
        self.digests: OrderedDict[int, bytes] = OrderedDict()  # of its chunks, the oldest first

    def __repr__(self) -> str:
        return f"<Known {self.facts.image_id}, {len(self.digests)} chunks>"

    def end(self) -> None:
        """Forget it."""
        self.until = ENDED
        self.digests.clear()


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
        self._known: OrderedDict[str, Known] = OrderedDict()  # the least recently used first
        self._digests = 0  # of all of them
        self._digests_max = hot_files_max * DIGESTS_PER_HOT_FILE
        self._records: OrderedDict[str, tuple[float, ImageFacts | None]] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Memory of {len(self._known)} images, {self._digests} chunks>"

    # --- records ----------------------------------------------------------------------------------

    def look(self, image_id: str) -> bool:
        """Tell whether it is time to look at an image's record; the first who asks is to look."""
        now = self._clock()
        looked_at, facts = self._records.get(image_id, (None, None))
        if looked_at is not None and now - looked_at < RECORD_SECONDS:
            return False
        self._note(image_id, now, facts)
        return True

    def current(self, image_id: str) -> Known | None:
        """Return what is known of a proven image, if it is not time to look at its record.

        It may be used until then without asking again; asking keeps it in memory.
        """
        known = self._known.get(image_id)
        if known is None or self._clock() >= known.until:
            return None
        self._known.move_to_end(image_id)
        return known

    def shown(self, facts: ImageFacts) -> None:
        """The upstream has just shown a record."""
        self._note(facts.image_id, self._clock(), facts)
        known = self._known.get(facts.image_id)
        if known is not None and not same_image(known.facts, facts):
            self._forget(facts.image_id)

    def agrees(self, facts: ImageFacts) -> bool:
        """Whether these are of the image as its record was shown last."""
        _, shown = self._records.get(facts.image_id, (None, None))
        return shown is None or same_image(shown, facts)

    def purge(self, image_id: str | None) -> None:
        """An image may have changed; None: any: records are looked at before the next use."""
        for each in list(self._records) if image_id is None else [image_id]:
            self._records.pop(each, None)
            self._set_until(each, ENDED)

    def _note(self, image_id: str, now: float, facts: ImageFacts | None) -> None:
        self._records[image_id] = (now, facts)
        self._records.move_to_end(image_id)
        self._set_until(image_id, now + RECORD_SECONDS)
        if len(self._records) > IMAGES_MAX:
            oldest, _ = self._records.popitem(last=False)
            self._set_until(oldest, ENDED)

    def _set_until(self, image_id: str, until: float) -> None:
        known = self._known.get(image_id)
        if known is not None:
            known.until = until

    # --- chunks -----------------------------------------------------------------------------------

    def facts(self, image_id: str) -> ImageFacts | None:
        """Return what is known of a proven image."""
        known = self._known.get(image_id)
        if known is None:
            return None
        self._known.move_to_end(image_id)
        return known.facts

    def remember(self, facts: ImageFacts, grid: Grid, index: int, digest: bytes) -> None:
        """Note a chunk of a proven image, so that the next reader of it need not ask."""
        if not self.agrees(facts):
            return  # read by one who began before the image was replaced
        known = self._known.get(facts.image_id)
        if known is None or not same_image(known.facts, facts) or known.grid != grid:
            known = self._learn(facts, grid)
        elif known.facts != facts:
            known.facts = facts
        self._known.move_to_end(facts.image_id)
        self._digests += index not in known.digests
        known.digests[index] = digest
        known.digests.move_to_end(index)
        while self._digests > self._digests_max:
            self._drop_oldest()

    def hot(self, facts: ImageFacts, span: Span) -> tuple[Grid, dict[int, bytes]] | None:
        """Return the digests of a span's chunks by index, if all of their files are open here."""
        known = self._known.get(facts.image_id)
        if known is None or not same_image(known.facts, facts):
            return None
        digests: dict[int, bytes] = {}
        for index in known.grid.covering(span):
            digest = known.digests.get(index)
            if digest is None or not self._hot(digest):
                return None
            digests[index] = digest
        return known.grid, digests

    def proven_digest(self, facts: ImageFacts, grid: Grid, index: int) -> bytes | None:
        """Return the digest of a chunk, if it is this image that is known, cut like this."""
        known = self._known.get(facts.image_id)
        if known is None or known.grid != grid or not same_image(known.facts, facts):
            return None
        return known.digests.get(index)

    def _learn(self, facts: ImageFacts, grid: Grid) -> Known:
        """Know an image afresh: nothing is yet, or it was another one, or is cut differently."""
        if facts.image_id in self._known:
            self._forget(facts.image_id)
        looked_at, _ = self._records.get(facts.image_id, (ENDED, None))
        known = self._known[facts.image_id] = Known(facts, grid, looked_at + RECORD_SECONDS)
        if len(self._known) > IMAGES_MAX:
            self._forget(next(iter(self._known)))
        return known

    def _drop_oldest(self) -> None:
        """Forget a chunk of the image that was not used for longest, or the image if it has none."""
        image_id, known = next(iter(self._known.items()))
        if known.digests:
            known.digests.popitem(last=False)
            self._digests -= 1
        else:
            self._forget(image_id)

    def _forget(self, image_id: str) -> None:
        known = self._known.pop(image_id)
        self._digests -= len(known.digests)
        known.end()
