"""Pinned images: before they are cached and after, with shared chunks, in a cache that is full."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cacheproxy.core.eviction import PINNED
from cacheproxy.errors import DiskFullError, PinsFullError, StorageError
from cacheproxy.fill import pins as pins_module
from cacheproxy.fill.pins import Pins
from cacheproxy.store.pinfile import PinFile
from harness.fill_case import CHUNK, Case, facts_of, started
from harness.origin import Origin, OriginImage
from harness.waiting import until_async

LIMIT = 13 << 20
RNG = random.Random(5)
SHARED = RNG.randbytes(4 * CHUNK)
FIRST = RNG.randbytes(4 * CHUNK) + SHARED
SECOND = SHARED + RNG.randbytes(4 * CHUNK + 100)


@pytest.fixture
async def case(glance: Origin, tmp_path: Path) -> AsyncIterator[Case]:
    async with started(glance, tmp_path / "cache", limit_bytes=LIMIT) as made:
        yield made


async def settled(case: Case) -> set[bytes]:
    """Return the pinned chunks once they follow from the pinned images."""
    pins = case.flights.pins
    async with pins._settling:
        await pins._take_in(pins._contents(pins._list.images))
        await pins._let_out()
    return {digest async for block in case.store.all_pinned() for digest in block}


async def filled(case: Case, image: OriginImage) -> None:
    await case.read(image).task
    await case.idle()


async def flushed(case: Case, count: int = 4) -> None:
    """Bring in more than the cache holds."""
    for seed in range(count):
        data = random.Random(900 + seed).randbytes(16 * CHUNK)
        await filled(case, case.origin.add(data))


async def refetched(case: Case, image: OriginImage) -> int:
    """Return how many bytes come from the origin for one more reading."""
    before = image.sent_bytes
    await filled(case, image)
    return image.sent_bytes - before


async def test_a_pinned_image_stays(case: Case) -> None:
    image, other = case.origin.add(FIRST), case.origin.add(RNG.randbytes(8 * CHUNK))
    await filled(case, other)
    await filled(case, image)
    assert case.flights.pins.pinned() == []
    await case.flights.pins.pin(image.id)
    await flushed(case)
    assert await refetched(case, image) == 0
    assert await refetched(case, other) == 8 * CHUNK
    (pin,) = case.flights.pins.pinned()
    assert (pin.image_id, pin.size) == (image.id, len(FIRST))


async def test_an_image_that_is_not_cached_yet_is_pinned_as_it_comes(case: Case) -> None:
    image = case.origin.add(FIRST)
    await case.flights.pins.pin(image.id)
    assert [pin.size for pin in case.flights.pins.pinned()] == [None]
    await filled(case, image)
    assert case.store.pinned_bytes == len(FIRST)
    assert len(await settled(case)) == 8
    await flushed(case)
    assert await refetched(case, image) == 0


async def test_another_image_of_pinned_content_is_filled_pinned(case: Case) -> None:
    image, same = case.origin.add(FIRST), case.origin.add(FIRST)
    await filled(case, image)
    await filled(case, same)
    await case.flights.pins.pin(image.id)
    digests = await settled(case)
    assert len(digests) == 8
    await case.store.drop(digests)
    await filled(case, same)
    assert case.store.pinned_bytes == len(FIRST)


async def test_two_pinned_images_share_chunks(case: Case) -> None:
    first, second = case.origin.add(FIRST), case.origin.add(SECOND)
    for image in (first, second):
        await filled(case, image)
        await case.flights.pins.pin(image.id)
    assert len(await settled(case)) == 13
    assert await case.flights.pins.unpin(first.id)
    assert not await case.flights.pins.unpin(first.id)
    assert len(await settled(case)) == 9
    await flushed(case)
    assert await refetched(case, second) == 0
    assert await refetched(case, first) == 4 * CHUNK
    assert await case.flights.pins.unpin(second.id)
    assert await settled(case) == set()
    assert case.store.pinned_bytes == 0


async def test_pins_survive_restarts_and_are_settled_after_them(
    glance: Origin, tmp_path: Path
) -> None:
    first, second = glance.add(FIRST), glance.add(SECOND)
    async with started(glance, tmp_path, limit_bytes=LIMIT) as case:
        await filled(case, first)
        await filled(case, second)
        # As if killed between the record and its chunks, both ways.
        await case.flights.pins.pin(second.id)
        await case.store.pin_list.remove(second.id)
        await case.store.pin_list.add(first.id, 1)
    async with started(glance, tmp_path, limit_bytes=LIMIT) as case:
        assert [pin.image_id for pin in case.flights.pins.pinned()] == [first.id]
        assert len(await settled(case)) == 8
        await flushed(case)
        assert await refetched(case, first) == 0


async def test_what_does_not_fit_among_the_pinned_is_refused(case: Case) -> None:
    first = case.origin.add(FIRST)
    large = case.origin.add(RNG.randbytes(20 * CHUNK))
    await filled(case, first)
    await case.flights.pins.pin(first.id)
    await filled(case, large)
    with pytest.raises(PinsFullError, match=r"\d+ bytes to pin, but only \d+ of \d+ are left"):
        await case.flights.pins.pin(large.id)
    assert [pin.image_id for pin in case.flights.pins.pinned()] == [first.id]
    assert len(await settled(case)) == 8
    # Again is no more.
    await case.flights.pins.pin(first.id)


async def test_an_image_too_large_is_kept_in_part(case: Case) -> None:
    large = case.origin.add(RNG.randbytes(28 * CHUNK))
    await case.flights.pins.pin(large.id)
    await filled(case, large)
    assert 0 < case.store.pinned_bytes <= case.store.pinned_bytes_max
    assert case.store.pinned_bytes > case.store.pinned_bytes_max - CHUNK
    small = case.origin.add(RNG.randbytes(2 * CHUNK))
    await filled(case, small)
    assert await refetched(case, small) == 0


async def test_there_is_a_bound_on_images(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pins_module, "IMAGES_MAX", 1)
    await case.flights.pins.pin("a")
    await case.flights.pins.pin("a")
    with pytest.raises(PinsFullError, match="1 images are pinned"):
        await case.flights.pins.pin("b")


@pytest.mark.parametrize("image_id", ["", "x" * 256, "a\0b", "a b", "a\nb", "\u00e4"])
async def test_what_cannot_be_an_image_is_refused(case: Case, image_id: str) -> None:
    with pytest.raises(ValueError, match="name"):
        await case.flights.pins.pin(image_id)
    assert case.flights.pins.pinned() == []
    assert not await case.flights.pins.unpin(image_id)


async def test_a_binding_settles_what_was_there_before(case: Case) -> None:
    """A chunk that another image brought in is pinned when the pinned image is proven."""
    second, first = case.origin.add(SECOND), case.origin.add(FIRST)
    await filled(case, second)
    await case.flights.pins.pin(first.id)
    await filled(case, first)
    assert len(await settled(case)) == 8
    key, _, proven = case.flights.contents.find(facts_of(first))
    assert proven
    assert case.flights.pins.wants("other", key)
    assert not case.flights.pins.wants(second.id, "other")


async def test_who_waits_for_a_disk_does_not_end_it(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settling goes on after the disk failed once."""
    failed = asyncio.Event()
    real = Pins._let_out

    async def failing(_: Pins) -> None:
        monkeypatch.setattr(Pins, "_let_out", real)
        failed.set()
        raise StorageError("ill")

    monkeypatch.setattr(Pins, "_let_out", failing)
    case.flights.pins.look_again()
    await failed.wait()
    image = case.origin.add(FIRST)
    await filled(case, image)
    await case.flights.pins.pin(image.id)
    case.flights.pins.look_again()
    assert len(await settled(case)) == 8
    assert not any(task.done() for task in case.flights._background)


