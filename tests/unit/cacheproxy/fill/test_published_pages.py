"""Pages of a published manifest: fetched as they are read, once, and believed only if they are right."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from backends.manifest import PAGE_DIGESTS
from cacheproxy.errors import FillFailedError
from harness.fill_case import CHUNK, Case, started
from harness.origin import Origin
from harness.published_case import DATA, OTHER, SIZE, add, asked, islands

pytestmark = pytest.mark.usefixtures("no_pause")


ISLANDS = islands({1: DATA[:CHUNK], 2 * PAGE_DIGESTS: OTHER[:CHUNK]})


async def test_only_the_pages_that_are_read_are_fetched(case: Case) -> None:
    image = add(case.origin, ISLANDS)
    start = 2 * PAGE_DIGESTS * CHUNK
    assert await case.read(image, start + 5, start + 9).task == OTHER[5:9]
    assert asked(image)[1] == [(2, 1)]
    # Whoever wants more gets the pages up to his end with one request, but not what is there.
    assert await case.read(image, CHUNK, start + 1).task is not None
    assert asked(image)[1] == [(2, 1), (0, 2)]
    await case.idle()
    assert image.sent_bytes == 2 * CHUNK


async def test_many_readers_ask_for_a_page_once(case: Case) -> None:
    image = add(case.origin, ISLANDS)
    assert image.publication is not None
    stall = image.publication.stall("pages")
    readers = [case.read(image, CHUNK, CHUNK + n, token=str(n)) for n in range(1, 9)]
    await stall.reached.wait()
    readers[0].task.cancel()  # what it has begun goes on
    await asyncio.wait([readers[0].task])
    stall.release.set()
    for n, reading in enumerate(readers[1:], 2):
        assert await reading.task == DATA[:n]
    await case.idle()
    assert asked(image) == (1, [(0, 1)])
    assert image.sent_bytes == CHUNK


async def test_pages_on_their_way_are_not_asked_for_again(case: Case) -> None:
    image = add(case.origin, ISLANDS)
    assert image.publication is not None
    stall = image.publication.stall("pages")
    start = 2 * PAGE_DIGESTS * CHUNK
    last = case.read(image, start, start + 5)
    await stall.reached.wait()
    more = case.read(image, CHUNK, start + 5)
    stall.release.set()
    assert await last.task == OTHER[:5]
    assert len(await more.task) == start + 5 - CHUNK
    assert asked(image)[1] == [(2, 1), (0, 2)]
    await case.idle()


async def test_a_source_without_ranges_brings_more_than_was_asked_for(case: Case) -> None:
    """What it sends before the reader's part is kept, so its pages are needed as well."""
    image = add(case.origin, islands({1: DATA[:CHUNK]}, pages=1), ranges="refused")
    start = PAGE_DIGESTS * CHUNK
    assert await case.read(image, start, start + 5).task == bytes(5)  # nothing to fetch
    assert asked(image)[1] == [(1, 1)]
    image = add(case.origin, islands({1: DATA[:CHUNK], PAGE_DIGESTS: OTHER[:CHUNK]}, pages=1))
    image.ranges = "refused"
    assert await case.read(image, start, start + 5).task == OTHER[:5]
    assert asked(image)[1] == [(1, 1), (0, 1)]
    await case.idle()
    assert await case.read(image, CHUNK, CHUNK + 5).task == DATA[:5]
    assert len(image.data_requests) == 2  # the range that was refused, and the whole


async def test_a_page_that_is_late_or_cut_is_asked_for_again(case: Case) -> None:
    image = add(case.origin)
    assert image.publication is not None
    image.publication.cuts["pages"] = 2
    assert await case.read(image, 0, 5).task == DATA[:5]
    await case.idle()
    assert asked(image) == (1, [(0, 1)] * 3)


@pytest.mark.parametrize("lie", ["another page", "too short", "too long", "gone"])
async def test_a_wrong_page_ends_the_belief(case: Case, lie: str) -> None:
    image = add(case.origin)
    assert image.publication is not None
    (page,) = image.publication.pages
    lies = {"another page": bytes(len(page)), "too short": page[:-1], "too long": page + b"x"}
    if lie in lies:
        image.publication.pages[0] = lies[lie]
    else:
        image.publication.status["pages"] = 404
    with pytest.raises(FillFailedError):
        await case.read(image).task
    await case.idle()
    assert case.flights.contents.describe(image.id) is None
    before = asked(image)
    assert await case.read(image).task == DATA  # learnt
    await case.idle()
    assert asked(image) == before
    assert case.flights.contents.describe(image.id) is not None
    assert image.sent_bytes == SIZE


async def test_pages_that_do_not_come_leave_the_belief(case: Case) -> None:
    image = add(case.origin)
    assert image.publication is not None
    image.publication.status["pages"] = 503
    with pytest.raises(FillFailedError):
        await case.read(image).task
    image.publication.status.clear()
    assert await case.read(image).task == DATA
    await case.idle()
    assert asked(image)[0] == 1


async def test_a_page_damaged_in_the_index_is_fetched_again(glance: Origin, tmp_path: Path) -> None:
    image = add(glance)
    async with started(glance, tmp_path / "cache") as case:
        assert await case.read(image, 0, 5).task == DATA[:5]
        await case.idle()
        content = await case.admit(image)
        page = case.store.manifest_page(content.key, 0)
        assert page is not None
        case.store.put_manifest_page(content.key, 0, bytes(32) + page[32:])
    async with started(glance, tmp_path / "cache") as case:
        reading = case.read(image)
        assert await reading.task == DATA
        assert reading.fetched[0] is False
        await case.idle()
    assert asked(image) == (1, [(0, 1)] * 2)
