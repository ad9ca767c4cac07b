"""What nobody needs is removed; what somebody needs stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cacheproxy import cleanup
from cacheproxy.admin.results import GcResult
from cacheproxy.fill import forgetting
from cacheproxy.store.digest import digest_of
from cacheproxy.store.layout import Table
from cacheproxy.watch import Watch
from harness.admin_case import CHUNK, AdminCase, administered
from harness.damage import rot
from harness.store_case import chunk, chunk_path

NOTHING = GcResult(images=0, contents=0, chunks=0, chunk_disk_bytes=0, quarantine_disk_bytes=0)


@pytest.fixture
async def case(tmp_path: Path) -> AsyncIterator[AdminCase]:
    async with administered(tmp_path / "cache", complete_in_background=False) as made:
        await made.store.reconciled()
        yield made


async def put(case: AdminCase, seed: int) -> bytes:
    reservation = await case.store.reserve(CHUNK)
    try:
        return (await case.store.put(chunk(seed), reservation=reservation)).digest
    finally:
        reservation.close()


async def test_what_is_needed_stays(case: AdminCase) -> None:
    whole, part = await case.cached(1, 2), case.add(3, 4)
    await case.read(part, 0, CHUNK).task
    await case.idle()
    evicted = await case.cached(5)
    await case.operations.evict([evicted.id], content=False)
    assert await case.operations.gc() == NOTHING
    for image, cached in ((whole, 2 * CHUNK), (part, CHUNK), (evicted, 0)):
        assert (await case.inspection.show(image.id)).cached.cached_bytes == cached


@pytest.mark.parametrize("at_once", [1, 4096])
async def test_contents_that_no_image_has_go_with_their_chunks(
    case: AdminCase, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(cleanup, "CONTENTS_AT_ONCE", at_once)
    gone, also_gone, stays = await case.cached(1, 2), await case.cached(3), await case.cached(2, 4)
    for image in (gone, also_gone):
        case.store.forget_image(image.id)
    case.flights._in_use.clear()
    done = await case.operations.gc()
    assert (done.images, done.contents, done.chunks) == (0, 2, 2)
    assert done.chunk_disk_bytes == 2 * CHUNK
    assert case.chunk_files() == 2
    assert await case.read(stays).task == chunk(2) + chunk(4)
    assert await case.operations.gc() == NOTHING


async def test_an_image_whose_content_is_not_known_goes(case: AdminCase) -> None:
    image = await case.cached(1)
    case.flights.contents.pages.forget(case.inspection.known(image.id).key)
    done = await case.operations.gc()
    assert (done.images, done.chunks) == (1, 1)
    assert case.store.image(image.id) is None


async def test_a_fill_that_was_cut_short_goes_once_nothing_is_left_of_it(case: AdminCase) -> None:
    part = case.add(3, 4)
    await case.read(part, 0, CHUNK).task
    await case.idle()
    case.flights._in_use.clear()
    await case.operations.evict([part.id], content=False)
    assert (await case.operations.gc()).contents == 1


async def test_chunks_are_looked_at_in_blocks(
    case: AdminCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleanup, "BLOCK_DIGESTS", 2)
    monkeypatch.setattr("cacheproxy.store.survey.WALK_NAMES", 2)
    await case.cached(1, 2, 3)
    for seed in (11, 12, 13, 14):
        await put(case, seed)
    assert (await case.operations.gc()).chunks == 4
    assert case.chunk_files() == 3


async def test_chunks_stay_while_anything_is_filled(case: AdminCase) -> None:
    orphan = await put(case, 9)
    image = case.add(1, 2)
    hold = image.hold_at(CHUNK)
    reading = case.read(image)
    await hold.reached.wait()
    assert (await case.operations.gc()).chunks == 0
    hold.release.set()
    await reading.task
    await case.idle()
    assert (await case.operations.gc()).chunks == 1
    assert not case.store.has(orphan)


async def test_chunks_stay_if_a_fill_began_meanwhile(
    case: AdminCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(case, 9)
    image = case.add(9, 1)
    plain = forgetting.unlisted

    async def slow(*args: object, **more: object) -> set[bytes]:
        found = await plain(*args, **more)  # type: ignore[arg-type]  # passed on as they are
        await case.read(image).task
        await case.idle()
        return found

    monkeypatch.setattr(cleanup, "unlisted", slow)
    assert (await case.operations.gc()).chunks == 0
    assert await case.read(image).task == chunk(9) + chunk(1)


async def test_the_quarantine_is_emptied(case: AdminCase) -> None:
    image = await case.cached(1)
    rot(chunk_path(case.settings.directory, digest_of(chunk(1))))
    await case.operations.verify([image.id], Watch())
    while leaving := case.store._departures.all_leaving():
        await asyncio.wait(leaving)
    assert case.store.survey.figures().quarantine == CHUNK
    assert (await case.operations.gc()).quarantine_disk_bytes == CHUNK
    assert case.store.survey.figures().quarantine == 0
    assert list((case.settings.directory / "quarantine").iterdir()) == []


async def test_changes_are_committed_as_contents_go(
    case: AdminCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleanup, "COMMITTED_AT_ONCE", 2)
    for number in range(5):
        image = await case.cached(number)
        case.store.forget_image(image.id)
    case.flights._in_use.clear()
    await case.store.sync()
    forget, waiting = case.flights.contents.pages.forget, []

    def forgotten(key: str) -> None:
        forget(key)
        waiting.append(len([k for k in case.store._writer._waiting if k.table is Table.CONTENTS]))

    monkeypatch.setattr(case.flights.contents.pages, "forget", forgotten)
    assert (await case.operations.gc()).contents == 5
    assert waiting == [1, 2, 1, 2, 1]
