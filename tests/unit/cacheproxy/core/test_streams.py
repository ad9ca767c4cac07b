"""How many reads at once are worth it, told by rates alone."""

from __future__ import annotations

from cacheproxy.core.streams import WINDOW_BYTES, WINDOW_SECONDS, Streams


class Source:
    """Brings a window's bytes with each `window`; the clock is its own."""

    def __init__(self, streams: Streams) -> None:
        self.streams = streams
        self.now = 100.0
        self.used = 7.0

    def window(self, flying: int, rate: float, busy: float = 0.1) -> int:
        """Return how many reads are wanted after a window at so many bytes a second."""
        self.streams.came(1, self.now, self.used, flying)  # a window begins where reads changed
        seconds = max(WINDOW_BYTES / rate, WINDOW_SECONDS)
        self.now += seconds
        self.used += seconds * busy
        self.streams.came(int(rate * seconds), self.now, self.used, flying)
        return self.streams.wanted


def test_a_source_that_gives_each_read_so_much_gets_all_that_there_may_be() -> None:
    source = Source(Streams(4))
    assert source.streams.wanted == 1
    assert [source.window(flying, 5e6 * flying) for flying in (1, 2, 3, 4, 4)] == [2, 3, 4, 4, 4]


def test_a_full_link_is_tried_once() -> None:
    source = Source(Streams(4))
    assert source.window(1, 1e8) == 2
    assert source.window(2, 1.05e8) == 1
    assert [source.window(1, 1e8) for _ in range(5)] == [1] * 5


def test_what_pays_less_than_half_of_what_it_could_is_given_up() -> None:
    source = Source(Streams(4))
    assert [source.window(1, 1e8), source.window(2, 2e8)] == [2, 3]
    assert source.window(3, 2.4e8) == 2
    assert source.window(2, 2e8) == 2


def test_who_has_no_time_to_spare_waits_for_nobody() -> None:
    source = Source(Streams(4))
    assert source.window(1, 5e8, busy=0.3) == 1
    assert source.window(1, 5e8, busy=0.2) == 2


def test_short_moments_and_reads_of_other_readers_say_nothing() -> None:
    streams = Streams(4)
    for moment in range(3):
        streams.came(WINDOW_BYTES, 1.0 + moment / 100, 0.0, 1)
    assert streams.wanted == 1
    source = Source(streams)
    assert source.window(2, 1e8) == 1


def test_one_that_the_source_refuses_is_not_tried_again() -> None:
    source = Source(Streams(4))
    assert source.window(1, 1e8) == 2
    source.streams.settle(1)
    assert [source.window(1, 1e8) for _ in range(3)] == [1] * 3
    assert Streams(1).wanted == 1
