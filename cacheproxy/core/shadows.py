"""Small models of the cache under two rules, fed with a sample of what is used.  Pure.

A shadow holds names, costs and stamps, no bytes.  Which rule would have fetched less is seen here
without trying it on the cache: a sample by the digest's own bits is a cache of the same shape, only
smaller (its capacity is the same share of the cache's as its chunks are of all chunks).
"""

from __future__ import annotations

from collections import OrderedDict

PROVEN_SHARE = 0.9  # of the capacity; the rest is for chunks not seen to be used again soon

_Seen = tuple[int, int]  # stamp of the last use, cost


class RecencyShadow:
    """What a cache would hold that evicts the least recently used."""

    def __init__(self) -> None:
        self._costs: OrderedDict[int, int] = OrderedDict()  # the oldest first
        self._used = 0
        self.full = (
            False  # has been; before, it knows less than the cache, which outlives a restart
        )

    def __len__(self) -> int:
        return len(self._costs)

    def access(self, key: int, cost: int, capacity: float) -> bool:
        """Use a chunk; whether it was there."""
        costs = self._costs
        before = costs.pop(key, 0)
        costs[key] = cost
        self._used += cost - before
        while self._used > capacity and len(costs) > 1:
            self._used -= costs.popitem(last=False)[1]
            self.full = True
        return before > 0

    def thin(self, mask: int) -> None:
        """Keep only what is in a smaller sample."""
        self._costs = OrderedDict(item for item in self._costs.items() if not item[0] & mask)
        self._used = sum(self._costs.values())


class ReuseShadow:
    """What a cache would hold that keeps what is used again soon.

    Most of the room is for *proven* chunks: those that were used twice, with less in between than
    the longest unused proven chunk has waited (as LIRS compares them).  The others are on
    *probation* in the rest, and a scan passes through there.
    """

    def __init__(self) -> None:
        self._probation: OrderedDict[int, _Seen] = OrderedDict()  # each the oldest first
        self._proven: OrderedDict[int, _Seen] = OrderedDict()
        self._gone: OrderedDict[int, int] = OrderedDict()  # → stamp of the last use
        self._probation_used = 0
        self._proven_used = 0
        self.horizon = 0  # of the longest unused proven chunk, the stamp of its last use

    def __len__(self) -> int:
        return len(self._probation) + len(self._proven)

    def spacious(self, cost: int, capacity: float) -> bool:
        """Whether there is still room for proven chunks, so that any will do."""
        return self._proven_used + cost <= capacity * PROVEN_SHARE

    def access(self, key: int, cost: int, stamp: int, capacity: float, correlated: float) -> bool:
        """Use a chunk; whether it was there.

        A use by less than `correlated` stamps after the last one is a part of it, and proves nothing.
        """
        if (seen := self._proven.pop(key, None)) is not None:
            self._proven_used -= seen[1]
            proven = there = True
        elif (seen := self._probation.pop(key, None)) is not None:
            self._probation_used -= seen[1]
            proven = (seen[0] > self.horizon and stamp - seen[0] > correlated) or self.spacious(
                cost, capacity
            )
            there = True
        else:
            last = self._gone.pop(key, 0)
            proven = last > self.horizon or self.spacious(cost, capacity)
            there = False
        if proven:
            self._proven[key] = (stamp, cost)
            self._proven_used += cost
        else:
            self._probation[key] = (stamp, cost)
            self._probation_used += cost
        while self._probation_used + self._proven_used > capacity and len(self) > 1:
            self._evict(capacity)
        if self._proven:
            self.horizon = next(iter(self._proven.values()))[0]
        return there

    def _evict(self, capacity: float) -> None:
        if self._probation and self._proven_used <= capacity * PROVEN_SHARE:
            key, (stamp, cost) = self._probation.popitem(last=False)
            self._probation_used -= cost
        else:
            key, (stamp, cost) = self._proven.popitem(last=False)
            self._proven_used -= cost
        self._gone[key] = stamp
        while len(self._gone) > len(self):
            self._gone.popitem(last=False)

    def thin(self, mask: int) -> None:
        """Keep only what is in a smaller sample."""
        self._probation = OrderedDict(i for i in self._probation.items() if not i[0] & mask)
        self._proven = OrderedDict(i for i in self._proven.items() if not i[0] & mask)
        self._gone = OrderedDict(i for i in self._gone.items() if not i[0] & mask)
        self._probation_used = sum(cost for _, cost in self._probation.values())
        self._proven_used = sum(cost for _, cost in self._proven.values())
