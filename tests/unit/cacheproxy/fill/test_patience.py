"""How long a source that fails is asked."""

from __future__ import annotations

from cacheproxy.fill.patience import (
    ATTEMPTS_MAX,
    BACKOFF_SECONDS_MAX,
    FRUITLESS_SECONDS_MAX,
    Patience,
)


def test_it_ends_after_failures_in_a_row_with_longer_and_longer_waits() -> None:
    patience = Patience(0.0)
    waits = [patience.failed(1.0) for _ in range(ATTEMPTS_MAX)]
    assert waits[-1] is None
    assert waits[:-1] == [0.2, 0.4, 0.8, 1.6]


def test_whatever_lands_between_begins_anew() -> None:
    patience = Patience(0.0)
    for now in range(1000):
        assert patience.failed(now) == 0.2
        patience.fruitful(now)
    assert 0.2 * 2**ATTEMPTS_MAX > BACKOFF_SECONDS_MAX


def test_a_source_that_stalls_has_less_time_than_attempts() -> None:
    patience = Patience(0.0)
    patience.asked(5000.0)  # nothing was asked for before
    assert patience.failed(5000.0 + FRUITLESS_SECONDS_MAX - 1) is not None
    patience.asked(5000.0 + FRUITLESS_SECONDS_MAX)
    assert patience.failed(5000.0 + FRUITLESS_SECONDS_MAX) is None
