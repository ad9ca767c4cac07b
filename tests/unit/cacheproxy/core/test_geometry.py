"""The grid of chunks against plain arithmetic on positions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.spans import Span
from cacheproxy.core.geometry import Grid


@st.composite
def grids_and_spans(draw: st.DrawFn) -> tuple[Grid, Span]:
    grid = Grid(draw(st.integers(0, 300)), draw(st.integers(1, 40)))
    start = draw(st.integers(0, grid.size))
    return grid, Span(start, draw(st.integers(start, grid.size)))


@given(grids_and_spans())
def test_chunks_tile_the_object(case: tuple[Grid, Span]) -> None:
    grid, _ = case
    chunks = [grid.chunk(index) for index in range(grid.count)]
    assert [b for chunk in chunks for b in range(chunk.start, chunk.stop)] == list(range(grid.size))
    assert all(len(chunk) == grid.chunk_bytes for chunk in chunks[:-1])


@given(grids_and_spans())
def test_covering_is_every_chunk_that_holds_a_byte(case: tuple[Grid, Span]) -> None:
    grid, span = case
    expected = {position // grid.chunk_bytes for position in range(span.start, span.stop)}
    assert set(grid.covering(span)) == expected


@given(grids_and_spans())
def test_ends_whole(case: tuple[Grid, Span]) -> None:
    grid, span = case
    to_the_end = span.stop == grid.size and len(span) > 0
    inside_the_last = span.start > (grid.count - 1) * grid.chunk_bytes
    assert grid.ends_whole(span) == (to_the_end and not inside_the_last)


def test_runs_outside_are_refused() -> None:
    grid = Grid(10, 4)
    assert grid.run(1, 3) == Span(4, 10)
    for first, stop in ((0, 0), (2, 4), (-1, 1)):
        with pytest.raises(IndexError):
            grid.run(first, stop)
