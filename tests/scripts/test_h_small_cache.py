"""A cache that is smaller than what is asked of it: it evicts, and never exceeds its limit."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from harness.images import random_bytes
from harness.origin import OriginImage
from harness.story import CHUNK, Story, disk_bytes, figure, story

MIB = 1 << 20
LIMIT_BYTES = 24 * MIB
SIZE = 5 * CHUNK + 1234
IMAGES = 8


def add(told: Story, size: int = SIZE) -> list[tuple[OriginImage, bytes]]:
    contents = [random_bytes(size, seed=100 + number) for number in range(IMAGES)]
    return [(told.glance.add(data), data) for data in contents]


async def within_the_limit(told: Story) -> None:
    assert await asyncio.to_thread(disk_bytes, told.node.cache) <= LIMIT_BYTES
    assert await told.metric("cache_bytes") <= LIMIT_BYTES


@pytest.mark.parametrize("workers", [1, 3])
async def test_old_images_give_way(tmp_path: Path, workers: int) -> None:
    async with story(tmp_path, limit_bytes=LIMIT_BYTES, workers=workers) as told:
        images = add(told)
        for _ in range(2):
            for image, data in images:
                assert await told.ask(image.id).body() == data
                await within_the_limit(told)
        samples = await told.idle()
        assert figure(samples, "evicted_bytes_total") >= (2 * IMAGES * SIZE) - LIMIT_BYTES
        assert figure(samples, "requests_total", result="bypass") == 0
        # The last one is whole.
        image, data = images[-1]
        sent = image.sent_bytes
        assert await told.ask(image.id).body() == data
        assert image.sent_bytes == sent


async def test_all_at_once(tmp_path: Path) -> None:
    async with story(tmp_path, limit_bytes=LIMIT_BYTES, workers=3) as told:
        images = add(told)
        readers = [(told.ask(image.id), data) for image, data in images for _ in range(2)]
        for reader, data in readers:
            assert await reader.body() == data
            await within_the_limit(told)
        await told.idle()


async def test_what_never_fits_streams_through(tmp_path: Path) -> None:
    async with story(tmp_path, limit_bytes=LIMIT_BYTES) as told:
        small, kept = add(told)[0]
        assert await told.ask(small.id).body() == kept
        await told.idle()
        data = random_bytes(LIMIT_BYTES + 1, seed=99)
        for ranges in ("yes", "refused"):
            large = told.glance.add(data, ranges=ranges)
            assert await told.ask(large.id).body() == data
            part = told.ask(large.id, f"bytes={MIB - 1}-{MIB}")
            assert await part.body() == data[MIB - 1 : MIB + 1]
            assert part.status == 206
            tail = told.ask(large.id, "bytes=-7")
            assert await tail.body() == data[-7:]
            await within_the_limit(told)
        samples = await told.idle()
        assert figure(samples, "requests_total", result="bypass") == 6
        assert figure(samples, "evicted_bytes_total") == 0
        assert await told.ask(small.id).body() == kept
        assert await told.ended("hit") == 1


async def test_a_slow_reader_of_what_is_evicted_gets_all_of_it(tmp_path: Path) -> None:
    async with story(tmp_path, limit_bytes=LIMIT_BYTES) as told:
        long = random_bytes(8 * MIB, seed=98)
        first = told.glance.add(long)
        assert await told.ask(first.id).body() == long
        await told.idle()
        slow = told.ask(first.id, paused=True)
        await slow.answered()
        for image, data in add(told)[:4]:
            assert await told.ask(image.id).body() == data
            await within_the_limit(told)
        slow.go_on()
        assert await slow.body() == long
        await within_the_limit(told)
