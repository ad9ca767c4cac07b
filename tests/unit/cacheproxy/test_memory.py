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
        for index in range(4):
            memory.remember(facts, GRID, index, digest(number))
    assert repr(memory) == f"<Memory of 3 images, {2 * DIGESTS_PER_HOT_FILE} chunks>"
    assert memory.facts("19") is not None
    assert memory.facts("16") is None


def test_an_image_with_more_chunks_than_there_is_room_for_forgets_its_first_ones() -> None:
    memory = Memory(lambda _: True, 1)
    large, facts = Grid(1000, 10), replace(FACTS, size=1000)
    memory.shown(facts)
    memory.remember(replace(FACTS, image_id="other"), GRID, 0, digest(0))
    for index in range(large.count):
        memory.remember(facts, large, index, digest(index))
    known = memory.current("i")
    assert known is not None
    assert list(known.digests) == list(range(100 - DIGESTS_PER_HOT_FILE, 100))
    assert memory.facts("other") is None


def test_what_is_kept_of_an_image_ends_with_what_it_says() -> None:
    clock = Clock()
    memory = Memory(lambda _: True, 2, clock)
    memory.remember(FACTS, GRID, 0, digest(0))
    assert memory.current("i") is None  # its record was never shown
    memory.shown(FACTS)
    known = memory.current("i")
    assert known is not None
    assert known.until == clock.now + RECORD_SECONDS
    memory.purge("i")
    assert known.until < clock.now
    memory.shown(FACTS)
    assert memory.current("i") is known
    memory.purge(None)
    assert known.until < clock.now
    memory.shown(replace(FACTS, created_at="later"))
    assert known.until < clock.now
    assert not known.digests
    clock.now += RECORD_SECONDS
    assert memory.current("i") is None


def test_an_image_that_is_cut_anew_is_learnt_anew() -> None:
    memory = Memory(lambda _: True, 2)
    memory.shown(FACTS)
    memory.remember(FACTS, GRID, 0, digest(0))
    former = memory.current("i")
    memory.remember(FACTS, Grid(35, 5), 1, digest(1))
    known = memory.current("i")
    assert former is not None
    assert known is not None
    assert (len(former.digests), dict(known.digests)) == (0, {1: digest(1)})
