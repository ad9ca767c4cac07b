"""Both policies, whatever is stored and used: the limit holds, and each chunk has one place."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.eviction.cache import SimulatedCache
from bench.eviction.traces import digests
from cacheproxy.core.adaptive import Adaptive
from cacheproxy.core.eviction import Candidate, LeastRecentlyUsed, Place, Policy, choose

CAPACITY = 64
SAMPLE_MAX = 16
NAMES = digests(200)
MAKERS: list[Callable[[], Policy]] = [LeastRecentlyUsed, lambda: Adaptive(CAPACITY, SAMPLE_MAX)]

uses = st.lists(st.tuples(st.integers(0, 199), st.integers(1, 20)), max_size=300)
makers = st.sampled_from(MAKERS)


@given(uses=uses, make=makers, delay=st.integers(1, 50))
def test_the_limit_holds_and_each_chunk_has_one_place(
    uses: list[tuple[int, int]], make: Callable[[], Policy], delay: int
) -> None:
    policy = make()
    cache = SimulatedCache(policy, CAPACITY, NAMES, delay=delay)
    for number, cost in uses:
        if not cache.use(number):
            cache.store(number, cost)
        assert cache.used <= CAPACITY
        assert number in cache
    chunks = cache._chunks.values()
    assert len({chunk.place[:2] for chunk in chunks}) == len(chunks)
    assert cache.used == sum(chunk.cost for chunk in chunks)
    for queue in policy.queues:
        there = [chunk for chunk in chunks if chunk.place.queue == queue]
        assert cache._sums.get(queue, (0, 0)) == (len(there), sum(c.cost for c in there))
    if isinstance(policy, Adaptive):
        assert policy.memory <= 3 * SAMPLE_MAX + 3
        assert policy._ghosts.size <= 8 * max(4, 2 * CAPACITY)
        assert len(policy.pack()) < 64


@given(
    uses=uses,
    make=makers,
    held=st.sets(st.integers(0, 199)),
    wanted=st.integers(1, 100),
    resisting=st.booleans(),
)
def test_what_has_to_stay_stays_and_the_rest_suffices(
    uses: list[tuple[int, int]],
    make: Callable[[], Policy],
    held: set[int],
    wanted: int,
    resisting: bool,
) -> None:
    policy = make()
    if isinstance(policy, Adaptive):
        policy._resisting = resisting
    cache = SimulatedCache(policy, CAPACITY, NAMES)
    for number, cost in uses:
        if not cache.use(number):
            cache.store(number, cost)
    stay = {NAMES[number] for number in held}
    order = list(_in_order(cache, policy))
    assert sorted(order) == sorted(cache._chunks.values())
    verdict = choose(
        order,
        policy,
        wanted,
        evictable=lambda digest: digest not in stay,
        next_stamp=count(10**9).__next__,
    )
    assert not stay.intersection(chunk.digest for chunk in verdict.victims)
    free = sum(chunk.cost for chunk in order if chunk.digest not in stay)
    assert verdict.freed >= min(wanted, free)
    assert verdict.moved == []


def _in_order(cache: SimulatedCache, policy: Policy) -> list[Candidate]:
    """Give all chunks as the store would look at them."""
    policy.survey(cache._sums)
    queues = {
        queue: sorted(
            (chunk for chunk in cache._chunks.values() if chunk.place.queue == queue),
            key=lambda chunk: -chunk.place.stamp,
        )
        for queue in policy.queues
    }
    order: list[Candidate] = []
    while heads := {queue: some[-1].place.stamp for queue, some in queues.items() if some}:
        order.append(queues[policy.first(heads)].pop())
    return order


@given(uses=st.lists(st.integers(0, 40), max_size=400), delay=st.integers(1, 50))
def test_without_resistance_it_is_exactly_lru(uses: list[int], delay: int) -> None:
    adaptive = Adaptive(10)
    ours = SimulatedCache(adaptive, 10, NAMES, delay=delay)
    lru = SimulatedCache(LeastRecentlyUsed(), 10, NAMES, delay=delay)
    for number in uses:
        if adaptive.resisting:
            return
        for cache in (ours, lru):
            if not cache.use(number):
                cache.store(number, 1)
        if not adaptive.resisting:
            assert ours._chunks.keys() == lru._chunks.keys()


@pytest.mark.parametrize("kept", [b"", b"\1" * 18, b"\1" * 17])
def test_any_kept_state_leaves_a_policy_that_works(kept: bytes) -> None:
    policy = Adaptive(10)
    policy.unpack(kept)
    cache = SimulatedCache(policy, 10, NAMES)
    assert cache.run(range(100)) == 100
    assert isinstance(policy.admit(NAMES[0], 1, 10**6), Place)
