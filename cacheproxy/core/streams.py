"""How many reads of one source at once pay.  Pure: the clocks are the caller's.

One read is what a link gives to one connection, and what one of the source's threads gives.  Where
we wait for that with time to spare, one more is tried; it stays if all together bring at least half
of what one more could bring at best.  The first that does not pay is the last that is tried: bytes
that share a full link only come later to whoever waits for the first of them.
"""

from __future__ import annotations

WINDOW_SECONDS = 1.0  # over which a rate is taken: what comes in bursts has to be seen whole
WINDOW_BYTES = 8 << 20  # at least
SPARE = (
    0.75  # of one processor: who has less to spare is not waiting for the source, but for a turn
)


class Streams:
    """Looks at one fill's rate with so many reads, and says how many there may be."""

    def __init__(self, most: int) -> None:
        self.wanted = 1
        self._most = most
        self._before = 0.0  # the rate with one less, while one more is tried
        self._flying = 0  # reads, in the present window
        self._since = self._used = 0.0  # of the window: its begin, the processor's time then
        self._bytes = 0  # that have come in it

    def __repr__(self) -> str:
        return f"<Streams {self.wanted} of {self._most}>"

    def came(self, size: int, now: float, used: float, flying: int) -> None:
        """So many bytes have come, from so many reads in progress; `wanted` may change.

        `used` is the processor's time of this process so far.
        """
        if flying != self._flying:
            self._begin(now, used, flying)
            return
        self._bytes += size
        seconds = now - self._since
        if seconds < WINDOW_SECONDS or self._bytes < WINDOW_BYTES or flying != self.wanted:
            return
        rate, busy = self._bytes / seconds, (used - self._used) / seconds
        self._begin(now, used, flying)
        trial, self._before = self._before, 0.0
        if trial and rate < trial * (1 + 0.5 / (flying - 1)):
            self.settle(flying - 1)
        elif flying < self._most and busy <= 1 - SPARE:
            self._before = rate
            self.wanted += 1

    def settle(self, most: int) -> None:
        """Want no more than so many from now on."""
        self._most = max(1, min(most, self._most))
        self.wanted = min(self.wanted, self._most)
        self._before = 0.0

    def _begin(self, now: float, used: float, flying: int) -> None:
        self._since, self._used, self._flying, self._bytes = now, used, flying, 0
