"""The default policy: LRU until resisting scans would have fetched less, and bounded memory."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable

import pytest

from bench.eviction.cache import SimulatedCache
from bench.eviction.traces import digests
from cacheproxy.core import adaptive
from cacheproxy.core.adaptive import PROBATION, PROVEN, Adaptive
from cacheproxy.core.eviction import Candidate, LeastRecentlyUsed, Place, Policy

HOT = 60
CAPACITY = 100


def misses(policy: Policy, uses: Iterable[int], capacity: int = CAPACITY) -> int:
    return SimulatedCache(policy, capacity, digests(20_000)).run(uses)


def hot_and_scans(rounds: int) -> list[int]:
    """Some chunks are used again and again, many others once each."""
    draw = random.Random(1)
    once = iter(range(HOT, 20_000))
    uses: list[int] = []
    for _ in range(rounds):
        uses.extend(draw.randrange(HOT) for _ in range(2 * HOT))
        uses.extend(next(once) for _ in range(2 * CAPACITY))
    return uses


def working_sets(length: int) -> list[int]:
    """Only what was used lately is used again: nothing is better than LRU."""
    draw = random.Random(2)
    return [i // 4 + draw.randrange(80) for i in range(length)]


def test_scans_are_resisted() -> None:
    uses = hot_and_scans(40)
    policy = Adaptive(CAPACITY)
    assert misses(policy, uses) < 0.85 * misses(LeastRecentlyUsed(), uses)
    assert policy.resisting


def test_where_lru_is_best_it_is_lru() -> None:
    uses = working_sets(20_000)
    policy = Adaptive(CAPACITY)
    assert misses(policy, uses) == misses(LeastRecentlyUsed(), uses)
    assert not policy.resisting


def test_a_loop_longer_than_the_cache_hits() -> None:
    uses = [i % (2 * CAPACITY) for i in range(40_000)]
    assert misses(LeastRecentlyUsed(), uses) == len(uses)
    assert misses(Adaptive(CAPACITY), uses) < 0.75 * len(uses)


def test_resistance_ends_when_it_loses() -> None:
    policy = Adaptive(CAPACITY)
    cache = SimulatedCache(policy, CAPACITY, digests(20_000))
    cache.run(hot_and_scans(40))
    assert policy.resisting
    cache.run(working_sets(8000))
    assert not policy.resisting


def test_a_use_soon_after_the_last_is_a_part_of_it() -> None:
    """A scan that reads each chunk in several pieces is a scan."""
    policy = Adaptive(CAPACITY)
    cache = SimulatedCache(policy, CAPACITY, digests(20_000))
    cache.run(use for use in hot_and_scans(40) for _ in range(3))
    assert policy.resisting
    assert sum(number in cache for number in range(HOT)) > 0.9 * HOT


def test_late_news_of_uses_change_little() -> None:
    uses = hot_and_scans(40)
    policy = Adaptive(CAPACITY)
    late = SimulatedCache(policy, CAPACITY, digests(20_000), delay=50).run(uses)
    assert policy.resisting
    assert late < 1.05 * misses(Adaptive(CAPACITY), uses)


def test_a_sample_is_enough() -> None:
    """As with a cache of a million chunks, of which some thousand are watched."""
    draw = random.Random(3)
    once = iter(range(2000, 10**9))
    uses: list[int] = []
    for _ in range(30):
        uses.extend(draw.randrange(1500) for _ in range(3000))
        uses.extend(next(once) for _ in range(5000))
    names = digests(2000 + 30 * 5000)
    policy = Adaptive(2500, sample_max=256)
    sampled = SimulatedCache(policy, 2500, names).run(uses)
    assert policy.memory <= 3 * 257
    assert policy.resisting
    assert sampled < 0.9 * SimulatedCache(LeastRecentlyUsed(), 2500, names).run(uses)


def digest(number: int) -> bytes:
    return hashlib.sha256(number.to_bytes(8, "little")).digest()


def full(policy: Adaptive) -> None:
    """Let the policy see a cache that is full, and that resists scans."""
    policy.survey({PROBATION: (50, 50), PROVEN: (50, 50)})


def test_what_was_learned_survives_a_restart() -> None:
    uses = hot_and_scans(40)
    before = Adaptive(CAPACITY)
    misses(before, uses)
    after = Adaptive(CAPACITY)
    after.unpack(before.pack())
    assert after.resisting
    full(after)
    assert after.pack() == before.pack()
    assert after.admit(digest(99), 1, 10**6).queue == PROBATION


@pytest.mark.parametrize("packed", [b"", b"\x02", b"\x01", bytes([9]) * 18])
def test_what_was_kept_otherwise_is_passed_over(packed: bytes) -> None:
    policy = Adaptive(CAPACITY)
    fresh = policy.pack()
    policy.unpack(packed)
    policy.unpack(fresh + b"x")
    assert policy.pack() == fresh


def test_a_cache_that_outlives_its_shadows_is_not_taken_for_better() -> None:
    """After a restart hits that the shadow cannot know earn nothing."""
    policy = Adaptive(CAPACITY)
    full(policy)
    for i in range(90):
        policy.touch(Candidate(digest(i), Place(PROBATION, i), 1), 1000 + i)
    assert policy._behind == 0


def test_the_probation_queue_is_never_starved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every new chunk proven: proven ones go first then."""
    monkeypatch.setattr(adaptive, "SETTLE_ONE_IN", 1)
    policy = Adaptive(CAPACITY)
    full(policy)
    policy._resisting = True
    policy.survey({PROBATION: (5, 5), PROVEN: (95, 95)})
    assert policy.first({PROBATION: 1, PROVEN: 2}) == PROVEN
    policy.survey({PROBATION: (15, 15), PROVEN: (85, 85)})
    assert policy.first({PROBATION: 1, PROVEN: 2}) == PROBATION
