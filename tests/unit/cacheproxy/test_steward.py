"""What Glance's cache API does to a cache, with a real store and real fills."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from cacheproxy import cacheorders as orders
from cacheproxy import steward as module
from cacheproxy.errors import StorageError
from cacheproxy.steward import Steward
from cacheproxy.store.digest import digest_of
from harness.admin_case import CHUNK, AdminCase, administered
from harness.store_case import chunk


class Managed(NamedTuple):
    """A cache and its steward."""

    case: AdminCase
    steward: Steward

    async def obey(self, order: orders.AnyOrder) -> orders.Ending:
        ending, rows = await self.told(order)
        assert rows == []
        return ending

    async def told(self, order: orders.AnyOrder) -> tuple[orders.Ending, list[orders.Rows]]:
        rows: list[orders.Rows] = []
        return await self.steward.obey(order, rows.append), rows

    async def listed(self) -> tuple[list[str], list[str]]:
        ending, rows = await self.told(orders.ListImages())
        assert ending == orders.Done()
        cached = [image.image_id for part in rows for image in part.cached]
        return cached, [image for part in rows for image in part.queued]

    async def drained(self) -> None:
        """Wait until nothing is queued any more."""
        async with asyncio.timeout(30):
            while self.steward._queue.images():  # noqa: ASYNC110  it has no event of its own
                await asyncio.sleep(0)


@pytest.fixture
async def managed(tmp_path: Path) -> AsyncIterator[Managed]:
    async with administered(tmp_path / "cache") as case:
        await case.store.reconciled()
        steward = Steward(case.operations, case.store, case.account)
        running = asyncio.create_task(steward.run())
        yield Managed(case, steward)
        for image in case.origin.images.values():
            for hold in image.holds:
                hold.release.set()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await case.idle()
        assert case.flights.in_progress() == []


async def test_what_is_listed(managed: Managed) -> None:
    whole, _ = await managed.case.cached(1, 2), await managed.case.cached(3, 4)
    before = int(time.time())
    await managed.case.store.drop({digest_of(chunk(4)): CHUNK})
    managed.steward.hits.add({whole.id: 2})
    ending, (rows,) = await managed.told(orders.ListImages())
    assert ending == orders.Done()
    (image,) = rows.cached
    assert (image.image_id, image.size, image.hits) == (whole.id, 2 * CHUNK, 2)
    assert image.last_accessed >= before
    assert before - 60 <= image.last_modified <= before


async def test_queued_images_come(managed: Managed) -> None:
    first, second = managed.case.add(1, 2), managed.case.add(3)
    first.tokens = second.tokens = {"secret"}
    hold = first.hold_at(CHUNK)
    for image in (first, second, first):
        assert await managed.obey(orders.QueueImage(image.id, "secret")) == orders.Done()
    await hold.reached.wait()
    assert await managed.listed() == ([], [first.id, second.id])
    hold.release.set()
    await managed.drained()
    assert await managed.listed() == (sorted([first.id, second.id]), [])


async def test_the_own_account_asks_where_the_token_is_refused(
    managed: Managed, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    image = managed.case.add(1, 2)
    image.tokens = {"own"}
    image.show_status = 200
    await managed.obey(orders.QueueImage(image.id, "expired"))
    await managed.drained()
    assert await managed.listed() == ([], [])
    managed.case.account.token = "own"
    await managed.obey(orders.QueueImage(image.id, "expired"))
    await managed.drained()
    assert await managed.listed() == ([image.id], [])
    assert "did not come" in caplog.text
    assert "expired" not in caplog.text


async def test_a_full_queue(managed: Managed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cacheproxy.prefetchqueue.QUEUED_MAX", 0)
    assert await managed.obey(orders.QueueImage("i", None)) == orders.Full()


async def test_delete(managed: Managed) -> None:
    image, other = await managed.case.cached(1, 2, 3), await managed.case.cached(3, 4)
    managed.steward.hits.add({image.id: 7})
    assert await managed.obey(orders.DeleteImage(image.id)) == orders.Done()
    assert await managed.listed() == ([other.id], [])
    assert managed.case.chunk_files() == 2
    await managed.case.read(image).task
    ((rows,), *_) = [(await managed.told(orders.ListImages()))[1]]
    assert {each.image_id: each.hits for each in rows.cached} == {image.id: 0, other.id: 0}
    assert await managed.obey(orders.DeleteImage("unknown")) == orders.NotCached()


async def test_what_has_nothing_left_is_not_cached(managed: Managed) -> None:
    image = await managed.case.cached(1, 2)
    await managed.obey(orders.DeleteImage(image.id))
    assert await managed.obey(orders.DeleteImage(image.id)) == orders.NotCached()


async def test_what_is_there_in_part_goes_too(managed: Managed) -> None:
    image = await managed.case.cached(1, 2)
    await managed.case.store.drop({digest_of(chunk(1)): CHUNK})
    assert await managed.obey(orders.DeleteImage(image.id)) == orders.Done()
    assert managed.case.chunk_files() == 0


async def test_a_pinned_image_stays(managed: Managed) -> None:
    image, other = await managed.case.cached(1, 2), await managed.case.cached(3)
    await managed.case.operations.pin(image.id)
    ending = await managed.obey(orders.DeleteImage(image.id))
    assert isinstance(ending, orders.Refused)
    assert "unpin" in ending.why
    assert await managed.obey(orders.ClearImages(cached=True, queued=True)) == orders.Done()
    assert await managed.listed() == ([image.id], [])
    assert other.id not in (await managed.listed())[0]


async def test_what_is_being_fetched_for_a_reader_is_not_deleted(managed: Managed) -> None:
    image = managed.case.add(1, 2, 3)
    hold = image.hold_at(2 * CHUNK)
    reading = managed.case.read(image)
    await hold.reached.wait()
    await reading.first.wait()
    ending = await managed.obey(orders.DeleteImage(image.id))
    assert isinstance(ending, orders.Refused)
    assert "being fetched" in ending.why
    hold.release.set()
    assert await reading.task == chunk(1) + chunk(2) + chunk(3)


async def test_delete_takes_an_image_from_the_queue(managed: Managed) -> None:
    image, waiting = managed.case.add(1, 2), managed.case.add(3)
    hold = image.hold_at(CHUNK)
    for each in (image, waiting):
        await managed.obey(orders.QueueImage(each.id, None))
    await hold.reached.wait()
    for each in (waiting, image):
        assert await managed.obey(orders.DeleteImage(each.id)) == orders.Done()
    assert (await managed.listed())[1] == []
    assert waiting.data_requests == []


async def test_clear(managed: Managed) -> None:
    cached, queued = await managed.case.cached(1, 2), managed.case.add(3, 4)
    hold = queued.hold_at(CHUNK)
    await managed.obey(orders.QueueImage(queued.id, None))
    await hold.reached.wait()
    await managed.obey(orders.ClearImages(cached=True, queued=False))
    assert await managed.listed() == ([], [queued.id])
    await managed.case.read(cached).task
    await managed.obey(orders.ClearImages(cached=False, queued=True))
    assert await managed.listed() == ([cached.id], [])


async def test_clean(managed: Managed) -> None:
    image = await managed.case.cached(1, 2)
    managed.case.store.forget_image(image.id)
    managed.case.flights._in_use.clear()
    assert await managed.obey(orders.CleanUp()) == orders.Done()
    assert managed.case.chunk_files() == 0


async def test_the_list_is_bounded(
    managed: Managed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "ROWS", 1)
    monkeypatch.setattr(module, "LISTED_MAX", 2)
    for seed in range(3):
        await managed.case.cached(seed)
    assert len((await managed.listed())[0]) == 2
    assert "more than 2" in caplog.text


async def test_a_failing_disk_is_told(managed: Managed, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail() -> None:
        raise StorageError("it hangs")

    monkeypatch.setattr(managed.case.operations, "gc", fail)
    assert await managed.obey(orders.CleanUp()) == orders.Failed()
