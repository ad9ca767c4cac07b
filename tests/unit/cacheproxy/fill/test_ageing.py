"""Records are bounded: what nobody used for longest is forgotten, what is needed stays."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cacheproxy.core.records import ContentRecord, ImageRecord
from cacheproxy.fill import ageing
from cacheproxy.store.layout import Table
from harness.fill_case import CHUNK, Case, facts_of, started
from harness.origin import Origin

LIMIT = 16 << 20
RNG = random.Random(77)


@pytest.fixture
async def case(glance: Origin, tmp_path: Path) -> AsyncIterator[Case]:
    async with started(glance, tmp_path / "cache", limit_bytes=LIMIT) as made:
        yield made


def remember(case: Case, number: int, used: int) -> str:
    """Write the records of an image that was cached once; its manifest takes 32 KiB."""
    key = f"sha512:{number:0128x}/{CHUNK}"
    record = ContentRecord(size=1024 * CHUNK, chunk_bytes=CHUNK, proven=True, published=False)
    case.store.put_content(key, record)
    case.store.put_manifest_page(key, 0, RNG.randbytes(32 * 1024))
    case.store.put_image(f"image{number}", ImageRecord(1024 * CHUNK, None, None, None, key))
    if used:
        case.store.note_use(key, used)
    return key


async def known(case: Case) -> set[str]:
    return {key async for key, _ in case.store.contents()}


async def test_the_least_lately_used_go(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ageing, "BATCH", 4)
    keys = [remember(case, number, 1000 + (number * 7) % 40) for number in range(40)]
    unused = remember(case, 99, 0)
    await case.store.sync()
    assert case.store.record_bytes() > ageing.RECORDS_BYTES_MIN
    forgotten = await case.flights.ageing.forget_oldest()
    await case.store.sync()
    assert 0 < case.store.record_bytes() <= ageing.RECORDS_BYTES_MIN
    left = await known(case)
    gone = [key for key in keys if key not in left]
    assert len(gone) + 1 == forgotten
    assert unused not in left
    oldest = sorted(keys, key=lambda key: 1000 + (keys.index(key) * 7) % 40)
    assert set(gone) == set(oldest[: len(gone)])
    images = {record.content async for _, record in case.store.images()}
    assert images == left, "and the images with their contents"
    assert all(case.store.manifest_page(key, 0) is None for key in gone)
    assert all(case.store.last_use(key) == 0 for key in gone)
    assert await case.flights.ageing.forget_oldest() == 0


async def test_what_is_pinned_or_in_use_stays(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned, read, cold = (case.origin.add(RNG.randbytes(3 * CHUNK)) for _ in range(3))
    for image in (pinned, read, cold):
        await case.read(image).task
        await case.idle()
    await case.flights.pins.pin(pinned.id)
    in_use = await case.admit(read)
    orphan = ImageRecord(1, None, None, None, "sha512:gone/1")
    case.store.put_image("orphan", orphan)
    await case.store.sync()
    gc.collect()  # contents that nobody reads any more refer to themselves
    monkeypatch.setattr(ageing, "RECORDS_BYTES_MIN", 0)
    monkeypatch.setattr(ageing, "RECORDS_SHARE", LIMIT)
    assert await case.flights.ageing.forget_oldest() == 1
    kept = {case.flights.contents.find(facts_of(image))[0] for image in (pinned, read)}
    assert await known(case) == kept
    assert in_use.key in kept
    assert case.store.image("orphan") is None
    # What was forgotten is learnt again.
    assert len(await case.read(cold).task) == 3 * CHUNK
    await case.idle()


async def test_a_use_is_noted_once_a_day(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    image = case.origin.add(RNG.randbytes(3 * CHUNK))
    await case.read(image).task
    await case.idle()
    key, _, proven = case.flights.contents.find(facts_of(image))
    assert proven
    first = case.store.last_use(key)
    assert abs(first - time.time()) < 1000, "also under the name that it got with its proof"
    assert len([key async for key in case.store._walk(Table.USES)]) == 1
    monkeypatch.setattr("time.time", lambda: first + ageing.USE_SECONDS - 1.0)
    await case.admit(image)
    assert case.store.last_use(key) == first
    monkeypatch.setattr("time.time", lambda: first + ageing.USE_SECONDS + 5.0)
    await case.admit(image)
    assert case.store.last_use(key) == first + ageing.USE_SECONDS + 5
