"""The default policy: recency, and resistance to scans where that would have fetched less.  Pure.

Chunks stand in two queues, both in order of their last use: on *probation*, and *proven*, those used
again soon (see `ReuseShadow`, whose horizon says what soon is).  With `resisting` off the older of
the two heads goes: that is exactly LRU.  With it on, probation goes first, and proven chunks only
when they were unused for longer than the horizon or take more than their share.

Both ways are tried all the time on a sample of the uses, in two shadows.  Resistance is taken up
only after it would have saved a good part of the cache's size, more after each error and the more
the cache lies behind LRU, and dropped as soon as it loses: so a workload that LRU serves best gets
LRU.

Where a source cannot do ranges, a lost head costs a short read and a lost tail all of it: a read
from beginning to end leaves the head the oldest, so heads go first by themselves.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from cacheproxy.core.eviction import Candidate, Place
from cacheproxy.core.ghosts import Ghosts
from cacheproxy.core.shadows import PROVEN_SHARE, RecencyShadow, ReuseShadow

PROBATION = 0
PROVEN = 1

CORRELATED_SHARE = 0.05  # of the chunks: a use so soon after the last one is a part of it
SAMPLE_MAX = 8192  # chunks in a shadow; more, and a smaller share of all chunks is sampled
GAIN_SHARE = 0.1  # of the cache's bytes, to have been saved before resistance is taken up
GAIN_EACH = 0.01  # of what LRU fetches, that has to be saved at the least
LOSS_SHARE = 0.1  # of the cache's bytes: a loss that ends resistance
BEHIND_SHARE = 0.003  # of what LRU fetches: falling behind it by more ends resistance
BEHIND_WEIGHT = 4.0  # how often what the cache lies behind LRU has to be saved first
EARLY_SHARE = 0.2  # of the cache's bytes, to have been saved in addition while little was fetched
CAUTION_STEP = 4.0  # by how much a loss raises what is asked for
CAUTION_MAX = 64.0
MEMORY_TURNS = 100  # how often the cache is filled anew until old gains count half
SETTLE_ONE_IN = 16  # new chunks taken as proven while resistance has too few of them

_STATE = struct.Struct("<B?dq")
_VERSION = 1


class Adaptive:
    """Evicts like LRU or resists scans, whichever would have fetched less."""

    queues: Sequence[int] = (PROBATION, PROVEN)

    def __init__(self, capacity: int, sample_max: int = SAMPLE_MAX) -> None:
        """`capacity`: bytes that about fit; what does is learned when the cache is full."""
        self._sample_max = sample_max
        self._mask = 0  # sampled are keys without these bits
        self._recency = RecencyShadow()
        self._reuse = ReuseShadow()
        self._ghosts = Ghosts()
        self._capacity = capacity
        self._correlated = 0.0  # stamps
        self._proven_bytes = 0
        self._proven_share = capacity * PROVEN_SHARE  # bytes
        self._settling = 0  # new chunks of a time with too few proven ones
        self._kept_horizon = -1  # of the last run, until there is one again
        self._resisting = False
        self._evidence = 0.0  # bytes saved or lost by the other way, since it last was the worse
        self._behind = 0.0  # bytes that the cache fetched and the LRU shadow did not
        self._behind_before = 0.0  # when resistance was taken up
        self._fetched = 0.0  # bytes that the LRU shadow fetched
        self._caution = 1.0

    def __repr__(self) -> str:
        return (
            f"<Adaptive resisting={self._resisting} sampling 1/{self._mask + 1}"
            f" behind={self._behind:.0f} {self._ghosts!r}>"
        )

    @property
    def resisting(self) -> bool:
        """Whether scans are resisted now."""
        return self._resisting

    @property
    def memory(self) -> int:
        """Names that are kept in memory, whatever the cache holds."""
        return len(self._recency) + 2 * len(self._reuse)

    # --- places -----------------------------------------------------------------------------------

    def admit(self, digest: bytes, cost: int, stamp: int) -> Place:
        """Place a chunk that was just stored."""
        key = int.from_bytes(digest[:8], "little")
        horizon = self._horizon(cost)
        last = self._ghosts.take(key, stamp)
        proven = last is not None and last > horizon
        if not proven and self._resisting and self._proven_bytes < self._proven_share:
            # A loop far longer than the cache proves nothing; some of it is kept nevertheless.
            self._settling += 1
            proven = self._settling % SETTLE_ONE_IN == 0
        if proven or horizon < 0:
            self._proven_bytes += cost
            place = Place(PROVEN, stamp)
        else:
            place = Place(PROBATION, stamp)
        if not key & self._mask:
            self._observe(key, cost, stamp, fetched=True)
        return place

    def touch(self, chunk: Candidate, stamp: int) -> Place:
        """Place a chunk that was used at `stamp`."""
        digest, place, cost = chunk
        key = int.from_bytes(digest[:8], "little")
        horizon = self._horizon(cost)
        if not key & self._mask:
            self._observe(key, cost, stamp, fetched=False)
        apart = stamp - place.stamp > self._correlated
        proven = place.stamp >= horizon and (place.queue == PROVEN or apart or horizon < 0)
        return Place(PROVEN if proven else PROBATION, stamp)

    # --- victims ----------------------------------------------------------------------------------

    def survey(self, sums: Mapping[int, tuple[int, int]]) -> None:
        """Learn how much there is: the cache is full, or it would not be searched."""
        some, some_bytes = sums.get(PROBATION, (0, 0))
        others, self._proven_bytes = sums.get(PROVEN, (0, 0))
        chunks = some + others
        self._capacity = some_bytes + self._proven_bytes
        self._proven_share = self._capacity * PROVEN_SHARE
        self._correlated = chunks * CORRELATED_SHARE
        self._ghosts.grow(chunks)

    def first(self, heads: Mapping[int, int]) -> int:
        """Choose the queue to look at next."""
        if len(heads) == 1:
            return next(iter(heads))
        probation, proven = heads[PROBATION], heads[PROVEN]
        if not self._resisting:
            return PROBATION if probation < proven else PROVEN
        lapsed = proven < self._reuse.horizon
        return PROVEN if lapsed or self._proven_bytes > self._proven_share else PROBATION

    def judge(self, chunk: Candidate, stamp: int) -> None:
        """Evict it, and remember that it was there."""
        del stamp
        digest, place, cost = chunk
        if place.queue == PROVEN:
            self._proven_bytes -= cost
        self._ghosts.put(int.from_bytes(digest[:8], "little"), place.stamp)

    # --- the contest ------------------------------------------------------------------------------

    def _horizon(self, cost: int) -> int:
        """Since when a chunk must have been used to be proven by a use now; -1: any will do."""
        if self._reuse.spacious(cost, self._capacity / (self._mask + 1)):
            return self._kept_horizon
        return self._reuse.horizon

    def _observe(self, key: int, cost: int, stamp: int, *, fetched: bool) -> None:
        """Let both shadows see a use, which the cache had to fetch or not, and see what follows."""
        capacity = self._capacity / (self._mask + 1)
        by_recency = self._recency.access(key, cost, capacity)
        by_reuse = self._reuse.access(key, cost, stamp, capacity, self._correlated)
        if self._recency.full:
            self._behind += (fetched - (not by_recency)) * cost
        if by_recency and by_reuse:
            return
        if not by_recency:
            self._fetched += cost
            if self._fetched > MEMORY_TURNS * capacity:
                self._fade()
        saved = (by_reuse - by_recency) * cost
        if self._resisting:
            self._evidence = max(0.0, self._evidence - saved)
            lost = self._behind - max(0.0, self._behind_before)
            if lost > BEHIND_SHARE * self._fetched or self._evidence >= max(
                cost, LOSS_SHARE * capacity
            ):
                self._drop()
        else:
            asked = 0.0 if by_recency else GAIN_EACH * cost
            self._evidence = max(0.0, self._evidence + saved - asked)
            if self._evidence >= max(cost, self._needed(capacity)):
                self._resisting = True
                self._evidence, self._behind_before = 0.0, self._behind
        if max(len(self._recency), len(self._reuse)) > self._sample_max:
            self._thin()

    def _needed(self, capacity: float) -> float:
        """How much resistance has to have saved before it is taken up.

        An error costs a part of the cache's size.  That counts for most when little was fetched yet,
        and it is more likely where one was made before.
        """
        early = max(0.0, EARLY_SHARE * capacity - GAIN_EACH * self._fetched)
        return (
            GAIN_SHARE * capacity * self._caution + early + BEHIND_WEIGHT * max(0.0, self._behind)
        )

    def _drop(self) -> None:
        self._resisting, self._evidence = False, 0.0
        lost = self._behind > self._behind_before
        caution = self._caution * (CAUTION_STEP if lost else 1 / CAUTION_STEP)
        self._caution = min(max(1.0, caution), CAUTION_MAX)

    def _fade(self) -> None:
        self._fetched /= 2
        self._behind /= 2
        self._behind_before /= 2

    def _thin(self) -> None:
        """Sample half as many chunks from now on, and of those that are known."""
        self._mask = 2 * self._mask + 1
        self._recency.thin(self._mask)
        self._reuse.thin(self._mask)
        self._evidence /= 2
        self._fade()

    # --- restarts ---------------------------------------------------------------------------------

    def pack(self) -> bytes:
        """Return what should outlive a restart: the mode, the caution, the horizon."""
        return _STATE.pack(_VERSION, self._resisting, self._caution, self._horizon(1))

    def unpack(self, packed: bytes) -> None:
        """Take up what `pack` gave; anything else is passed over."""
        if len(packed) != _STATE.size or packed[0] != _VERSION:
            return
        _, self._resisting, caution, self._kept_horizon = _STATE.unpack(packed)
        self._caution = min(max(1.0, caution), CAUTION_MAX)
