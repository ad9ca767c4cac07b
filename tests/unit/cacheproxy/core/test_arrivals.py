"""Sets and ticks of chunk indexes, against the plain ones that they replace."""

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.core.arrivals import Arrived, Ticks

START = 7
INDEXES = st.integers(START, START + 40)


@given(st.lists(INDEXES))
def test_it_is_a_set(indexes: list[int]) -> None:
    arrived, model = Arrived(START), set[int]()
    for index in indexes:
        arrived.add(index)
        model.add(index)
        assert len(arrived) == len(model)
        assert set(arrived) == model
        assert all((each in arrived) == (each in model) for each in range(START + 45))
        lowest_absent = next(each for each in range(START, START + 45) if each not in model)
        assert arrived.complete_to == lowest_absent


def test_what_comes_in_order_takes_no_memory() -> None:
    arrived = Arrived()
    for index in range(0, 100_000, 4):
        for each in (1, 0, 3, 2):  # as four that are stored at once
            arrived.add(index + each)
    assert len(arrived) == 100_000
    assert repr(arrived) == "<Arrived 0..100000 and 0 ahead>"
    assert sys.getsizeof(arrived._ahead) < 1024


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 2**63))))
def test_ticks_are_those_of_the_last_time(noted: list[tuple[int, int]]) -> None:
    ticks, model = Ticks(), dict[int, int]()
    for index, tick in noted:
        ticks.note(index, tick)
        model[index] = tick
    for index in (*model, 4, 5001):
        for tick in (0, *model.values()):
            assert ticks.after(index, tick) == (model.get(index, 0) > tick)
