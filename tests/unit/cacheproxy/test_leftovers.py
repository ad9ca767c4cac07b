"""Chunks of an unproven fill, compared with what the upstream has."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.spans import Span
from cacheproxy.core.geometry import Grid
from cacheproxy.errors import ProofFailedError
from cacheproxy.leftovers import Leftovers
from cacheproxy.store.digest import digest_of

DATA = bytes(range(35))
GRID = Grid(35, 10)


class Upstream:
    def __init__(self, data: bytes = DATA, piece: int = 7) -> None:
        self.asked: list[Span] = []
        self._data = data
        self._piece = piece

    async def stream(self, span: Span) -> AsyncGenerator[bytes | memoryview]:
        self.asked.append(span)
        data = self._data[span.start : span.stop]
        for start in range(0, len(data), self._piece):
            yield data[start : start + self._piece]


def of(indexes: set[int]) -> Leftovers:
    leftovers = Leftovers()
    for index in indexes:
        chunk = GRID.chunk(index)
        leftovers.add(index, digest_of(DATA[chunk.start : chunk.stop]))
    return leftovers


@given(st.sets(st.integers(0, 3)), st.integers(1, 40))
async def test_each_run_is_read_once(indexes: set[int], piece: int) -> None:
    upstream = Upstream(piece=piece)
    await of(indexes).compare(GRID, upstream.stream)
    read = [index for span in upstream.asked for index in GRID.covering(span)]
    assert read == sorted(indexes)
    assert all(one.stop < other.start for one, other in itertools.pairwise(upstream.asked))


@given(st.integers(0, 34), st.integers(1, 40))
async def test_any_other_byte_is_seen(wrong: int, piece: int) -> None:
    data = bytearray(DATA)
    data[wrong] ^= 1
    with pytest.raises(ProofFailedError):
        await of({0, 1, 2, 3}).compare(GRID, Upstream(bytes(data), piece).stream)


async def test_too_little_is_seen() -> None:
    for size in range(35):
        with pytest.raises(ProofFailedError):
            await of({2, 3}).compare(GRID, Upstream(DATA[:size]).stream)


async def test_what_was_compared_is_not_compared_again() -> None:
    leftovers, upstream = of({1}), Upstream()
    await leftovers.compare(GRID, upstream.stream)
    await leftovers.compare(GRID, upstream.stream)
    assert upstream.asked == [Span(10, 20)]
