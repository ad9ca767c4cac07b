"""Verification on demand: by image, and of all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cacheproxy import checking
from cacheproxy.store.digest import digest_of
from cacheproxy.watch import Watch
from harness.admin_case import CHUNK, AdminCase, administered
from harness.damage import rot
from harness.store_case import chunk, chunk_path


@pytest.fixture
async def case(tmp_path: Path) -> AsyncIterator[AdminCase]:
    async with administered(tmp_path / "cache") as made:
        await made.store.reconciled()
        yield made


def damage(case: AdminCase, seed: int) -> str:
    digest = digest_of(chunk(seed))
    rot(chunk_path(case.settings.directory, digest))
    return digest.hex()


async def test_an_image_is_verified_and_no_other(case: AdminCase) -> None:
    image, other = await case.cached(1, 2, 3), await case.cached(4)
    bad, elsewhere = damage(case, 2), damage(case, 4)
    done = await case.operations.verify([image.id, "x"], Watch())
    verified, unknown = done.images
    assert (verified.image, verified.chunks, verified.bad_chunks) == (image.id, 3, 1)
    assert unknown.error == "nothing is known of image x"
    assert (done.chunks, done.damaged_chunks, done.missing_chunks) == (3, 1, 0)
    assert done.bad == [bad]
    assert await case.read(image).task == chunk(1) + chunk(2) + chunk(3)
    again = await case.operations.verify([image.id, other.id], Watch())
    assert [each.bad_chunks for each in again.images] == [0, 1]
    assert again.bad == [elsewhere]


async def test_all_is_verified_where_none_is_named(case: AdminCase) -> None:
    await case.cached(1, 2, 3)
    await case.cached(4)
    bad = {damage(case, 2), damage(case, 4)}
    chunk_path(case.settings.directory, digest_of(chunk(1))).unlink()
    watch = Watch()
    await case.store.sync()
    done = await case.operations.verify([], watch)
    assert (done.chunks, done.damaged_chunks, done.missing_chunks) == (4, 2, 1)
    assert set(done.bad) == {*bad, digest_of(chunk(1)).hex()}
    assert watch.look is not None
    seen = watch.look()
    assert (seen.image, seen.phase, seen.total_bytes) == ("", "hash", 4 * CHUNK)
    assert seen.done_bytes == done.read_bytes


async def test_a_bounded_number_of_digests_is_told(
    case: AdminCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "BAD_TOLD_MAX", 1)
    first, second = await case.cached(1, 2), await case.cached(3)
    for seed in (1, 2, 3):
        damage(case, seed)
    done = await case.operations.verify([first.id, second.id], Watch())
    assert done.damaged_chunks == 3
    assert len(done.bad) == 1


async def test_it_can_be_given_up(case: AdminCase) -> None:
    await case.cached(*range(8))
    task = asyncio.create_task(case.operations.verify([], Watch()))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
