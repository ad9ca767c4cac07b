"""Bars, and when they are met."""

from __future__ import annotations

import pytest

from bench.bars import BARS, Bar
from bench.rounds import Ratio


@pytest.mark.parametrize(
    ("at_most", "low", "high", "met"),
    [
        (False, 0.8, 1.0, True),
        (False, 0.8, 0.99, False),
        (True, 1.0, 1.3, True),
        (True, 1.01, 1.3, False),
    ],
)
def test_a_bar_is_met_if_the_interval_reaches_it(
    at_most: bool, low: float, high: float, met: bool
) -> None:
    assert Bar("x", "x", 1.0, 1.2, at_most).met(low, high) is met


def test_what_is_aimed_at_lies_beyond_the_bar() -> None:
    for bar in BARS.values():
        assert bar.aim <= bar.limit if bar.at_most else bar.aim >= bar.limit


def test_a_verdict_tells_all() -> None:
    found = Ratio(0.9, 0.8, 0.95, 0.7, 1.1)
    verdict = BARS["hit-whole-1"].judge(found, "varnish")
    assert not verdict.met
    assert str(verdict).endswith("(against varnish): 0.9 [0.8, 0.95], bar ≥ 1: NOT MET")
