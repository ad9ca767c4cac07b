"""Images come in one after the other, until they are taken out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from cacheproxy import prefetchqueue as module
from cacheproxy.prefetchqueue import PrefetchQueue


class Bringer:
    """Brings an image when it is let."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, str | None]] = []
        self.ended: list[str] = []
        self.cancelled: list[str] = []
        self.news = asyncio.Condition()
        self.go = asyncio.Semaphore(0)

    async def __call__(self, image_id: str, token: str | None) -> None:
        self.begun.append((image_id, token))
        await self.tell()
        try:
            await self.go.acquire()
            if image_id == "broken":
                raise ValueError
        except asyncio.CancelledError:
            self.cancelled.append(image_id)
            raise
        self.ended.append(image_id)

    async def tell(self) -> None:
        async with self.news:
            self.news.notify_all()

    async def begins(self, *images: str) -> None:
        async with self.news:
            await self.news.wait_for(lambda: [image for image, _ in self.begun] == list(images))


@pytest.fixture
async def bringer() -> Bringer:
    return Bringer()


@pytest.fixture
async def queue(bringer: Bringer) -> AsyncIterator[PrefetchQueue]:
    made = PrefetchQueue(bringer)
    running = asyncio.create_task(made.run())
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert made._bringing is None


async def test_one_after_the_other(queue: PrefetchQueue, bringer: Bringer) -> None:
    for image in "aba":
        assert queue.add(image, f"token of {image}")
    await bringer.begins("a")
    assert queue.images() == ["a", "b"]
    assert "token" not in repr(queue)
    bringer.go.release()
    await bringer.begins("a", "b")
    assert queue.images() == ["b"]
    assert bringer.begun == [("a", "token of a"), ("b", "token of b")]


async def test_what_breaks_does_not_stop_the_rest(
    queue: PrefetchQueue, bringer: Bringer, caplog: pytest.LogCaptureFixture
) -> None:
    queue.add("broken", "secret")
    queue.add("b", None)
    bringer.go.release()
    await bringer.begins("broken", "b")
    assert "broken broke" in caplog.text
    assert "secret" not in caplog.text


async def test_taken_out_while_it_waits_and_while_it_comes(
    queue: PrefetchQueue, bringer: Bringer
) -> None:
    for image in "abc":
        queue.add(image, None)
    await bringer.begins("a")
    assert queue.remove("b")
    assert queue.remove("a")
    assert not queue.remove("a")
    queue.add("a", None)  # again, behind the others
    await bringer.begins("a", "c")
    assert bringer.cancelled == ["a"]
    assert queue.images() == ["c", "a"]
    queue.clear()
    assert queue.images() == []
    queue.add("d", None)
    await bringer.begins("a", "c", "d")
    assert bringer.cancelled == ["a", "c"]


async def test_its_length_is_bounded(
    queue: PrefetchQueue, bringer: Bringer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUEUED_MAX", 2)
    assert [queue.add(image, None) for image in "abcb"] == [True, True, False, True]
    await bringer.begins("a")


async def test_its_end_ends_what_comes(bringer: Bringer) -> None:
    queue = PrefetchQueue(bringer)
    running = asyncio.create_task(queue.run())
    queue.add("a", None)
    await bringer.begins("a")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert bringer.cancelled == ["a"]
