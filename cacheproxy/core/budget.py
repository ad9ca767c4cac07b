"""How much of something may be used per second.  Pure."""

from __future__ import annotations

BURST_SECONDS = 1.0  # what was left unused is kept for so long


class Budget:
    """So many units per second, on average; the clock is the caller's, in seconds."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._paid_at = float("-inf")  # when all that was spent is paid

    def spend(self, amount: float, now: float) -> float:
        """Spend something now; return how many seconds to wait before spending more."""
        self._paid_at = max(self._paid_at, now - BURST_SECONDS) + amount / self.rate
        return max(0.0, self._paid_at - now)
