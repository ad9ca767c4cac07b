"""What an operator sees of a cache, its images and its fills."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cacheproxy import inspection
from cacheproxy.admin.results import ImageRow, Range
from cacheproxy.inspection import OperationError
from cacheproxy.metrics import REQUESTS, SERVED_BYTES
from harness.admin_case import CHUNK, AdminCase, administered


@pytest.fixture
async def case(tmp_path: Path) -> AsyncIterator[AdminCase]:
    async with administered(tmp_path / "cache") as made:
        await made.store.reconciled()
        yield made


async def rows(case: AdminCase) -> dict[str, ImageRow]:
    return {row.image: row async for some in case.inspection.rows() for row in some}


async def test_an_empty_cache(case: AdminCase) -> None:
    status = case.inspection.status()
    assert (status.version, status.disk.state, status.fills) == ("1.2.3", "normal", [])
    assert status.space.used_bytes == status.space.overhead_bytes > 0
    assert status.space.reconciled
    assert status.requests.hit_ratio is None
    assert status.requests.cached_byte_ratio is None
    assert await rows(case) == {}


async def test_the_sums_of_a_cache(case: AdminCase) -> None:
    first = await case.cached(1, 2, 3)
    await case.cached(3, 4)
    await case.operations.pin(first.id)
    await case.store.sync()
    status = case.inspection.status()
    counts = status.counts
    assert (counts.chunks, counts.contents, counts.images, counts.pinned) == (4, 2, 2, 1)
    assert status.space.chunk_bytes == 4 * CHUNK
    assert status.space.pinned_bytes == 3 * CHUNK
    assert status.space.used_bytes == status.space.chunk_bytes + status.space.overhead_bytes


async def test_ratios_are_of_what_the_cache_had_a_part_in(case: AdminCase) -> None:
    meter = case.board.meter(0)
    for result, count in (("hit", 6), ("partial", 1), ("miss", 1), ("bypass", 9), ("error", 2)):
        meter.inc(REQUESTS, count, result)
    meter.inc(SERVED_BYTES, 300, "cache")
    meter.inc(SERVED_BYTES, 100, "bypass")
    requests = case.inspection.status().requests
    assert requests.hit_ratio == 0.75
    assert (requests.bypass, requests.error, requests.served_bytes) == (9, 2, 400)
    assert requests.cached_byte_ratio == 0.75


async def test_an_image_is_shown_with_what_is_there(case: AdminCase) -> None:
    image = await case.cached(1, 2, 3, 4, tail=1000)
    twin = case.origin.add(image.content.read(0, image.content.size))
    await case.read(twin).task
    digests = [
        case.store.manifest_page(case.inspection.known(image.id).key, 0)[at : at + 32]  # type: ignore[index]  # it is there
        for at in (32,)
    ]
    await case.store.drop(digests)
    shown = await case.inspection.show(image.id)
    assert shown.knowledge == "proven"
    assert (shown.size_bytes, shown.chunk_bytes) == (3 * CHUNK + 1000, CHUNK)
    assert (shown.checksum, shown.hash_value) == (
        image.record["checksum"],
        image.record["os_hash_value"],
    )
    assert shown.same_content == [twin.id]
    assert shown.cached.ranges == [
        Range(start=0, stop=CHUNK),
        Range(start=2 * CHUNK, stop=3 * CHUNK + 1000),
    ]
    assert shown.cached.cells == [1, 0, 1, 1]
    assert (shown.cached.chunks, shown.cached.cached_bytes) == (3, 2 * CHUNK + 1000)
    assert (shown.pinned, shown.fill) == (False, None)


async def test_a_fill_is_seen_while_it_runs(case: AdminCase) -> None:
    image = case.add(1, 2, 3, 4)
    hold = image.hold_at(2 * CHUNK)
    reading = case.read(image)
    await hold.reached.wait()
    await reading.first.wait()
    (fill,) = case.inspection.status().fills
    assert (fill.image, fill.size_bytes, fill.readers, fill.whole) == (image.id, 4 * CHUNK, 1, True)
    assert 0 < fill.there_bytes <= 2 * CHUNK
    ((row,),) = [some async for some in case.inspection.rows()]
    shown = await case.inspection.show(image.id)
    assert (row.filling, row.knowledge, row.image) == (True, "learning", image.id)
    assert shown.fill is not None
    assert shown.cached.cached_bytes >= row.cached_bytes > 0
    hold.release.set()
    await reading.task
    await case.idle()
    assert case.inspection.status().fills == []


async def test_an_image_that_is_being_learnt_is_listed(tmp_path: Path) -> None:
    async with administered(tmp_path / "cache", complete_in_background=False) as case:
        part, whole = case.add(1, 2, 3), await case.cached(4)
        await case.read(part, 0, CHUNK).task
        await case.idle()
        found = await rows(case)
        assert set(found) == {part.id, whole.id}
        assert (found[part.id].knowledge, found[part.id].cached_bytes) == ("learning", CHUNK)
        assert (found[whole.id].knowledge, found[whole.id].cached_bytes) == ("proven", CHUNK)
        assert (await case.inspection.show(part.id)).knowledge == "learning"


async def test_rows_come_in_bounded_parts(case: AdminCase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "ROWS", 2)
    for seed in range(5):
        await case.cached(seed)
    sizes = [len(some) async for some in case.inspection.rows()]
    assert sizes == [2, 2, 1]


async def test_an_image_that_is_only_pinned_is_listed(case: AdminCase) -> None:
    known = await case.cached(1)
    await case.operations.pin("not-seen-yet")
    await case.operations.pin(known.id)
    found = await rows(case)
    assert (found["not-seen-yet"].knowledge, found["not-seen-yet"].pinned) == ("unknown", True)
    assert (found[known.id].knowledge, found[known.id].pinned) == ("proven", True)
    assert len(found) == 2


async def test_nothing_is_known_of_an_image(case: AdminCase) -> None:
    with pytest.raises(OperationError, match="nothing is known of image x") as caught:
        await case.inspection.show("x")
    assert caught.value.code == "unknown-image"
