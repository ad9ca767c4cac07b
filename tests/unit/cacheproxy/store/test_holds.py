"""Holds and protections: counted by chunk and holder, and gone when they end."""

from __future__ import annotations

import pytest

from cacheproxy.store.holds import Holds

A, B = b"a", b"b"


def test_a_hold_is_free_when_all_is_released() -> None:
    holds = Holds()
    assert holds.hold(A, "w1")
    assert not holds.hold(A, "w1")
    assert holds.hold(A, "w2")
    assert sorted(map(str, holds.holders(A))) == ["w1", "w2"]
    holds.release(A, "w1", 2)
    assert holds.holders(A) == ["w2"]
    assert not holds.free(A)
    holds.release(A, "w2", 1)
    assert holds.free(A)
    assert repr(holds) == "<Holds 0 held, 0 protected>"


def test_releasing_too_much_releases_all_and_no_more() -> None:
    holds = Holds()
    holds.hold(A, "w1")
    holds.hold(A, "w2")
    holds.release(A, "w1", 9)
    holds.release(A, "w1", 1)
    holds.release(B, "w1", 1)
    assert holds.holders(A) == ["w2"]
    assert holds.hold(A, "w1"), "its first again"


def test_a_holder_that_is_gone_holds_nothing() -> None:
    holds = Holds()
    for digest in (A, A, B):
        holds.hold(digest, "w1")
    holds.hold(B, "w2")
    assert sorted(holds.forget("w1")) == [A, B]
    assert holds.forget("w1") == []
    assert holds.free(A)
    assert holds.holders(B) == ["w2"]


def test_protections_are_counted() -> None:
    holds = Holds()
    holds.protect(A)
    holds.protect(A)
    holds.unprotect(A)
    assert holds.protected(A)
    assert not holds.free(A)
    holds.unprotect(A)
    assert not holds.protected(A)
    assert holds.free(A)
    with pytest.raises(AssertionError):
        holds.unprotect(A)
