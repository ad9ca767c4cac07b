"""Claims of chunks on their way."""

from __future__ import annotations

from cacheproxy.fill.inflight import InFlight


def test_a_claim_is_the_first_ones_until_it_is_released() -> None:
    inflight = InFlight()
    assert inflight.claim("a", [b"1", b"2"]) == {b"1", b"2"}
    assert inflight.claim("b", [b"2", b"3"]) == {b"3"}
    assert inflight.elsewhere("b", b"2")
    assert not inflight.elsewhere("a", b"2")
    assert not inflight.elsewhere("b", b"4")
    told: list[str] = []
    inflight.wait("b", b"2", lambda: told.append("b"))
    inflight.wait("c", b"2", lambda: told.append("c"))
    inflight.release(b"1")
    assert told == []
    inflight.release(b"2")
    assert told == ["b", "c"]
    assert not inflight.elsewhere("b", b"2")
    inflight.release(b"3")
    assert repr(inflight) == "<InFlight 0 chunks, 0 wanted elsewhere>"


def test_two_legs_of_one_fill_do_not_wait_for_each_other() -> None:
    inflight = InFlight()
    assert inflight.claim("a", [b"1"]) == {b"1"}
    assert inflight.claim("a", [b"1"]) == set()
    assert not inflight.elsewhere("a", b"1")
