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
    placed = policy.admit(7)
    assert placed == Place(0, 7)
    assert policy.touch(placed, 9) == Place(0, 9)
    assert policy.judge(placed, 10) is None


class SecondChance:
    """A policy with two queues: who was used in the first one moves to the second."""

    queues: Sequence[int] = (0, 1)

    def admit(self, stamp: int) -> Place:
        return Place(0, stamp)

    def touch(self, place: Place, stamp: int) -> Place:
        del stamp
        return place._replace(hits=place.hits + 1)

    def judge(self, place: Place, stamp: int) -> Place | None:
        return Place(1, stamp) if place.hits else None


def test_a_policy_may_move_instead_of_evict() -> None:
    used = Candidate(b"u", SecondChance().touch(Place(0, 1), 5), 4)
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
