"""32 clients come, one wave after the other, for an image that nobody has: every byte comes once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.downloads import Download
from harness.images import random_bytes
from harness.origin import OriginImage
from harness.products import paired
from harness.story import CHUNK, Story, figure, story

SIZE = 5 * CHUNK + 777
DATA = random_bytes(SIZE, seed=2)
ORIGINS: dict[str, dict[str, Any]] = {
    "ranges": {"ranges": "yes"},
    "no ranges": {"ranges": "refused"},
    "ranges ignored": {"ranges": "ignored"},
    "no length": {"ranges": "ignored", "framing": "chunked"},
}
WAVE = 8
# What the clients of a wave ask for, and which bytes that is; the tail comes first.
WANTED = [
    (f"bytes={SIZE - CHUNK - 1000}-", slice(SIZE - CHUNK - 1000, SIZE)),
    (None, slice(0, SIZE)),
    ("bytes=0-", slice(0, SIZE)),
    (f"bytes={CHUNK - 1}-{CHUNK}", slice(CHUNK - 1, CHUNK + 1)),
    ("bytes=-10", slice(SIZE - 10, SIZE)),
    (f"bytes={3 * CHUNK}-{4 * CHUNK - 1}", slice(3 * CHUNK, 4 * CHUNK)),
    (None, slice(0, SIZE)),
    (f"bytes={SIZE - 777}-{SIZE - 2}", slice(SIZE - 777, SIZE - 1)),
]


def in_last_chunk(part: slice) -> bool:
    return bool(part.start >= SIZE - 777)


async def wave(told: Story, image: OriginImage, number: int) -> list[tuple[Download, slice]]:
    """Have the next eight clients come, and wait until all of them have joined the one fill."""
    came = [(told.ask(image.id, wanted), part) for wanted, part in WANTED]
    await told.counted("flights_joined_total", number * WAVE - 1)
    return came


@pytest.mark.parametrize(("kind", "workers"), paired(ORIGINS, [1, 3]))
async def test_a_herd_in_waves(tmp_path: Path, kind: str, workers: int) -> None:
    async with story(tmp_path, workers=workers) as told:
        image = told.glance.add(DATA, **ORIGINS[kind])
        early, late, last = (image.hold_at(p) for p in (CHUNK + 7, 4 * CHUNK, SIZE - 1))
        # Who wants the tail is the very first, and alone.
        readers = [(told.ask(image.id, WANTED[0][0]), WANTED[0][1])]
        await told.counted("flights", 1)
        readers += [(told.ask(image.id, wanted), part) for wanted, part in WANTED[1:]]
        await told.counted("flights_joined_total", WAVE - 1)
        await early.reached.wait()
        readers += await wave(told, image, 2)
        early.release.set()
        await late.reached.wait()
        readers += await wave(told, image, 3)
        late.release.set()
        await last.reached.wait()
        readers += await wave(told, image, 4)
        # The origin has not sent its last byte; only who wants nothing but the last chunk waits.
        for reader, part in readers:
            if not in_last_chunk(part):
                await reader.received(1)
        assert not any(reader.data for reader, part in readers if in_last_chunk(part))
        last.release.set()
        for reader, part in readers:
            assert await reader.body() == DATA[part]
        samples = await told.idle()
        assert image.sent_bytes == SIZE
        assert figure(samples, "upstream_bytes_total") == SIZE
        assert figure(samples, "flights_joined_total") == 4 * WAVE - 1
        assert figure(samples, "fill_duration_seconds_count", result="ok") == 1
        assert figure(samples, "child_starts_total", kind="worker") == workers
        assert told.chunk_files() == 6


@pytest.mark.parametrize(("kind", "workers"), paired(ORIGINS, [1, 3]))
async def test_some_leave_in_the_middle(tmp_path: Path, kind: str, workers: int) -> None:
    async with story(tmp_path, workers=workers) as told:
        image = told.glance.add(DATA, **ORIGINS[kind])
        hold = image.hold_at(2 * CHUNK + 5)
        first, *others = [told.ask(image.id) for _ in range(6)]
        await hold.reached.wait()
        await told.counted("flights_joined_total", 5)
        for reader in (first, *others):
            await reader.received(1)
        # The one who started it, and two more.
        for reader in (first, *others[:2]):
            await reader.leave()
        hold.release.set()
        for reader in others[2:]:
            assert await reader.body() == DATA
        samples = await told.idle()
        assert image.sent_bytes == SIZE
        results = {
            result: figure(samples, "requests_total", result=result)
            for result in ("miss", "partial", "hit")
        }
        # Who came late and left early may have met nothing but what was there.
        assert sum(results.values()) == 6
        assert results["miss"] > 0


async def test_all_leave_and_the_fill_goes_on(tmp_path: Path) -> None:
    async with story(tmp_path) as told:
        image = told.glance.add(DATA)
        hold = image.hold_at(CHUNK + 5)
        readers = [told.ask(image.id), told.ask(image.id, "bytes=-10")]
        await hold.reached.wait()
        await told.counted("flights_joined_total", 1)
        for reader in readers:
            await reader.leave()
        # Nobody is connected any more, but for the question itself.
        await told.counted("file_requests_total", 2)
        hold.release.set()
        await told.idle()
        assert image.sent_bytes == SIZE
        warm = told.ask(image.id)
        assert await warm.body() == DATA
        assert warm.headers["etag"] == f'"{image.id}"'


async def test_a_client_that_does_not_read_holds_up_nobody(tmp_path: Path) -> None:
    async with story(tmp_path) as told:
        data = random_bytes(40 * CHUNK, seed=3)
        image = told.glance.add(data)
        slow = told.ask(image.id, paused=True)
        await slow.answered()
        assert await told.ask(image.id).body() == data
        await told.counted("fill_duration_seconds_count", 1, result="ok")
        assert image.sent_bytes == len(data)
        # It holds a window of chunks, not the image.
        assert 0 < await told.metric("leases") <= 16 + 1
        slow.go_on()
        assert await slow.body() == data