async def test_pins_outlive_the_index(glance: Origin, tmp_path: Path) -> None:
    """Their images are pinned again as they come: by then nothing knows what they consist of."""
    image, other = glance.add(FIRST), glance.add(SECOND)
    async with started(glance, tmp_path, limit_bytes=LIMIT) as case:
        for each in (image, other):
            await filled(case, each)
            await case.flights.pins.pin(each.id)
        assert await case.flights.pins.unpin(other.id)
        told = case.flights.pins.pinned()
    (tmp_path / "index" / "data.mdb").write_bytes(b"\xff" * 100_000)
    async with started(glance, tmp_path, limit_bytes=LIMIT) as case:
        await case.store.reconciled()
        assert case.store.pinned_bytes == 0
        (pin,) = case.flights.pins.pinned()
        assert (pin.image_id, pin.since, pin.size) == (image.id, told[0].since, None)
        await filled(case, image)
        assert case.store.pinned_bytes == len(FIRST)
        digests = await settled(case)
        assert len(digests) == 8
        queues = {case.store._entries.get(digest).place.queue for digest in digests}  # type: ignore[union-attr]  # listed
        assert queues == {PINNED}
        assert case.flights.pins.pinned() == told
        await flushed(case)
        assert await refetched(case, image) == 0
        assert await refetched(case, other) > 0


async def test_a_disk_that_fails_is_told_and_nothing_is_pinned(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = case.origin.add(FIRST)
    await filled(case, image)

    def fail(*_: object) -> None:
        raise DiskFullError("no space")

    with monkeypatch.context() as patch:
        patch.setattr(PinFile, "replace", fail)
        with pytest.raises(DiskFullError):
            await case.flights.pins.pin(image.id)
    assert image.id not in case.flights.pins
    assert await settled(case) == set()
    await case.flights.pins.pin(image.id)
    with monkeypatch.context() as patch:
        patch.setattr(PinFile, "replace", fail)
        with pytest.raises(DiskFullError):
            await case.flights.pins.unpin(image.id)
    assert image.id in case.flights.pins
    assert len(await settled(case)) == 8


async def test_who_pins_and_leaves_has_it_pinned_soon(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    real = PinFile.replace

    def replace(*given: Any) -> None:
        begun.set()
        go_on.wait()
        real(*given)

    image = case.origin.add(FIRST)
    await filled(case, image)
    monkeypatch.setattr(PinFile, "replace", replace)
    pinning = asyncio.create_task(case.flights.pins.pin(image.id))
    await asyncio.to_thread(begun.wait)
    pinning.cancel()
    await asyncio.wait([pinning])
    go_on.set()
    await until_async("the chunks to be pinned", lambda: case.store.pinned_bytes == len(FIRST))
    assert image.id in case.flights.pins


async def test_a_start_with_too_small_a_limit_gives_up_the_youngest_pins(
    glance: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("cacheproxy.fill.pins.time.time", lambda: now)
    data = [random.Random(seed).randbytes(9 * CHUNK) for seed in range(2)]
    async with started(glance, tmp_path, limit_bytes=LIMIT) as case:
        older, younger = [glance.add(each) for each in data]
        for image in (older, younger):
            await filled(case, image)
            await case.flights.pins.pin(image.id)
            now += 1
    limit = LIMIT - (4 << 20)
    async with started(glance, tmp_path, limit_bytes=limit) as case:
        await until_async("one to be given up", lambda: len(case.flights.pins.pinned()) == 1)
        assert [pin.image_id for pin in case.flights.pins.pinned()] == [older.id]
        await until_async("room", lambda: case.store._ledger.excess == 0)
        assert await refetched(case, older) == 0
        await case.idle()
        assert case.store._ledger.used <= limit
