"""How long somebody who failed is left alone.  Pure.

After a failure for PAUSE_SECONDS, after each further one for twice as long, up to PAUSE_SECONDS_MAX,
until something of him ends well.  What began before the last failure says nothing new.  Whoever
asks him after a pause tries him for all: others leave him alone for as long again.

Times are seconds of one monotonic clock.
"""

from __future__ import annotations

import math

PAUSE_SECONDS = 1.0
PAUSE_SECONDS_MAX = 60.0


class Setback:
    """What is believed of one; `trouble`: what he failed with, while that is so."""

    def __init__(self) -> None:
        self.trouble: str | None = None
        self._until = -math.inf
        self._failed_at = -math.inf
        self._pause = PAUSE_SECONDS

    def __repr__(self) -> str:
        return f"<Setback {self.trouble or 'none'}>"

    def usable(self, now: float) -> bool:
        """Whether he may be asked."""
        return now >= self._until

    def tried(self, now: float) -> None:
        """He is asked."""
        if self.trouble is not None:
            self._until = now + self._pause

    def failed(self, began: float, now: float, why: str) -> bool:
        """What was begun then has failed; tell whether nothing of the kind was known."""
        if began < self._failed_at:
            return False
        news = self.trouble is None
        self.trouble, self._failed_at, self._until = why, now, now + self._pause
        self._pause = min(2 * self._pause, PAUSE_SECONDS_MAX)
        return news

    def worked(self, began: float) -> bool:
        """What was begun then has ended well; tell whether that is news."""
        if began < self._failed_at or self.trouble is None:
            return False
        self.trouble, self._until, self._pause = None, -math.inf, PAUSE_SECONDS
        return True
