"""How far floors lower a limit, and how often they ask for eviction."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.core.floors import SETTLE_SECONDS, Floors, Usage

LIMIT = 1000
USAGE = Usage(used=400, kept=450, mean=10)


@pytest.mark.parametrize(
    ("free_bytes", "free_inodes", "expected"),
    [
        (10_000, None, LIMIT),
        (10_000, 10_000, LIMIT),
        (700, None, LIMIT),  # 100 are to stay free: 600 are spare
        (600, None, 900),
        (150, 10_000, 450),
        (100, None, 400),
        (0, None, 300),
        (10_000, 25, 600),  # 5 are to stay free: 20 of 10 bytes are spare
        (10_000, 0, 350),
        (0, 0, 300),
    ],
)
def test_the_limit_leaves_the_floors(
    free_bytes: int, free_inodes: int | None, expected: int
) -> None:
    assert Floors(100, 5).lowered(LIMIT, USAGE, free_bytes, free_inodes, 0.0) == expected


def test_never_below_nothing() -> None:
    assert Floors(10_000, 0).lowered(LIMIT, USAGE, 0, None, 0.0) == 0


def test_eviction_is_given_time_to_show() -> None:
    floors = Floors(100, 0)
    assert floors.lowered(LIMIT, USAGE, 0, None, 10.0) == 300
    # Evicted, but the file system does not say so yet: it does not grow, and evicts no more.
    later = Usage(used=300, kept=350, mean=10)
    assert floors.lowered(LIMIT, later, 0, None, 10.0 + SETTLE_SECONDS - 0.1) == 350
    assert floors.lowered(LIMIT, later, 100, None, 10.0 + SETTLE_SECONDS - 0.1) == 350
    assert floors.lowered(LIMIT, later, 0, None, 10.0 + SETTLE_SECONDS) == 200
    # What needs no eviction needs no patience.
    assert floors.lowered(LIMIT, later, 200, None, 10.0 + SETTLE_SECONDS) == 400


@given(
    st.integers(0, 2000),
    st.integers(0, 2000),
    st.integers(0, 100),
    st.integers(0, 3000),
    st.one_of(st.none(), st.integers(0, 100)),
)
def test_it_never_raises_a_limit_nor_takes_what_is_not_spare(
    limit: int, used: int, more: int, free_bytes: int, free_inodes: int | None
) -> None:
    usage = Usage(used=used, kept=used + more, mean=10)
    lowered = Floors(100, 5).lowered(limit, usage, free_bytes, free_inodes, 0.0)
    assert 0 <= lowered <= limit
    assert lowered <= max(0, used + free_bytes - 100)
    if free_inodes is not None:
        assert lowered <= max(0, used + (free_inodes - 5) * 10)
