"""How much of its limit a cache may use on a disk that others fill as well.  Pure.

A cache that uses `used` bytes may use what leaves the floors free:

    room = used + min(free bytes - free_bytes_min, (free inodes - free_inodes_min) * mean chunk)

Room below what is used means eviction.  Some file systems count evicted bytes as free only seconds
later, so eviction is not asked for again before `SETTLE_SECONDS` have passed; until then the cache
only does not grow.  Times are seconds of one monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass

SETTLE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Usage:
    """What a cache takes now, in bytes and in files."""

    used: int  # counted, or being written
    kept: int  # with this limit nothing would have to go: used, reserved and the margin
    mean: int  # bytes that an evicted inode gives back


class Floors:
    """The floors of one file system, and when eviction was asked for last."""

    def __init__(self, free_bytes_min: int, free_inodes_min: int) -> None:
        self._free_bytes_min = free_bytes_min
        self._free_inodes_min = free_inodes_min
        self._evicted_at: float | None = None

    def lowered(
        self, limit: int, usage: Usage, free_bytes: int, free_inodes: int | None, now: float
    ) -> int:
        """Return the limit to keep now, `limit` or less; `free_inodes` None: they are not counted."""
        spare = free_bytes - self._free_bytes_min
        if free_inodes is not None:
            spare = min(spare, (free_inodes - self._free_inodes_min) * usage.mean)
        lowered = max(0, min(limit, usage.used + spare))
        if lowered >= min(limit, usage.kept):
            return lowered
        if self._evicted_at is not None and now - self._evicted_at < SETTLE_SECONDS:
            return min(limit, usage.kept)
        self._evicted_at = now
        return lowered
