"""Summaries of which chunks are there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.core import chunkmap
from cacheproxy.core.chunkmap import CELLS_MAX, ChunkMap
from cacheproxy.core.geometry import Grid


def mapped(there: list[bool], size: int | None = None, chunk_bytes: int = 10) -> ChunkMap:
    made = ChunkMap(Grid(len(there) * chunk_bytes if size is None else size, chunk_bytes))
    for each in there:
        made.take(each)
    return made


def test_ranges_are_merged_and_the_last_chunk_may_be_short() -> None:
    made = mapped([True, True, False, True], size=35)
    assert made.ranges == [(0, 20), (30, 35)]
    assert (made.range_count, made.present, made.present_bytes) == (2, 3, 25)
    assert made.cells == [1, 1, 0, 1]


def test_an_empty_image_has_nothing_to_show() -> None:
    made = mapped([])
    assert (made.ranges, made.cells, made.present) == ([], [], 0)


def test_ranges_beyond_the_bound_are_counted_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunkmap, "RANGES_MAX", 2)
    made = mapped([True, False, True, True, False, True, True, False])
    assert made.ranges == [(0, 10), (20, 40)]
    assert made.range_count == 3
    assert made.present == 5


@given(st.lists(st.booleans(), max_size=4 * CELLS_MAX))
def test_the_summary_is_what_a_look_at_each_chunk_says(there: list[bool]) -> None:
    made = mapped(there)
    covered = {at // 10 for start, stop in made.ranges for at in range(start, stop, 10)}
    assert covered == {index for index, each in enumerate(there) if each}
    cells = min(len(there), CELLS_MAX)
    parts = [
        [each for index, each in enumerate(there) if index * cells // len(there) == cell]
        for cell in range(cells)
    ]
    assert made.cells == [sum(part) / len(part) for part in parts]
