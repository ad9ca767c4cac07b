"""The optimum: evict what is used again last.  It knows the future; no policy can fetch less."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Sequence


def next_uses(uses: Sequence[int], blocks: int) -> array[int]:
    """Say for each use when the same block is used again; the length where it is not."""
    upcoming = array("I", bytes(4 * len(uses)))
    next_of = array("I", [len(uses)]) * blocks
    for i in range(len(uses) - 1, -1, -1):
        block = uses[i]
        upcoming[i] = next_of[block]
        next_of[block] = i
    return upcoming


def optimum(uses: Sequence[int], upcoming: Sequence[int], blocks: int, capacity: int) -> int:
    """Count the misses of a cache of `capacity` blocks that knows the next uses."""
    next_of = array("I", bytes(4 * blocks))  # 0: not in the cache
    heap: list[int] = []  # -(next use * blocks + block), outdated ones included
    held = misses = 0
    limit = 4 * capacity + 64
    for block, upcoming_use in zip(uses, upcoming, strict=True):
        if not next_of[block]:
            misses += 1
            if held == capacity:
                while True:
                    use, victim = divmod(-heapq.heappop(heap), blocks)
                    if next_of[victim] == use:
                        break
                next_of[victim] = 0
            else:
                held += 1
        next_of[block] = upcoming_use
        heapq.heappush(heap, -(upcoming_use * blocks + block))
        if len(heap) > limit:
            heap = [-(use * blocks + b) for b, use in enumerate(next_of) if use]
            heapq.heapify(heap)
            limit = max(limit, 2 * len(heap))
    return misses
