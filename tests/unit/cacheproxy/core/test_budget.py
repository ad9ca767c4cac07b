"""So much per second, no more, and little saved up."""

from __future__ import annotations

import pytest

from cacheproxy.core.budget import BURST_SECONDS, Budget


def test_what_is_spent_is_waited_for() -> None:
    budget = Budget(10)
    assert budget.spend(10 * BURST_SECONDS, now=100) == 0
    assert budget.spend(5, now=100) == 0.5
    assert budget.spend(5, now=100.5) == 0.5


def test_long_idleness_saves_up_one_burst() -> None:
    budget = Budget(10)
    assert budget.spend(0, now=0) == 0
    assert budget.spend(30, now=1000) == pytest.approx(3 - BURST_SECONDS)


def test_the_average_holds_whatever_the_pieces() -> None:
    budget, now, spent = Budget(1000), 0.0, 0
    for size in (1, 5000, 0, 77, 4000, 3) * 50:
        now += budget.spend(size, now)
        spent += size
    assert spent <= 1000 * (now + BURST_SECONDS) + 1
    assert spent >= 1000 * now
