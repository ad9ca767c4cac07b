"""A cache that keeps no bytes, around the eviction policy that the store uses.

It does with places what the store's index does: chunks stand by (queue, stamp), uses are noted, and
told to the policy in batches, each chunk's last one only; a chunk at the old end that has a noted
use gets its new place instead of being judged.  The clock is the count of uses.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

from cacheproxy.core.eviction import Candidate, Place, Policy


class SimulatedCache:
    """Chunks by number; all of the same cost unless told otherwise."""

    def __init__(
        self, policy: Policy, capacity: int, digests: Sequence[bytes], *, delay: int = 1
    ) -> None:
        """Hold up to `capacity` bytes; tell the policy of a use up to `delay` uses late."""
        self._policy = policy
        self._capacity = capacity
        self._digests = digests
        self._delay = delay
        self._chunks: dict[int, Candidate] = {}
        self._orders: dict[int, list[tuple[int, int]]] = {queue: [] for queue in policy.queues}
        self._sums: dict[int, tuple[int, int]] = {}
        self._used = 0
        self._stamp = 0
        self._noted: dict[int, int] = {}
        self._noted_since = 0

    def __contains__(self, number: int) -> bool:
        return number in self._chunks

    @property
    def used(self) -> int:
        """Bytes that it holds."""
        return self._used

    def run(self, uses: Iterable[int]) -> int:
        """Use chunks of cost 1, storing those that are not there; how many were not."""
        chunks, noted, delay = self._chunks, self._noted, self._delay
        misses = 0
        for number in uses:
            if number in chunks:
                self._stamp = stamp = self._stamp + 1
                noted.pop(number, None)
                noted[number] = stamp
                if stamp - self._noted_since >= delay:
                    self._tell()
            else:
                misses += 1
                self.store(number, 1)
        return misses

    def use(self, number: int) -> bool:
        """Use a chunk; False if it is not there."""
        if number not in self._chunks:
            return False
        self._stamp += 1
        self._noted.pop(number, None)
        self._noted[number] = self._stamp
        if self._stamp - self._noted_since >= self._delay:
            self._tell()
        return True

    def store(self, number: int, cost: int) -> None:
        """Store a chunk that is not there."""
        if self._used + cost > self._capacity:
            self._evict(cost)
        self._stamp += 1
        digest = self._digests[number]
        place = self._policy.admit(digest, cost, self._stamp)
        self._place(number, Candidate(digest, place, cost))
        self._used += cost

    def _tell(self) -> None:
        for number, stamp in self._noted.items():
            self._renew(number, stamp)
        self._noted.clear()
        self._noted_since = self._stamp

    def _renew(self, number: int, stamp: int) -> None:
        chunk = self._chunks[number]
        place = self._policy.touch(chunk, stamp)
        self._forget(chunk)
        self._place(number, chunk._replace(place=place))

    def _place(self, number: int, chunk: Candidate) -> None:
        self._chunks[number] = chunk
        queue = chunk.place.queue
        heapq.heappush(self._orders[queue], (chunk.place.stamp, number))
        count, cost = self._sums.get(queue, (0, 0))
        self._sums[queue] = (count + 1, cost + chunk.cost)

    def _forget(self, chunk: Candidate) -> None:
        count, cost = self._sums[chunk.place.queue]
        self._sums[chunk.place.queue] = (count - 1, cost - chunk.cost)

    def _evict(self, cost: int) -> None:
        """Make room, as the store searches for victims."""
        policy, chunks, orders = self._policy, self._chunks, self._orders
        policy.survey(self._sums)
        while self._used + cost > self._capacity:
            heads: dict[int, int] = {}
            for queue, order in orders.items():
                while order:
                    stamp, number = order[0]
                    chunk = chunks.get(number)
                    if chunk is not None and chunk.place == (queue, stamp, chunk.place.hits):
                        heads[queue] = stamp
                        break
                    heapq.heappop(order)  # it has another place by now
            _, number = heapq.heappop(orders[policy.first(heads)])
            if (noted := self._noted.pop(number, None)) is not None:
                self._renew(number, noted)
                continue
            chunk = chunks[number]
            self._stamp += 1
            place: Place | None = policy.judge(chunk, self._stamp)
            self._forget(chunk)
            if place is None:
                del chunks[number]
                self._used -= chunk.cost
            else:
                self._place(number, chunk._replace(place=place))
