"""The circuit breaker: each line of its table, and what holds whatever happens."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.core.circuit import (
    FAILURES_MAX,
    PAUSE_SECONDS,
    PAUSE_SECONDS_MAX,
    Circuit,
    State,
)

NOW = 100.0


def opened() -> Circuit:
    """Return one that has just opened."""
    circuit = Circuit()
    circuit.failed(NOW, NOW, silent=True)
    assert circuit.state is State.OPEN
    return circuit


def tried() -> Circuit:
    """Return one that has just answered the question."""
    circuit = opened()
    circuit.asked(NOW, well=True)
    assert circuit.state is State.TRIAL
    return circuit


def test_failures_in_a_row_open_it() -> None:
    circuit = Circuit()
    for count in range(FAILURES_MAX):
        assert circuit.usable
        circuit.failed(NOW + count, NOW + count)
    assert not circuit.usable
    assert circuit.ask_at == NOW + FAILURES_MAX - 1  # at once
    assert repr(circuit) == f"<Circuit open, {FAILURES_MAX} failures>"


def test_an_answer_between_failures_starts_the_count_again() -> None:
    circuit = Circuit()
    for count in range(10 * FAILURES_MAX):
        circuit.failed(NOW + count, NOW + count)
        if count % (FAILURES_MAX - 1) == 0:
            circuit.answered(NOW + count + 0.5)
    assert circuit.state is State.CLOSED


def test_silence_opens_it_at_once() -> None:
    assert opened().ask_at == NOW


@pytest.mark.parametrize("silent", [False, True])
def test_one_slow_image_among_others_is_no_failure(silent: bool) -> None:
    circuit = Circuit()
    circuit.answered(NOW)
    for _ in range(2 * FAILURES_MAX):
        circuit.failed(NOW - 60, NOW + 1, silent=silent)
    assert circuit.state is State.CLOSED


def test_what_failed_before_it_was_asked_says_nothing_after() -> None:
    circuit = tried()
    circuit.failed(NOW - 1, NOW + 1, silent=True)
    assert circuit.state is State.TRIAL


@pytest.mark.parametrize("silent", [False, True])
def test_one_failure_ends_a_trial(silent: bool) -> None:
    circuit = tried()
    circuit.failed(NOW, NOW + 1, silent=silent)
    assert circuit.state is State.OPEN
    assert circuit.ask_at == NOW + 1 + PAUSE_SECONDS


def test_an_answer_ends_a_trial_well() -> None:
    circuit = tried()
    circuit.answered(NOW)
    circuit.failed(NOW + 1, NOW + 1)
    assert circuit.state is State.CLOSED


@pytest.mark.parametrize("make", [Circuit, opened, tried])
def test_an_answer_closes_it_from_anywhere(make: type[Circuit]) -> None:
    circuit = make()
    circuit.answered(NOW + 1)
    assert (circuit.state, circuit.ask_at) == (State.CLOSED, math.inf)


def test_the_question_is_asked_ever_less_often() -> None:
    circuit, now, pauses = opened(), NOW, []
    for _ in range(6):
        circuit.asked(now, well=False)
        pauses.append(circuit.ask_at - now)
        now = circuit.ask_at
    assert pauses == [1.0, 2.0, 4.0, PAUSE_SECONDS_MAX, PAUSE_SECONDS_MAX, PAUSE_SECONDS_MAX]


def test_what_answers_only_the_question_is_tried_ever_less_often() -> None:
    circuit, now, pauses = opened(), NOW, []
    for _ in range(5):
        circuit.asked(now, well=True)
        circuit.failed(now, now, silent=True)
        pauses.append(circuit.ask_at - now)
        now = circuit.ask_at
    assert pauses == [1.0, 2.0, 4.0, PAUSE_SECONDS_MAX, PAUSE_SECONDS_MAX]
    circuit.answered(now)
    circuit.failed(now, now, silent=True)
    circuit.asked(now, well=False)
    assert circuit.ask_at == now + PAUSE_SECONDS


def test_who_has_nobody_else_to_ask_hastens_the_question() -> None:
    circuit = opened()
    for _ in range(3):
        circuit.asked(NOW, well=False)
    circuit.hasten(NOW + 0.1)
    assert circuit.ask_at == NOW + PAUSE_SECONDS
    circuit.hasten(NOW + 3)
    assert circuit.ask_at == NOW + PAUSE_SECONDS  # it never moves away
    closed = Circuit()
    closed.hasten(NOW)
    assert closed.ask_at == math.inf


def test_a_late_question_changes_nothing() -> None:
    circuit = opened()
    circuit.answered(NOW + 1)
    circuit.asked(NOW + 2, well=False)
    assert circuit.state is State.CLOSED


HAPPENINGS = st.lists(
    st.tuples(
        st.floats(0, 30),  # seconds since the last one
        st.sampled_from(["answered", "failed", "silent", "well", "ill", "hasten"]),
        st.floats(0, 60),  # how long the request had been under way
    )
)


@given(HAPPENINGS)
def test_whatever_happens(happenings: list[tuple[float, str, float]]) -> None:
    circuit, now, since_heard = Circuit(), NOW, 0
    for pause, what, age in happenings:
        now += pause
        before = circuit.state
        match what:
            case "answered":
                circuit.answered(now)
                assert circuit.state is State.CLOSED
            case "failed" | "silent":
                circuit.failed(now - age, now, silent=what == "silent")
                assert circuit.state is before or circuit.state is State.OPEN
            case "well" | "ill" if before is State.OPEN:  # nobody asks otherwise
                circuit.asked(now, well=what == "well")
                assert circuit.usable == (what == "well")
            case "hasten":
                circuit.hasten(now)
                assert circuit.state is before
            case _:
                continue
        since_heard = 0 if what in {"answered", "well"} else since_heard + (what == "failed")
        if before is not State.OPEN and circuit.state is State.OPEN:
            # Never without a reason: silence, enough failures, or one in a trial.
            assert what == "silent" or since_heard >= FAILURES_MAX or before is State.TRIAL
        # While it is open the next question is always near: it cannot stay open unasked.
        assert (circuit.state is State.OPEN) == (circuit.ask_at < math.inf)
        if circuit.state is State.OPEN and before is not State.OPEN:
            assert circuit.ask_at <= now + PAUSE_SECONDS_MAX


@given(HAPPENINGS)
def test_an_upstream_that_is_well_again_is_used_again(
    happenings: list[tuple[float, str, float]],
) -> None:
    circuit, now = Circuit(), NOW
    for pause, what, age in happenings:
        now += pause
        if what in {"failed", "silent"}:
            circuit.failed(now - age, now, silent=what == "silent")
        elif what == "ill" and not circuit.usable and now >= circuit.ask_at:
            circuit.asked(now, well=False)
    if not circuit.usable:
        now = max(now, circuit.ask_at)
        circuit.asked(now, well=True)
    assert circuit.usable
    circuit.answered(now)
    assert circuit.state is State.CLOSED
