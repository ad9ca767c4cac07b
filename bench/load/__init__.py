"""What asks servers for images, all on one core that no server uses; any wrong answer ends it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# As every compute service sends one; of the length of Keystone's.
TOKEN = "gAAAAAB" + "m8Zr4Uq0Xw" * 17

CONNECTIONS = 16


class WrongAnswerError(Exception):
    """A server refused, hung up, or sent too little or something else."""


@dataclass(frozen=True, slots=True)
class Target:
    """An image that is asked for."""

    path: str
    size: int
    token: str = TOKEN


@dataclass(frozen=True, slots=True)
class Latencies:
    """How long answers took, in seconds: the median, and what one in 100 or 1,000 exceeds."""

    p50: float
    p99: float
    p999: float


@dataclass(frozen=True, slots=True)
class Answered:
    """Requests that were answered until the last connection was done."""

    requests: int
    seconds: float
    # Closed loop: from when it was asked, after the one before; at a constant rate: from when it was due.
    latencies: Latencies

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


def percentiles(ordered: Sequence[float]) -> Latencies:
    """Return the nearest ranks of ordered latencies."""

    def rank(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]

    return Latencies(rank(0.5), rank(0.99), rank(0.999))
