"""Rounds in turn, and what is said of their ratios."""

from __future__ import annotations

import itertools
from math import comb

import pytest

from bench.rounds import COVERAGE, Ratio, Rounds, alternated, outer, share_stolen, stolen_ticks


def covered(count: int, skipped: int) -> float:
    """Return how sure it is that the median lies between the values left by skipping at each end."""
    outside = sum(comb(count, k) for k in range(skipped + 1))
    return 1 - outside / float(1 << count - 1)


@pytest.mark.parametrize("count", range(5, 60))
def test_the_interval_is_the_narrowest_that_covers(count: int) -> None:
    skipped = outer(count)
    assert covered(count, skipped) >= COVERAGE
    assert covered(count, skipped + 1) < COVERAGE


@pytest.mark.parametrize("count", range(1, 5))
def test_few_rounds_are_all_of_the_interval(count: int) -> None:
    assert outer(count) == 0


def test_nine_pairs() -> None:
    ratio = Ratio.of([9.0, 1.0, 8.0, 2.0, 7.0, 3.0, 6.0, 4.0, 5.0])
    assert ratio == Ratio(median=5.0, low=2.0, high=8.0, least=1.0, most=9.0)
    assert str(ratio) == "5.00 [2.00, 8.00]"


def test_one_pair() -> None:
    assert Ratio.of([2.0]) == Ratio(2.0, 2.0, 2.0, 2.0, 2.0)


def test_ratios_are_of_pairs_and_not_of_medians() -> None:
    ours = [{"rate": value} for value in (1.0, 20.0, 300.0)]
    theirs = [{"rate": value} for value in (10.0, 100.0, 100.0)]
    rounds = Rounds((ours, theirs))
    assert rounds.ratio("rate").median == 0.2
    assert rounds.ratio("rate", over=1, under=0).median == 5.0
    assert rounds.median(0, "rate") == 20.0


def test_nothing_used_is_no_ratio() -> None:
    assert Rounds(([{"cpu": 1.0}], [{"cpu": 0.0}])).ratio("cpu").median == float("inf")


def test_the_first_side_changes() -> None:
    turns = itertools.count(1)
    found = alternated([lambda: {"turn": next(turns)}] * 2, 4, stolen=lambda: [(0, 0)])
    assert found.values(0, "turn") == [1, 4, 5, 8]
    assert found.values(1, "turn") == [2, 3, 6, 7]
    assert found.thrown_away == 0


def test_each_of_three_sides_is_first_equally_often() -> None:
    order: list[int] = []

    def side(number: int) -> dict[str, float]:
        order.append(number)
        return {}

    alternated([lambda n=n: side(n) for n in range(3)], 3, stolen=lambda: [(0, 0)])  # type: ignore[misc]  # mypy sees no default
    assert [order[0], order[3], order[6]] == [0, 1, 2]
    assert sorted(order[:3]) == sorted(order[3:6]) == sorted(order[6:]) == [0, 1, 2]


def test_a_round_with_steal_is_repeated() -> None:
    # Four readings a round: before and after each of two sides.  In the second, a tenth is stolen.
    readings = iter(
        [
            *([(0, 0)], [(0, 100)], [(0, 100)], [(4, 200)]),
            *([(4, 200)], [(14, 300)], [(14, 300)], [(14, 400)]),
            *([(14, 400)], [(14, 500)], [(14, 500)], [(14, 600)]),
        ]
    )
    turns = itertools.count()
    sides = [lambda: {"turn": next(turns)}] * 2
    found = alternated(sides, 2, stolen=lambda: next(readings))
    assert found.thrown_away == 1
    assert found.stolen == [0.04, 0.0]
    assert [found.values(side, "turn") for side in (0, 1)] == [[0, 5], [1, 4]]


def test_steal_without_end_is_borne_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    clock = itertools.count()
    found = alternated([dict[str, float]], 3, what="x", stolen=lambda: [(next(clock), 2)] * 2)
    assert found.thrown_away == 0, "no time passed: nothing to compare"
    ticks = itertools.count()

    def stolen() -> list[tuple[int, int]]:
        now = next(ticks)
        return [(now, 2 * now)]

    found = alternated([dict[str, float]], 3, what="x", stolen=stolen)
    assert found.thrown_away == 3
    assert found.stolen == [0.5] * 3
    assert "of those kept 3 have more than 5%, the worst 50.0%" in found.note()
    assert "thrown away" in capsys.readouterr().err


def test_the_core_that_lost_most_counts() -> None:
    assert share_stolen([(0, 0), (5, 50)], [(1, 100), (25, 150)]) == 0.2


def test_the_kernel_tells_steal() -> None:
    cores = stolen_ticks()
    assert cores
    assert all(0 <= taken <= total for taken, total in cores)
