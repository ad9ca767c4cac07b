"""How long somebody who failed is left alone."""

from __future__ import annotations

from cacheproxy.core.setback import PAUSE_SECONDS, PAUSE_SECONDS_MAX, Setback


def test_pauses_double_until_something_ends_well() -> None:
    setback, now, pauses = Setback(), 100.0, []
    assert setback.usable(now)
    for number in range(9):
        assert setback.failed(now, now, f"why {number}") is (number == 0)
        assert setback.trouble == f"why {number}"
        began = now
        while not setback.usable(now):
            now += PAUSE_SECONDS / 2
        pauses.append(now - began)
    assert pauses[:4] == [1, 2, 4, 8]
    assert pauses[-2:] == [PAUSE_SECONDS_MAX, PAUSE_SECONDS_MAX]
    assert setback.worked(now)
    assert (setback.trouble, setback.usable(now)) == (None, True)
    assert not setback.worked(now)
    assert setback.failed(now, now, "again")
    assert setback.usable(now + PAUSE_SECONDS)


def test_after_a_pause_one_tries_for_all() -> None:
    setback, now = Setback(), 100.0
    setback.tried(now)
    assert setback.usable(now)  # nothing is known against him
    setback.failed(now, now, "why")
    now += PAUSE_SECONDS
    assert setback.usable(now)
    setback.tried(now)
    assert not setback.usable(now)
    assert setback.usable(now + 2 * PAUSE_SECONDS)  # should he who tried have left
    assert setback.worked(now)
    assert setback.usable(now)


def test_what_began_before_the_last_failure_says_nothing() -> None:
    setback = Setback()
    assert setback.failed(10.0, 12.0, "first")
    assert not setback.failed(11.0, 13.0, "of the same moment")
    assert (setback.trouble, setback.usable(12.0 + PAUSE_SECONDS)) == ("first", True)
    assert not setback.worked(11.0)
    assert setback.trouble == "first"
    assert setback.worked(12.5)
