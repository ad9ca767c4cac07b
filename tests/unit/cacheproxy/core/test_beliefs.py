"""How long the upstream's word is believed."""

from __future__ import annotations

import pytest

from cacheproxy.core.beliefs import Belief, Beliefs

A, B = b"a", b"b"
CALLER, OTHER = b"caller", b"other"


@pytest.fixture
def beliefs() -> Beliefs:
    return Beliefs(seconds=10, recent_seconds=60, entries_max=3)


def test_fresh_then_recent_then_nothing(beliefs: Beliefs) -> None:
    beliefs.allowed(A, "i", CALLER, 100)
    assert [bool(beliefs.fresh(A, now)) for now in (100, 109.9, 110, 159.9)] == [
        True,
        True,
        False,
        False,
    ]
    assert [beliefs.recent(A, now) for now in (100, 159.9, 160)] == [True, True, False]
    assert len(beliefs) == 1
    assert not beliefs.fresh(A, 160)
    assert len(beliefs) == 0


def test_without_a_window_what_is_not_fresh_is_forgotten() -> None:
    beliefs = Beliefs(seconds=10, recent_seconds=0, entries_max=3)
    beliefs.allowed(A, "i", CALLER, 100)
    assert not beliefs.recent(A, 100)
    assert not beliefs.fresh(A, 110)
    assert len(beliefs) == 0


def test_prolonged_within_the_window_only(beliefs: Beliefs) -> None:
    beliefs.allowed(A, "i", CALLER, 100)
    beliefs.prolong(A, 145)
    assert [bool(beliefs.fresh(A, now)) for now in (154.9, 155)] == [True, False]
    beliefs.prolong(A, 155)
    assert [bool(beliefs.fresh(A, now)) for now in (159.9, 160)] == [True, False]


def test_the_longest_unused_makes_room(beliefs: Beliefs) -> None:
    for key in (A, B, b"c"):
        beliefs.allowed(key, "i", CALLER, 100)
    assert beliefs.fresh(A, 100)
    beliefs.allowed(b"d", "j", CALLER, 100)
    assert [bool(beliefs.fresh(key, 100)) for key in (A, B, b"c", b"d")] == [
        True,
        False,
        True,
        True,
    ]
    assert len(beliefs) == 3


def test_forgotten_by_key_by_image_and_all(beliefs: Beliefs) -> None:
    beliefs.allowed(A, "i", CALLER, 100)
    beliefs.allowed(B, "i", CALLER, 100)
    beliefs.allowed(b"c", "j", CALLER, 100)
    beliefs.forget(A)
    beliefs.forget(A)
    assert [bool(beliefs.fresh(key, 100)) for key in (A, B)] == [False, True]
    beliefs.forget_image("i")
    beliefs.forget_image("unknown")
    assert not beliefs.recent(B, 100)
    assert beliefs.fresh(b"c", 100)
    beliefs.clear()
    assert len(beliefs) == 0
    assert not beliefs._images


def test_a_refusal_counts_for_all_that_a_caller_asks_with(beliefs: Beliefs) -> None:
    beliefs.allowed(A, "i", CALLER, 100)
    beliefs.allowed(B, "i", CALLER, 100)
    beliefs.allowed(b"c", "i", OTHER, 100)
    beliefs.refused("j", CALLER)
    assert beliefs.fresh(A, 100)
    beliefs.refused("i", CALLER)
    assert [bool(beliefs.fresh(key, 100)) for key in (A, B, b"c")] == [False, False, True]
    beliefs.refused("i", OTHER)
    assert not beliefs._images


def test_a_key_has_one_caller_at_a_time(beliefs: Beliefs) -> None:
    beliefs.allowed(A, "i", CALLER, 100)
    beliefs.allowed(A, "i", OTHER, 120)
    beliefs.allowed(B, "i", CALLER, 120)
    beliefs.refused("i", CALLER)
    assert [beliefs.recent(key, 121) for key in (A, B)] == [True, False]
    beliefs.forget_image("i")
    assert len(beliefs) == 0


def test_who_keeps_a_belief_sees_it_end(beliefs: Beliefs) -> None:
    def kept(key: bytes) -> Belief:
        beliefs.allowed(key, "i", CALLER, 100)
        belief = beliefs.fresh(key, 100)
        assert belief is not None
        assert belief.until == 110
        return belief

    ended = [kept(A)]
    beliefs.forget(A)
    ended.append(kept(A))
    beliefs.refused("i", CALLER)
    ended.append(kept(A))
    beliefs.forget_image("i")
    ended.append(kept(A))
    beliefs.clear()
    ended.append(kept(A))
    beliefs.allowed(A, "i", OTHER, 100)  # somebody else asks with the same now
    assert all(each.until < 0 for each in ended)
