"""How long a fill goes on asking a source that fails.

Failures count in a row: whatever lands between them, by any of the fill's reads, clears them.
"""

from __future__ import annotations

ATTEMPTS_MAX = 5  # failures of the source in a row
FRUITLESS_SECONDS_MAX = 90.0  # the same in time: a source that stalls fails slowly
BACKOFF_SECONDS = 0.1  # doubled with each failure
BACKOFF_SECONDS_MAX = 2.0


class Patience:
    """Of one fill; times are those of one steady clock, in seconds."""

    def __init__(self, now: float) -> None:
        self._failures = 0
        self._fruitful_at = now

    def __repr__(self) -> str:
        return f"<Patience {self._failures} failures>"

    def asked(self, now: float) -> None:
        """The source is asked for more."""
        if not self._failures:
            self._fruitful_at = now  # what nobody asked for could not come

    def fruitful(self, now: float) -> None:
        """A chunk has landed that was not there."""
        self._failures = 0
        self._fruitful_at = now

    def failed(self, now: float) -> float | None:
        """Count a failure; the seconds to wait before the next try, or None: there is none."""
        self._failures += 1
        if self._failures >= ATTEMPTS_MAX or now - self._fruitful_at >= FRUITLESS_SECONDS_MAX:
            return None
        return min(BACKOFF_SECONDS * 2.0**self._failures, BACKOFF_SECONDS_MAX)
