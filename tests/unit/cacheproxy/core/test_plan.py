"""Plans against a naive reading of each chunk."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.core.plan import Segment, Step, longest_fetch, plan

indexes = st.sets(st.integers(0, 40))


@given(st.integers(0, 40), st.integers(0, 40), indexes, indexes)
def test_plan_covers_the_window_in_order_and_merges(
    first: int, length: int, present: set[int], flying: set[int]
) -> None:
    window = range(first, first + length)
    segments = list(plan(window, present.__contains__, flying.__contains__))
    steps = [(index, s.step) for s in segments for index in range(s.first, s.stop)]
    assert steps == [
        (i, Step.HIT if i in present else Step.JOIN if i in flying else Step.FETCH) for i in window
    ]
    assert all(a.step is not b.step for a, b in pairwise(segments))


@given(st.integers(0, 40), st.integers(0, 45), st.integers(1, 10), indexes, indexes)
def test_longest_fetch_is_the_first_absent_run(
    start: int, stop: int, chunks_max: int, present: set[int], flying: set[int]
) -> None:
    segment = longest_fetch(start, stop, chunks_max, present.__contains__, flying.__contains__)
    absent = [i for i in range(start, stop) if i not in present and i not in flying]
    if not absent:
        assert segment is None
        return
    end = absent[0]
    while end in absent and end < absent[0] + chunks_max:
        end += 1
    assert segment == Segment(Step.FETCH, absent[0], end)
