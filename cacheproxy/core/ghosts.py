"""When chunks that are gone were last used.  Pure.

A table of fixed places, eight bytes each: half a fingerprint, half a stamp.  A fingerprint's bucket
is its low bits, and what is remembered longest without being asked for gives way.  Forgetting one
costs a guess, and so does the rare mistaken one; nothing here has to be right.
"""

from __future__ import annotations

from array import array

WAYS = 4  # places of a bucket
SLOTS_MAX = 1 << 20  # 8 MiB
_HALF = (1 << 32) - 1


class Ghosts:
    """The stamps of the last uses of chunks that were evicted; as many as places were asked for."""

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 * WAYS))
        self._buckets = 1

    def __repr__(self) -> str:
        return f"<Ghosts {len(self._slots)} places>"

    @property
    def size(self) -> int:
        """Bytes of memory that it takes."""
        return len(self._slots) * self._slots.itemsize

    def grow(self, count: int) -> None:
        """Have places for about `count` chunks, up to `SLOTS_MAX`; what is remembered stays."""
        while len(self._slots) < min(count, SLOTS_MAX):
            old, count_before = self._slots, self._buckets
            self._slots = array("Q", bytes(2 * 8 * len(old)))
            self._buckets = 2 * count_before
            for start in range(0, len(old), WAYS):
                # A bucket's content goes to the one of the same number or its twin above.
                filled: dict[int, int] = {}
                for slot in old[start : start + WAYS]:
                    if slot:
                        bucket = (slot >> 32) % self._buckets
                        place = bucket * WAYS + filled.setdefault(bucket, 0)
                        filled[bucket] += 1
                        self._slots[place] = slot

    def put(self, key: int, stamp: int) -> None:
        """Remember that a chunk was last used at `stamp`."""
        fingerprint = key & _HALF
        start = fingerprint % self._buckets * WAYS
        slots = self._slots
        oldest, age = start, -1
        for place in range(start, start + WAYS):
            slot = slots[place]
            if slot == 0 or slot >> 32 == fingerprint:
                oldest = place
                break
            # Stamps are kept modulo 2^32, so that ages are compared and not stamps.
            since = (stamp - slot) & _HALF
            if since > age:
                oldest, age = place, since
        slots[oldest] = fingerprint << 32 | stamp & _HALF

    def take(self, key: int, now: int) -> int | None:
        """Return and forget when a chunk was last used, seen from the stamp `now`."""
        fingerprint = key & _HALF
        start = fingerprint % self._buckets * WAYS
        for place in range(start, start + WAYS):
            slot = self._slots[place]
            if slot >> 32 == fingerprint and slot:
                self._slots[place] = 0
                return now - ((now - slot) & _HALF)
        return None
