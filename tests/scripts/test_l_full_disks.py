"""A small real disk without space, or without inodes, while clients download."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from harness.images import random_bytes
from harness.load import load
from harness.origin import OriginImage
from harness.recovery import recovered
from harness.smalldisk import INODES, MIB, Kind, SmallDisk, small_disk
from harness.story import CHUNK, Story, figure, story

LIMIT_BYTES = 1 << 30  # more than any of these disks has
KINDS: tuple[Kind, ...] = ("ext4", "xfs", "tmpfs")


def add(told: Story, count: int = 8, size: int = 4 * CHUNK + 77) -> list[tuple[OriginImage, bytes]]:
    contents = [random_bytes(size, seed=300 + number) for number in range(count)]
    return [(told.glance.add(data), data) for data in contents]


def floors(free_bytes: int = 0, free_inodes: int = 0) -> str:
    return f"[cache]\nfree_bytes_min = {free_bytes}\nfree_inodes_min = {free_inodes}\n"


async def no_request_failed(told: Story) -> None:
    samples = await told.idle()
    assert figure(samples, "requests_total", result="error") == 0
    assert figure(samples, "child_starts_total", kind="keeper") == 1


@pytest.mark.parametrize("floor", [0, 8 * MIB])
@pytest.mark.parametrize("kind", KINDS)
async def test_others_take_all_space(tmp_path: Path, kind: Kind, floor: int) -> None:
    options: dict[str, Any] = {"limit_bytes": LIMIT_BYTES, "more": floors(floor)}
    with small_disk(tmp_path, kind) as disk:
        async with story(tmp_path, cache=disk.path / "cache", **options) as told:
            images = add(told, count=24)
            async with load(told, images) as busy:
                await busy.downloads(5)
                while await told.metric("disk_state", state="degraded") == 0:
                    await asyncio.to_thread(disk.fill)
                    await busy.downloads(1)
                await asyncio.to_thread(disk.fill)
                await busy.downloads(10)
                await asyncio.to_thread(disk.free)
                await told.counted("disk_state", 1, state="normal")
                await busy.downloads(10)
            await recovered(told)
            await no_request_failed(told)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_limit_larger_than_the_disk(tmp_path: Path, kind: Kind) -> None:
    floor = 16 * MIB
    options: dict[str, Any] = {"limit_bytes": LIMIT_BYTES, "more": floors(floor)}
    with small_disk(tmp_path, kind) as disk:
        await asyncio.to_thread(disk.fill, leave=floor + 48 * MIB)
        async with story(tmp_path, cache=disk.path / "cache", **options) as told:
            images = add(told, count=20)
            async with load(told, images) as busy:
                await told.counted("evicted_bytes_total", 40 * CHUNK)
                assert disk.free_bytes > floor - 2 * CHUNK, "the index, and what was measured late"
                await busy.downloads(5)
            samples = await told.idle()
            limit = figure(samples, "cache_effective_limit_bytes")
            assert figure(samples, "cache_bytes") <= limit < 60 * MIB
            assert figure(samples, "cache_limit_bytes") == LIMIT_BYTES
            assert figure(samples, "disk_transitions_total", to="degraded") == 0
            assert figure(samples, "requests_total", result="error") == 0


async def effective(told: Story, disk: SmallDisk, floor: int) -> float:
    """Wait until the cache leaves the floor free; return its limit then."""
    while disk.free_bytes < floor:
        await told.idle()
    return await told.metric("cache_effective_limit_bytes")


async def test_it_shrinks_for_others_and_grows_again(tmp_path: Path) -> None:
    floor = 16 * MIB
    options: dict[str, Any] = {"limit_bytes": 96 * MIB, "more": floors(floor)}
    with small_disk(tmp_path, "ext4") as disk:
        async with story(tmp_path, cache=disk.path / "cache", **options) as told:
            images = add(told, count=12)
            for image, data in images:
                assert await told.ask(image.id).body() == data
            full = (await told.idle())["cacheproxy_cache_bytes"]
            await asyncio.to_thread(disk.fill, leave=floor - 12 * MIB)
            await told.counted("evicted_bytes_total", 12 * MIB)
            assert await effective(told, disk, floor) < 96 * MIB
            samples = await told.idle()
            assert figure(samples, "cache_bytes") <= full - 10 * MIB
            assert figure(samples, "disk_transitions_total", to="degraded") == 0
            # Room for what is asked for now comes from what is old.
            for image, data in images[:2]:
                assert await told.ask(image.id).body() == data
            assert disk.free_bytes > floor - CHUNK
            await asyncio.to_thread(disk.free)
            await told.counted("cache_effective_limit_bytes", 96 * MIB)
            await recovered(told)
            await no_request_failed(told)


@pytest.mark.parametrize("kind", ["ext4", "tmpfs"])
async def test_others_take_all_inodes(tmp_path: Path, kind: Kind) -> None:
    options: dict[str, Any] = {"limit_bytes": LIMIT_BYTES, "more": floors()}
    with small_disk(tmp_path, kind, inodes=INODES) as disk:
        async with story(tmp_path, cache=disk.path / "cache", **options) as told:
            images = add(told, count=16)
            async with load(told, images) as busy:
                await busy.downloads(5)
                await asyncio.to_thread(disk.crowd)
                await told.counted("disk_state", 1, state="degraded")
                await busy.downloads(10)
                await asyncio.to_thread(disk.free)
                await told.counted("disk_state", 1, state="normal")
                await busy.downloads(10)
            await recovered(told)
            await no_request_failed(told)


@pytest.mark.parametrize("kind", ["ext4", "tmpfs"])
async def test_small_images_leave_the_inodes_of_the_floor(tmp_path: Path, kind: Kind) -> None:
    floor = 100
    options: dict[str, Any] = {"limit_bytes": 64 * MIB, "more": floors(free_inodes=floor)}
    with small_disk(tmp_path, kind, inodes=INODES) as disk:
        async with story(tmp_path, cache=disk.path / "cache", **options) as told:
            images = add(told, count=INODES, size=5000)
            for image, data in images:
                assert await told.ask(image.id).body() == data
                assert os.statvfs(disk.path).f_favail > 0
            await told.idle()
            while os.statvfs(disk.path).f_favail < floor:
                await told.idle()
            await recovered(told)
            await no_request_failed(told)
