"""What a worker remembers of images, and for how long."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from backends.spans import Span
from cacheproxy import memory as module
from cacheproxy.core.facts import ImageFacts
from cacheproxy.core.geometry import Grid
from cacheproxy.memory import DIGESTS_PER_HOT_FILE, RECORD_SECONDS, Memory

FACTS = ImageFacts(
    image_id="i", size=35, checksum=None, hash_algo=None, hash_value=None, created_at="then"
)
GRID = Grid(35, 10)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def digest(number: int) -> bytes:
    return number.to_bytes(32)


def test_one_looks_at_a_record_and_then_nobody_for_a_while() -> None:
    clock = Clock()
    memory = Memory(lambda _: True, 8, clock)
    assert [memory.look("i"), memory.look("i"), memory.look("j")] == [True, False, True]
    clock.now += RECORD_SECONDS
    assert [memory.look("i"), memory.look("i")] == [True, False]
    memory.purge("i")
    assert [memory.look("i"), memory.look("j")] == [True, True]
    memory.purge(None)
    assert [memory.look("i"), memory.look("j")] == [True, True]


def test_a_span_is_hot_when_all_of_its_files_are_open() -> None:
    closed = {digest(2)}
    memory = Memory(lambda each: each not in closed, 8)
    for index in range(4):
        memory.remember(FACTS, GRID, index, digest(index))
    assert memory.hot(FACTS, Span(0, 20)) == (GRID, {0: digest(0), 1: digest(1)})
    assert memory.hot(FACTS, GRID.whole) is None
    closed.clear()
    assert memory.hot(FACTS, Span(19, 35)) == (GRID, {1: digest(1), 2: digest(2), 3: digest(3)})
    assert memory.hot(replace(FACTS, created_at="later"), Span(0, 10)) is None


def test_what_a_replaced_image_left_is_forgotten() -> None:
    memory = Memory(lambda _: True, 8)
    other = replace(FACTS, image_id="j")
    for facts in (FACTS, other):
        memory.remember(facts, GRID, 0, digest(0))
    later = replace(FACTS, created_at="later")
    memory.shown(later)
    assert memory.facts("i") is None
    assert memory.hot(later, Span(0, 10)) is None
    assert not memory.agrees(FACTS)
    assert memory.agrees(later)
    assert memory.hot(other, Span(0, 10)) is not None
    memory.remember(later, GRID, 1, digest(7))
    assert memory.hot(later, Span(0, 20)) is None  # never a chunk of the former one beside its own
    assert memory.hot(later, Span(10, 20)) == (GRID, {1: digest(7)})


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IMAGES_MAX", 3)
    memory = Memory(lambda _: True, 2)
    for number in range(20):
        facts = replace(FACTS, image_id=str(number))
        memory.shown(facts)
        memory.remember(facts, GRID, 0, digest(number))
    assert repr(memory) == f"<Memory of 3 images, {2 * DIGESTS_PER_HOT_FILE} chunks>"
    assert memory.facts("19") is not None
    assert memory.facts("16") is None
