"""The limit holds at every sampled moment, however many race for the last bytes.

Chunks that were evicted are still being sent meanwhile: what is removed and still open counts.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from harness.images import random_bytes
from harness.story import Story, disk_bytes, figure, story

MIB = 1 << 20
LIMIT_BYTES = 40 * MIB
SIZE = 3 * MIB + 4321
FILLS = 100
SAMPLES_MIN = 20
ROUNDS_MIN = 3
ALLOWED = "\n[cache]\nfills_max = 128\nproject_share = 60\n"


class Samples:
    """What the cache directory takes, again and again, with files that only a process still has."""

    def __init__(self, told: Story) -> None:
        self.seen: list[int] = []
        self._told = told
        self._stop = threading.Event()

    def take(self) -> None:
        while not self._stop.is_set():
            self.seen.append(disk_bytes(self._told.node.cache) + self._deleted())

    def stop(self) -> None:
        self._stop.set()

    def _deleted(self) -> int:
        """Return the bytes of chunk files that were removed and are still open somewhere."""
        found: dict[int, int] = {}
        for process in self._told.node.program.children():
            try:
                for entry in Path(f"/proc/{process.pid}/fd").iterdir():
                    target = str(entry.readlink())
                    if f"{self._told.node.cache}/chunks" in target and "(deleted)" in target:
                        status = entry.stat()
                        if status.st_mode & 0o7777 == 0o440:  # it had its name: not being written
                            found[status.st_ino] = status.st_blocks * 512
            except FileNotFoundError:  # closed, or ended, meanwhile
                continue
        return sum(found.values())


@asynccontextmanager
async def sampled(told: Story) -> AsyncIterator[Samples]:
    """Look at the disk all the while; at the end it never took more than it may."""
    samples = Samples(told)
    taking = asyncio.create_task(asyncio.to_thread(samples.take))
    try:
        yield samples
    finally:
        samples.stop()
        await taking
    assert len(samples.seen) > SAMPLES_MIN
    assert max(samples.seen) <= LIMIT_BYTES


async def test_a_hundred_fills_race_while_slow_readers_hold_what_is_evicted(
    tmp_path: Path,
) -> None:
    async with story(tmp_path, limit_bytes=LIMIT_BYTES, workers=3, more=ALLOWED) as told:
        async with sampled(told):
            held = [random_bytes(6 * MIB, seed=seed) for seed in range(3)]
            slow = []
            for data in held:
                image = told.glance.add(data)
                assert await told.ask(image.id).body() == data
                slow.append(told.ask(image.id, paused=True))
                await slow[-1].answered()
            contents = [random_bytes(SIZE, seed=1000 + seed) for seed in range(FILLS)]
            readers = [told.ask(told.glance.add(data).id) for data in contents]
            for reader, data in zip(readers, contents, strict=True):
                assert await reader.body() == data
            for reader, data in zip(slow, held, strict=True):
                reader.go_on()
                assert await reader.body() == data
        samples = await told.idle()
        assert figure(samples, "evicted_bytes_total") > 0
        assert figure(samples, "requests_total", result="error") == 0


async def test_ranges_of_what_is_cached_race_with_fills(tmp_path: Path) -> None:
    """Proven contents are filled by ranges: small reservations, many at once, none protected."""
    async with story(tmp_path, limit_bytes=LIMIT_BYTES, workers=2, more=ALLOWED) as told:
        contents = [random_bytes(SIZE, seed=2000 + seed) for seed in range(24)]
        images = [told.glance.add(data) for data in contents]
        for image, data in zip(images, contents, strict=True):
            assert await told.ask(image.id).body() == data
        async with sampled(told) as samples:
            rounds = 0
            while rounds < ROUNDS_MIN or len(samples.seen) <= SAMPLES_MIN:
                rounds += 1
                parts = [
                    (told.ask(image.id, f"bytes={MIB - 5}-{MIB + 5}"), data)
                    for image, data in zip(images, contents, strict=True)
                ]
                whole = [
                    (told.ask(image.id), data) for image, data in zip(images, contents, strict=True)
                ]
                for reader, data in parts:
                    assert await reader.body() == data[MIB - 5 : MIB + 6]
                for reader, data in whole:
                    assert await reader.body() == data
