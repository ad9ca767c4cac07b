"""The states of the disk's health: each line of the table, and what holds whatever happens."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.core.health import (
    ERRORS_MAX,
    ERRORS_SECONDS,
    HOLD_SECONDS,
    HOLD_SECONDS_MAX,
    PROBES,
    RELAPSE_SECONDS,
    Fault,
    Health,
    State,
)

START = 100.0
RANK = {State.BYPASS: 0, State.DEGRADED: 1, State.NORMAL: 2}


def ill(fault: Fault, now: float = START) -> Health:
    """Return one that this fault has just led away from normal."""
    health = Health(START - 1000)
    while not health.failed(fault, now):
        pass
    return health


def probe(health: Health, fault: Fault | None, now: float) -> float:
    """Probe each second until the state changes; returns when that was."""
    for second in range(1, 200):
        if health.probed(fault, now + second):
            return now + second
    raise AssertionError(f"{health!r} does not change")


@pytest.mark.parametrize("fault", [Fault.FULL, Fault.READ_ONLY])
def test_a_refused_write_degrades(fault: Fault) -> None:
    health = Health(0.0)
    assert health.failed(fault, START)
    assert (health.state, health.fault) == (State.DEGRADED, fault)
    assert not health.failed(fault, START + 1)
    assert repr(health) == f"<Health degraded: {fault.value}>"


@pytest.mark.parametrize("fault", [Fault.HUNG, Fault.GONE])
@pytest.mark.parametrize("first", [None, Fault.FULL])
def test_what_hangs_or_is_gone_is_bypassed_at_once(fault: Fault, first: Fault | None) -> None:
    health = ill(first) if first else Health(0.0)
    assert health.failed(fault, START)
    assert (health.state, health.fault) == (State.BYPASS, fault)
    assert not health.failed(fault, START)


@pytest.mark.parametrize("first", [None, Fault.FULL])
def test_errors_count_within_a_time(first: Fault | None) -> None:
    health = ill(first) if first else Health(0.0)
    apart = ERRORS_SECONDS / (ERRORS_MAX - 1)
    now = START
    for _ in range(10):  # too rare to count
        now += apart + 0.1
        assert not health.failed(Fault.ERROR, now)
    now += 2 * ERRORS_SECONDS
    for _ in range(ERRORS_MAX - 1):
        assert not health.failed(Fault.ERROR, now)
        now += apart
    assert health.failed(Fault.ERROR, now)
    assert (health.state, health.fault) == (State.BYPASS, Fault.ERROR)


def test_probes_are_like_anything_else_while_it_is_well() -> None:
    health = Health(0.0)
    for _ in range(100):
        assert not health.probed(None, START)
    assert health.probed(Fault.FULL, START)
    assert (health.state, health.fault) == (State.DEGRADED, Fault.FULL)
    assert not health.probed(Fault.FULL, START + 1000)
    assert health.probed(Fault.GONE, START + 1001)
    assert (health.state, health.fault) == (State.BYPASS, Fault.GONE)


@pytest.mark.parametrize("fault", Fault)
def test_good_probes_lead_back_to_normal_in_time(fault: Fault) -> None:
    health = ill(fault)
    assert not health.probed(None, START + 0.1)
    assert not health.probed(None, START + HOLD_SECONDS - 0.1)
    assert health.probed(None, START + HOLD_SECONDS)
    assert (health.state, health.fault) == (State.NORMAL, None)


@pytest.mark.parametrize("fault", Fault)
def test_one_good_probe_is_none(fault: Fault) -> None:
    health, other = ill(fault), fault if fault is not Fault.ERROR else Fault.HUNG
    for second in range(10, 30, 2):
        assert not health.probed(None, START + second)
        assert not health.probed(other, START + second + 1)
        assert not health.probed(None, START + second + 1.1)
        health.failed(other, START + second + 1.2)
    assert health.state is not State.NORMAL
    assert PROBES == 2


def test_a_disk_that_reads_but_takes_nothing_is_no_longer_bypassed() -> None:
    health = ill(Fault.HUNG)
    at = probe(health, Fault.READ_ONLY, START)
    assert at == START + HOLD_SECONDS
    assert (health.state, health.fault) == (State.DEGRADED, Fault.READ_ONLY)
    assert not health.probed(Fault.READ_ONLY, at + 1000)
    probe(health, None, at)
    assert health.state is State.NORMAL


def test_a_relapse_is_held_longer_each_time_and_forgiven_after_a_while() -> None:
    health = ill(Fault.FULL)
    now, held = START, []
    for _ in range(8):
        better = probe(health, None, now)
        held.append(better - now)
        now = better + 1
        assert health.failed(Fault.FULL, now)
    assert held == [2, 4, 8, 16, 32, 60, 60, 60]
    now = probe(health, None, now) + RELAPSE_SECONDS + 1
    assert health.failed(Fault.FULL, now)
    assert probe(health, None, now) - now == HOLD_SECONDS


def test_worse_after_better_within_illness_is_a_relapse_too() -> None:
    health = ill(Fault.HUNG)
    now, held = START, []
    for _ in range(3):
        better = probe(health, Fault.FULL, now)
        assert health.state is State.DEGRADED
        held.append(better - now)
        now = better + 1
        assert health.failed(Fault.HUNG, now)
    assert held == [2, 4, 8]


def test_errors_before_it_got_better_count_no_more() -> None:
    health = ill(Fault.ERROR)
    now = probe(health, None, START)
    for _ in range(ERRORS_MAX - 1):
        assert not health.failed(Fault.ERROR, now)
    assert health.failed(Fault.ERROR, now)


EVENTS = st.tuples(
    st.sampled_from(["failed", "probed"]),
    st.sampled_from([*Fault, None]),
    st.one_of(st.floats(0, 3), st.floats(0, 100)),
)


def play(events: list[tuple[str, Fault | None, float]]) -> tuple[Health, float, list[float]]:
    """Play a history; returns what came of it, the time, and when it got better."""
    health, now, better = Health(0.0), 0.0, []
    for kind, fault, pause in events:
        now += pause
        before, since = health.state, health.since
        if kind == "failed" and fault is not None:
            changed = health.failed(fault, now)
            assert RANK[health.state] <= RANK[before]
        else:
            changed = health.probed(fault, now)
        assert changed == (health.state is not before)
        assert (health.fault is None) == (health.state is State.NORMAL)
        assert health.since == (now if changed else since)
        if RANK[health.state] > RANK[before]:
            assert now - since >= HOLD_SECONDS
            better.append(now)
        if fault in (Fault.HUNG, Fault.GONE):
            assert health.state is State.BYPASS
    return health, now, better


@given(st.lists(EVENTS, max_size=60))
def test_it_is_never_stuck_while_probes_succeed(
    events: list[tuple[str, Fault | None, float]],
) -> None:
    health, now, _ = play(events)
    for _ in range(int(HOLD_SECONDS_MAX) + PROBES):
        now += 1
        health.probed(None, now)
    assert health.state is State.NORMAL


@given(st.lists(EVENTS, max_size=60))
def test_it_gets_better_no_faster_than_it_may(
    events: list[tuple[str, Fault | None, float]],
) -> None:
    _, _, better = play(events)
    for before, after in itertools.pairwise(better):
        assert after - before >= HOLD_SECONDS


@given(st.lists(st.sampled_from(list(Fault)), min_size=1), st.floats(0, 5))
def test_whoever_makes_it_ill_at_once_again_sees_it_well_ever_more_rarely(
    faults: list[Fault], pause: float
) -> None:
    health, now, recoveries = Health(0.0), 0.0, 0
    for fault in itertools.cycle(faults):
        while health.state is State.NORMAL:
            health.failed(fault, now)
        now = probe(health, None, now) + pause
        recoveries += 1
        if now > 3600:
            break
    # Five while the hold doubles to its longest, then one in a minute.
    assert recoveries <= 5 + 3600 / HOLD_SECONDS_MAX + 1
