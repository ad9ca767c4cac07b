"""The index is damaged under a running keeper: it is made again, and every download stays right."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.images import random_bytes
from harness.load import load
from harness.origin import OriginImage
from harness.recovery import recovered
from harness.smalldisk import small_disk
from harness.story import CHUNK, Story, figure, story

# Few hot files, so that the keeper is asked, and reads its index.
QUICK = "[cache]\nfree_bytes_min = 0\nfree_inodes_min = 0\nhot_files_max = 16\n"
PAGE = 4096


def add(told: Story, count: int = 8) -> list[tuple[OriginImage, bytes]]:
    contents = [random_bytes(3 * CHUNK + 77, seed=500 + number) for number in range(count)]
    return [(told.glance.add(data), data) for data in contents]


def cut(index: Path) -> None:
    os.truncate(index, 3 * PAGE)


def empty(index: Path) -> None:
    os.truncate(index, 0)


def delete(index: Path) -> None:
    index.unlink()


def replace(index: Path) -> None:
    other = index.with_name("other")
    other.write_bytes(index.read_bytes())
    other.rename(index)


def overwrite(index: Path, page: Callable[[], bytes]) -> None:
    """Write over all pages but the two that every transaction begins at."""
    pages = index.stat().st_size // PAGE
    with index.open("r+b", buffering=0) as file:
        for number in range(2, pages):
            os.pwrite(file.fileno(), page(), number * PAGE)


def garble(index: Path) -> None:
    overwrite(index, lambda: random.Random(1).randbytes(PAGE))


def zero(index: Path) -> None:
    overwrite(index, lambda: bytes(PAGE))


def garble_all(index: Path) -> None:
    index.open("r+b").close()
    with index.open("r+b", buffering=0) as file:
        os.pwrite(file.fileno(), random.Random(2).randbytes(index.stat().st_size), 0)


@pytest.mark.parametrize("harm", [cut, empty, delete, replace, garble, zero, garble_all])
async def test_an_index_is_harmed_under_load(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    index = tmp_path / "cache/index/data.mdb"
    async with story(tmp_path, more=QUICK) as told:
        images = add(told)
        for image, data in images:
            assert await told.ask(image.id).body() == data
        await told.idle()
        async with load(told, images) as busy:
            await busy.downloads(5)
            keeper = told.process("keeper")
            harm(index)
            await told.replaced("keeper", keeper)
            await told.counted("disk_state", 1, state="normal")
            await busy.downloads(10)
        await recovered(told)
        samples = await told.idle()
        assert figure(samples, "requests_total", result="error") == 0
        assert figure(samples, "child_starts_total", kind="keeper") <= 4, "no endless crashes"
        for image, data in images:
            assert await told.ask(image.id).body() == data
        hits = await told.ended("hit")
        for image, data in images:
            assert await told.ask(image.id).body() == data
        assert await told.ended("hit") == hits + len(images), "all of it is learnt again"


async def test_an_index_on_a_full_disk(tmp_path: Path) -> None:
    """No commit succeeds, not even one that removes; what is evicted makes room for the next."""
    with small_disk(tmp_path, "ext4") as disk:
        cache = disk.path / "cache"
        async with story(tmp_path, cache=cache, limit_bytes=1 << 30, more=QUICK) as told:
            images = add(told, count=12)
            async with load(told, images) as busy:
                await busy.downloads(10)
                while await told.metric("disk_state", state="degraded") == 0:
                    await asyncio.to_thread(disk.fill)
                    await busy.downloads(1)
                await busy.downloads(5)
                await asyncio.to_thread(disk.free)
                await told.counted("disk_state", 1, state="normal")
            await recovered(told)
            log = told.node.program.log.read_text()
        # All that was learnt is there for the next program.
        async with story(tmp_path, cache=cache, limit_bytes=1 << 30, more=QUICK) as told:
            for image, data in images:
                told.glance.images[image.id] = image
                assert await told.ask(image.id).body() == data
            assert await told.ended("error") == 0
        assert "set aside" not in log
