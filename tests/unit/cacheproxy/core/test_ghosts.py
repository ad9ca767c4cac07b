"""Ghosts: what is gone is remembered, boundedly, and seldom mistaken."""

from __future__ import annotations

import random

import pytest

from cacheproxy.core import ghosts
from cacheproxy.core.ghosts import WAYS, Ghosts


def keys(count: int) -> list[int]:
    draw = random.Random(count)
    return [draw.getrandbits(64) for _ in range(count)]


def test_what_was_put_is_taken_once() -> None:
    table = Ghosts()
    table.put(7, 100)
    assert table.take(8, 200) is None
    assert table.take(7, 200) == 100
    assert table.take(7, 200) is None


def test_the_longest_unused_gives_way() -> None:
    table = Ghosts()  # one bucket
    for stamp, key in enumerate(range(10, 11 + WAYS), start=1):
        table.put(key, stamp)
    assert table.take(10, 50) is None
    assert [table.take(key, 50) for key in range(11, 11 + WAYS)] == [2, 3, 4, 5]


def test_a_chunk_has_one_place() -> None:
    table = Ghosts()
    for stamp in range(1, 20):
        table.put(7, stamp)
    assert table.take(7, 30) == 19
    assert table.take(7, 30) is None


def test_growing_keeps_all() -> None:
    table = Ghosts()
    some = keys(3)
    for stamp, key in enumerate(some):
        table.put(key, stamp)
    table.grow(5000)
    assert table.size == 8 * 8192
    assert [table.take(key, 10) for key in some] == [0, 1, 2]


def test_most_of_as_many_as_there_are_places_are_remembered() -> None:
    table = Ghosts()
    table.grow(4096)
    some = keys(4096)
    for stamp, key in enumerate(some):
        table.put(key, stamp)
    found = [table.take(key, 5000) for key in some]
    assert sum(stamp == i for i, stamp in enumerate(found)) > 0.75 * len(some)
    assert all(stamp in (None, i) for i, stamp in enumerate(found))


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ghosts, "SLOTS_MAX", 64)
    table = Ghosts()
    table.grow(1_000_000)
    assert table.size == 64 * 8
    for stamp, key in enumerate(keys(1000)):
        table.put(key, stamp)
    assert table.size == 64 * 8


def test_stamps_beyond_half_a_slot_keep_their_order() -> None:
    table = Ghosts()
    late = 5 << 32
    table.put(7, late - 3)
    assert table.take(7, late + 4) == late - 3
