"""How far a reader looks ahead: not at all, and then as far as it has to wait."""

from __future__ import annotations

from cacheproxy.core.lookahead import Lookahead


def test_who_never_waits_looks_at_nothing() -> None:
    window = Lookahead()
    assert [list(window.beyond(index, 9)) for index in range(9)] == [[]] * 9


def test_each_wait_doubles_it_up_to_its_bound() -> None:
    window, sizes = Lookahead(), []
    for _ in range(5):
        window.waited(4)
        sizes.append(window.chunks)
    assert sizes == [1, 2, 4, 4, 4]


def test_chunks_larger_than_all_that_may_be_read_ahead_are_read_one_at_a_time() -> None:
    window = Lookahead()
    window.waited(0)
    assert list(window.beyond(3, 9)) == [4]


def test_it_moves_with_the_reader_and_sees_to_nothing_twice() -> None:
    window = Lookahead()
    window.waited(4)
    window.waited(4)
    assert list(window.beyond(0, 9)) == [1, 2]
    window.saw_to(1)  # and there was no room for the next
    assert list(window.beyond(0, 9)) == [2]
    assert list(window.beyond(1, 9)) == [2, 3]
    window.saw_to(2)
    window.saw_to(3)
    assert list(window.beyond(5, 9)) == [6, 7], "a reader that has overtaken it"


def test_it_ends_with_what_is_wanted() -> None:
    window = Lookahead()
    window.waited(4)
    window.waited(4)
    assert list(window.beyond(7, 9)) == [8]
    assert list(window.beyond(8, 9)) == []
