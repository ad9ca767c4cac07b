"""Memory for chunks on their way: bounded for each fill and for all, used again, and given up."""

from __future__ import annotations

from cacheproxy.fill.buffers import Buffers

SIZE = 4096


def test_the_bounds_of_one_and_of_all() -> None:
    buffers = Buffers(3 * SIZE)
    one, other = buffers.share(2 * SIZE), buffers.share(2 * SIZE)
    mine = [one.take(SIZE, must=False) for _ in range(3)]
    assert [buffer is not None for buffer in mine] == [True, True, False]
    assert other.take(SIZE, must=False) is not None
    assert other.take(SIZE, must=False) is None  # of all together there are no more
    assert other.take(SIZE, must=True) is not None  # but nobody is left without any
    assert (one.lent, other.lent, buffers.lent) == (2 * SIZE, 2 * SIZE, 4 * SIZE)


def test_the_last_one_given_back_is_taken_next() -> None:
    buffers = Buffers(2 * SIZE)
    share = buffers.share(2 * SIZE)
    first, second = share.take(SIZE, must=False), share.take(SIZE, must=False)
    assert first is not None
    assert second is not None
    share.give(first)
    share.give(second)
    assert share.take(SIZE, must=False) is second
    assert share.take(SIZE, must=False) is first
    assert share.lent == 2 * SIZE


def test_buffers_of_another_size_make_room() -> None:
    buffers = Buffers(2 * SIZE)
    share = buffers.share(2 * SIZE)
    for buffer in [share.take(SIZE, must=False), share.take(SIZE, must=False)]:
        assert buffer is not None
        share.give(buffer)
    assert repr(buffers) == f"<Buffers 0 lent, {2 * SIZE} kept of {2 * SIZE}>"
    large = share.take(2 * SIZE, must=False)
    assert large is not None
    assert repr(buffers) == f"<Buffers {2 * SIZE} lent, 0 kept of {2 * SIZE}>"


def test_what_exceeds_the_bound_is_not_kept_and_the_last_fill_gives_all_up() -> None:
    buffers = Buffers(SIZE)
    one, other = buffers.share(SIZE), buffers.share(SIZE)
    lent = [(share, share.take(SIZE, must=True)) for share in (one, other)]
    for share, buffer in lent:
        assert buffer is not None
        share.give(buffer)
    assert repr(buffers) == f"<Buffers 0 lent, {SIZE} kept of {SIZE}>"
    one.close()
    late = other.take(SIZE, must=False)
    assert late is not None
    other.close()
    other.give(late)
    assert repr(buffers) == f"<Buffers 0 lent, 0 kept of {SIZE}>"


def test_who_waits_is_called_once() -> None:
    buffers = Buffers(SIZE)
    share = buffers.share(SIZE)
    buffer = share.take(SIZE, must=False)
    assert buffer is not None
    calls: list[str] = []

    def staying() -> None:
        calls.append("stays")

    def leaving() -> None:
        calls.append("left")

    share.wait(staying)
    share.wait(leaving)
    share.leave(leaving)
    share.give(buffer)
    assert calls == ["stays"]
    again = share.take(SIZE, must=False)
    assert again is buffer
    share.give(buffer)
    assert calls == ["stays"]
