"""Victims: the oldest first, as many as needed, none that has to stay."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from cacheproxy.core.eviction import Candidate, LeastRecentlyUsed, Place, choose


def candidates(costs: Sequence[int]) -> list[Candidate]:
    return [Candidate(bytes([i]), Place(0, i), cost) for i, cost in enumerate(costs)]


def names(victims: Sequence[Candidate]) -> list[int]:
    return [victim.digest[0] for victim in victims]


def test_the_oldest_go_until_enough_is_found() -> None:
    verdict = choose(
        candidates([5, 5, 5, 5]),
        LeastRecentlyUsed(),
        11,
        evictable=lambda _: True,
        next_stamp=count(100).__next__,
    )
    assert names(verdict.victims) == [0, 1, 2]
    assert (verdict.freed, verdict.moved) == (15, [])


def test_nothing_is_evicted_for_nothing() -> None:
    verdict = choose(
        candidates([5]),
        LeastRecentlyUsed(),
        0,
        evictable=lambda _: True,
        next_stamp=count(100).__next__,
    )
    assert verdict.victims == []


def test_what_has_to_stay_is_passed_over() -> None:
    verdict = choose(
        candidates([5, 5, 5]),
        LeastRecentlyUsed(),
        10,
        evictable=lambda digest: digest != b"\0",
        next_stamp=count(100).__next__,
    )
    assert names(verdict.victims) == [1, 2]


def test_too_little_is_better_than_nothing() -> None:
    verdict = choose(
        candidates([5]),
        LeastRecentlyUsed(),
        100,
        evictable=lambda _: True,
        next_stamp=count(100).__next__,
    )
    assert (names(verdict.victims), verdict.freed) == ([0], 5)


def test_lru_places_by_last_use() -> None:
    policy = LeastRecentlyUsed()
    placed = policy.admit(b"c", 5, 7)
    assert placed == Place(0, 7)
    chunk = Candidate(b"c", placed, 5)
    assert policy.touch(chunk, 9) == Place(0, 9)
    assert policy.judge(chunk, 10) is None


def test_lru_goes_by_age_through_the_queues_that_another_policy_left() -> None:
    policy = LeastRecentlyUsed()
    assert policy.first({0: 5, 1: 4}) == 1
    assert policy.first({0: 3, 1: 4}) == 0
    assert policy.first({1: 4}) == 1
    assert policy.touch(Candidate(b"c", Place(1, 4), 5), 6) == Place(0, 6)
    policy.unpack(b"what another one kept")
    assert policy.pack() == b""


class SecondChance(LeastRecentlyUsed):
    """Who was used moves to the young end once."""

    def touch(self, chunk: Candidate, stamp: int) -> Place:
        del stamp
        return chunk.place._replace(hits=1)

    def judge(self, chunk: Candidate, stamp: int) -> Place | None:
        return Place(1, stamp) if chunk.place.hits else None


def test_a_policy_may_move_instead_of_evict() -> None:
    used = Candidate(b"u", SecondChance().touch(Candidate(b"u", Place(0, 1), 4), 5), 4)
    once = Candidate(b"o", Place(0, 2), 4)
    verdict = choose(
        [used, once],
        SecondChance(),
        4,
        evictable=lambda _: True,
        next_stamp=count(10).__next__,
    )
    assert verdict.moved == [(b"u", Place(1, 10))]
    assert verdict.victims == [once]
