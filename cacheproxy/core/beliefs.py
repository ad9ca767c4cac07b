"""What is believed of the upstream's words, and for how long; bounded.  Pure: the clock is passed in.

A belief is *fresh* for `seconds` from when it was asked, and *recent* for `recent_seconds`: only a
fresh one counts, but for those who choose to go on while the upstream says nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

ENDED = float("-inf")


@dataclass(slots=True, eq=False)
class Belief:
    """That a caller may download an image; whoever keeps it looks at `until` before each use."""

    image_id: str
    caller: bytes
    asked_at: float
    until: float  # the upstream is asked again then; in the past as soon as it is forgotten

    def end(self) -> None:
        """Believe it no longer, whoever has kept it."""
        self.until = ENDED


class Beliefs:
    """Who was allowed to download an image, by a key for all that was asked with.

    One caller (the same tokens) may have several keys: a refusal counts for all of them.
    """

    def __init__(self, seconds: float, recent_seconds: float, entries_max: int) -> None:
        """Remember at most so many; those that were not used for longest make room."""
        self._seconds = seconds
        self._recent_seconds = recent_seconds
        self._entries_max = entries_max
        # The longest unused first.  One that is kept elsewhere counts as used when it was asked for:
        # in use, it is asked for again every few seconds.
        self._beliefs: OrderedDict[bytes, Belief] = OrderedDict()
        self._images: dict[str, dict[bytes, set[bytes]]] = {}  # keys by image and caller

    def __len__(self) -> int:
        return len(self._beliefs)

    def fresh(self, key: bytes, now: float) -> Belief | None:
        """Return why the upstream need not be asked; what has become useless is forgotten."""
        belief = self._beliefs.get(key)
        if belief is None:
            return None
        if now < belief.until:
            self._beliefs.move_to_end(key)
            return belief
        if not self.recent(key, now):
            self.forget(key)
        return None

    def recent(self, key: bytes, now: float) -> bool:
        """Whether it was allowed within the window, and not refused or purged since."""
        belief = self._beliefs.get(key)
        return belief is not None and now < belief.asked_at + self._recent_seconds

    def allowed(self, key: bytes, image_id: str, caller: bytes, asked_at: float) -> None:
        """Note a yes to what was asked then; it replaces what was believed of the key."""
        self.forget(key)  # it may have been another caller's
        self._beliefs[key] = Belief(image_id, caller, asked_at, asked_at + self._seconds)
        self._images.setdefault(image_id, {}).setdefault(caller, set()).add(key)
        while len(self._beliefs) > self._entries_max:
            self.forget(next(iter(self._beliefs)))

    def prolong(self, key: bytes, now: float) -> None:
        """Take a recent belief for fresh once more, within its window: nobody answers."""
        belief = self._beliefs[key]
        belief.until = min(now + self._seconds, belief.asked_at + self._recent_seconds)
        self._beliefs.move_to_end(key)

    def forget(self, key: bytes) -> None:
        """Forget one, if it is there."""
        belief = self._beliefs.pop(key, None)
        if belief is None:
            return
        belief.end()
        callers = self._images[belief.image_id]
        callers[belief.caller].remove(key)
        if not callers[belief.caller]:
            del callers[belief.caller]
        if not callers:
            del self._images[belief.image_id]

    def refused(self, image_id: str, caller: bytes) -> None:
        """Forget all that was believed of a caller and an image."""
        for key in tuple(self._images.get(image_id, {}).get(caller, ())):
            self.forget(key)

    def forget_image(self, image_id: str) -> None:
        """Forget all of an image."""
        for keys in self._images.pop(image_id, {}).values():
            for key in keys:
                self._beliefs.pop(key).end()

    def clear(self) -> None:
        """Forget all."""
        for belief in self._beliefs.values():
            belief.end()
        self._beliefs.clear()
        self._images.clear()
