"""What goes with an image that is gone, and what stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from cacheproxy.errors import StorageError
from cacheproxy.fill import gone
from cacheproxy.fill.gone import GoneImages
from cacheproxy.metrics import CACHE_BYTES, IMAGES_FORGOTTEN
from cacheproxy.store.pinfile import PinFile
from harness.fill_case import CHUNK, Case, started
from harness.images import random_bytes
from harness.origin import Origin, OriginImage, origin

HEAD = random_bytes(2 * CHUNK, seed=1)
ONE, OTHER = HEAD + random_bytes(CHUNK, seed=2), HEAD + random_bytes(2 * CHUNK, seed=3)


@pytest.fixture
async def glance() -> AsyncIterator[Origin]:
    async with origin() as running:
        yield running


@asynccontextmanager
async def case_of(glance: Origin, directory: Path) -> AsyncIterator[tuple[Case, GoneImages]]:
    async with started(glance, directory) as case:
        forgetting = GoneImages(case.store, case.flights, case.board.meter(0))
        yield case, forgetting
        await case.idle()


async def cached(case: Case, glance: Origin, data: bytes) -> OriginImage:
    image = glance.add(data)
    assert await case.read(image).task == data
    await case.idle()
    return image


async def test_chunks_go_with_their_last_image(glance: Origin, tmp_path: Path) -> None:
    async with case_of(glance, tmp_path) as (case, forgetting):
        first, second = [await cached(case, glance, ONE) for _ in range(2)]
        other = await cached(case, glance, OTHER)
        assert case.chunk_files() == 5
        assert await forgetting.forget([first.id]) == set()
        assert case.chunk_files() == 5
        assert case.store.image(first.id) is None
        assert await forgetting.forget([second.id]) == set()
        assert case.chunk_files() == 4  # the other one has the head, too
        assert await case.read(other).task == OTHER
        assert other.sent_bytes == len(OTHER)
        assert await forgetting.forget([other.id]) == set()
        assert case.chunk_files() == 0
        assert [key async for key in case.store.contents()] == []
        assert case.board.total(IMAGES_FORGOTTEN) == 3
        assert case.board.total(CACHE_BYTES) == case.store._ledger.overhead


async def test_images_that_go_together_do_not_keep_what_they_share(
    glance: Origin, tmp_path: Path
) -> None:
    async with case_of(glance, tmp_path) as (case, forgetting):
        images = [await cached(case, glance, data) for data in (ONE, OTHER, ONE)]
        # Also where they are told by two at once.
        await asyncio.gather(*(forgetting.forget([image.id]) for image in images))
        assert case.chunk_files() == 0


async def test_what_was_learnt_of_an_image_goes_as_well(glance: Origin, tmp_path: Path) -> None:
    async with case_of(glance, tmp_path) as (case, forgetting):
        image = glance.add(OTHER, cuts=[3 * CHUNK] * 10)
        with suppress(Exception):
            await case.read(image).task
        await case.idle()
        assert case.chunk_files() >= 2
        await forgetting.forget([image.id])
        assert case.chunk_files() == 0


async def test_an_image_that_nobody_knows_is_nothing(glance: Origin, tmp_path: Path) -> None:
    async with case_of(glance, tmp_path) as (case, forgetting):
        await cached(case, glance, ONE)
        assert await forgetting.forget(["never was", "x" * 1000, ""]) == set()
        assert case.chunk_files() == 3
        assert case.board.total(IMAGES_FORGOTTEN) == 0


async def test_a_fill_in_progress_is_let_be(glance: Origin, tmp_path: Path) -> None:
    async with case_of(glance, tmp_path) as (case, forgetting):
        image = glance.add(ONE)
        hold = image.hold_at(CHUNK + 1)
        reading = case.read(image)
        await hold.reached.wait()
        assert await forgetting.forget([image.id]) == {image.id}
        hold.release.set()
        assert await reading.task == ONE
        await case.idle()
        assert await forgetting.forget([image.id]) == set()
        assert case.chunk_files() == 0


async def test_what_the_disk_stood_in_the_way_of_is_tried_again(
    glance: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gone, "RETRY_SECONDS", 0.0)
    async with case_of(glance, tmp_path) as (case, forgetting):
        image = await cached(case, glance, ONE)
        real, failing = case.store.drop, [StorageError("no"), StorageError("no")]

        async def drop(digests: set[bytes]) -> None:
            if failing:
                raise failing.pop()
            await real(digests)
            done.set()

        done = asyncio.Event()
        monkeypatch.setattr(case.store, "drop", drop)
        running = asyncio.create_task(forgetting.run())
        forgetting.tell([image.id])
        await done.wait()
        await forgetting.forget([])  # waits for the one that has got through
        assert case.store.image(image.id) is None
        assert case.chunk_files() == 0
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_what_is_told_is_bounded(glance: Origin, tmp_path: Path) -> None:
    async with case_of(glance, tmp_path) as (_, forgetting):
        forgetting.tell(map(str, range(gone.TOLD_MAX + 5)))
        assert len(forgetting._told) == gone.TOLD_MAX


async def test_a_pin_goes_with_its_image(glance: Origin, tmp_path: Path) -> None:
    async with case_of(glance, tmp_path) as (case, forgetting):
        pinned, other = [await cached(case, glance, data) for data in (ONE, OTHER)]
        for image in (pinned, other):
            await case.flights.pins.pin(image.id)
        await forgetting.forget([pinned.id])
        assert case.chunk_files() == 4
        assert [pin.image_id for pin in case.flights.pins.pinned()] == [other.id]
        assert case.store.pinned_bytes == 4 * CHUNK


async def test_a_pin_that_the_disk_keeps_goes_the_next_time(
    glance: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StorageError("ill")

    async with case_of(glance, tmp_path) as (case, forgetting):
        image = await cached(case, glance, ONE)
        await case.flights.pins.pin(image.id)
        with monkeypatch.context() as patch:
            patch.setattr(PinFile, "replace", fail)
            with pytest.raises(StorageError):
                await forgetting.forget([image.id])
        assert image.id in case.flights.pins
        await forgetting.forget([image.id])
        assert image.id not in case.flights.pins
        assert case.store.image(image.id) is None
