"""Uses of images are counted in memory and written now and then."""

from __future__ import annotations

import asyncio

import pytest

from cacheproxy import hits as module
from cacheproxy.core.records import ImageRecord
from cacheproxy.errors import StorageError
from cacheproxy.hits import Hits, Use

RECORD = ImageRecord(1, None, None, None, "content", hits=3, hit_at=50)


class FakeBook:
    def __init__(self, *images: str) -> None:
        self.records = dict.fromkeys(images, RECORD)
        self.writes = 0
        self.broken = False

    def image(self, image_id: str) -> ImageRecord | None:
        return self.records.get(image_id)

    def put_image(self, image_id: str, record: ImageRecord) -> None:
        if self.broken:
            raise StorageError("full")
        self.writes += 1
        self.records[image_id] = record


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cacheproxy.hits.time.time", lambda: 1000.9)


async def test_many_uses_are_one_write() -> None:
    book = FakeBook("a", "b")
    hits = Hits(book)
    for _ in range(10):
        hits.add({"a": 2, "unknown": 1})
    assert book.writes == 0
    assert hits.of("a", RECORD) == Use(23, 1000)
    assert hits.of("b", RECORD) == Use(3, 50)
    await hits.save()
    assert book.writes == 1
    assert (book.records["a"].hits, book.records["a"].hit_at) == (23, 1000)
    assert hits.of("a", book.records["a"]) == Use(23, 1000)
    await hits.save()
    assert book.writes == 1


async def test_they_are_written_at_the_end() -> None:
    book = FakeBook("a")
    hits = Hits(book)
    running = asyncio.create_task(hits.run())
    await asyncio.sleep(0)
    hits.add({"a": 1})
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert book.records["a"].hits == 4


async def test_a_disk_that_fails_costs_counts_only() -> None:
    book = FakeBook("a")
    book.broken = True
    hits = Hits(book)
    hits.add({"a": 1})
    await hits.save()
    assert hits._unsaved == {}


async def test_the_count_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IMAGES_MAX", 1)
    book = FakeBook("a", "b")
    hits = Hits(book)
    hits.add({"a": 1, "b": 1})
    assert list(hits._unsaved) == ["a"]
    hits.forget(["a", "nobody"])
    assert hits.of("a", book.records["a"]) == Use(0, 0)
    assert hits._unsaved == {}
