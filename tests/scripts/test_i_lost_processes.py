"""The keeper is killed, or hangs, or a worker is killed, while clients download."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest

from harness.images import random_bytes
from harness.products import paired
from harness.story import CHUNK, Story, figure, story

SIZE = 4 * CHUNK + 321
DATA = random_bytes(SIZE, seed=10)
OTHER = random_bytes(SIZE, seed=11)
ORIGINS: dict[str, dict[str, Any]] = {
    "ranges": {"ranges": "yes"},
    "no ranges": {"ranges": "refused"},
    "ranges ignored": {"ranges": "ignored"},
}
# A keeper that hangs is left alone, so that the workers have to do without it ...
PATIENT = "[DEFAULT]\nhang_seconds = 600\n[cache]\nkeeper_wait_seconds = 2\n"
# ... or is replaced.
IMPATIENT = "[DEFAULT]\nhang_seconds = 5\n[cache]\nkeeper_wait_seconds = 2\n"


async def keeper_is_back(told: Story) -> None:
    """Ask until an image is filled and then a hit: the workers get their new links one by one."""
    image = told.glance.add(DATA[:CHUNK])
    for name, result in (("fill_duration_seconds_count", "ok"), ("requests_total", "hit")):
        before = after = await told.metric(name, result=result)
        while after == before:
            assert await told.ask(image.id).body() == DATA[:CHUNK]
            after = figure(await told.idle(), name, result=result)


@pytest.mark.parametrize(("kind", "workers"), paired(ORIGINS, [1, 3]))
async def test_the_keeper_is_killed(tmp_path: Path, kind: str, workers: int) -> None:
    # What an earlier program has kept is in the index for good; the last commits may be lost.
    async with story(tmp_path) as told:
        warm = told.glance.add(DATA)
        assert await told.ask(warm.id).body() == DATA
    async with story(tmp_path, workers=workers) as told:
        told.glance.images[warm.id] = warm
        image = told.glance.add(OTHER, **ORIGINS[kind])
        hold = image.hold_at(2 * CHUNK + 7)
        whole = told.ask(image.id)
        part = told.ask(image.id, f"bytes={CHUNK + 1}-{3 * CHUNK}")
        await hold.reached.wait()
        await whole.received(1)
        told.process("keeper").send_signal(signal.SIGKILL)
        hold.release.set()
        assert await whole.body() == OTHER
        assert await part.body() == OTHER[CHUNK + 1 : 3 * CHUNK + 1]
        await told.counted("child_starts_total", 2, kind="keeper")
        await keeper_is_back(told)
        assert await told.ask(warm.id).body() == DATA
        samples = await told.idle()
        assert warm.sent_bytes == SIZE
        assert figure(samples, "requests_total", result="error") == 0
        assert figure(samples, "child_starts_total", kind="worker") == workers


async def test_who_joined_a_fill_finishes_without_the_keeper(tmp_path: Path) -> None:
    async with story(tmp_path) as told:
        image = told.glance.add(DATA)
        hold = image.hold_at(2 * CHUNK + 7)
        first = told.ask(image.id)
        await hold.reached.wait()
        await first.received(2 * CHUNK)
        # These get what has landed before they came, and nobody has proven yet.
        late = [told.ask(image.id) for _ in range(3)]
        for reader in late:
            await reader.received(2 * CHUNK)
        told.process("keeper").send_signal(signal.SIGKILL)
        hold.release.set()
        for reader in (first, *late):
            assert await reader.body() == DATA
        await told.counted("child_starts_total", 2, kind="keeper")


@pytest.mark.parametrize("kind", ORIGINS)
async def test_the_keeper_hangs_and_wakes(tmp_path: Path, kind: str) -> None:
    async with story(tmp_path, more=PATIENT) as told:
        warm, image = told.glance.add(DATA), told.glance.add(DATA, **ORIGINS[kind])
        for _ in range(2):
            assert await told.ask(warm.id).body() == DATA
        hold = image.hold_at(2 * CHUNK + 7)
        whole = told.ask(image.id)
        await hold.reached.wait()
        await whole.received(1)
        keeper = told.process("keeper")
        keeper.suspend()
        hold.release.set()
        try:
            # What a worker holds open is still a hit; all else goes round.
            assert await told.ask(warm.id).body() == DATA
            await told.counted("requests_total", 2, result="hit")
            assert await whole.body() == DATA
            fresh = told.glance.add(DATA)
            assert await told.ask(fresh.id, "bytes=-9").body() == DATA[-9:]
            await told.counted("requests_total", 2, result="bypass")
        finally:
            keeper.resume()
        await keeper_is_back(told)
        samples = await told.idle()
        assert figure(samples, "child_starts_total", kind="keeper") == 1
        assert figure(samples, "requests_total", result="error") == 0


async def test_a_keeper_that_hangs_is_replaced(tmp_path: Path) -> None:
    async with story(tmp_path, more=IMPATIENT, workers=3) as told:
        image = told.glance.add(DATA)
        hold = image.hold_at(2 * CHUNK + 7)
        readers = [told.ask(image.id) for _ in range(4)]
        await hold.reached.wait()
        for reader in readers:
            await reader.received(1)
        told.process("keeper").suspend()
        hold.release.set()
        for reader in readers:
            assert await reader.body() == DATA
        await told.counted("child_starts_total", 2, kind="keeper")
        await keeper_is_back(told)
        assert await told.metric("child_starts_total", kind="worker") == 3


async def test_a_worker_is_killed(tmp_path: Path) -> None:
    async with story(tmp_path, workers=3) as told:
        image = told.glance.add(DATA)
        hold = image.hold_at(2 * CHUNK + 7)
        readers = [told.ask(image.id) for _ in range(9)]
        await hold.reached.wait()
        await told.counted("flights_joined_total", 8)
        for reader in readers:
            await reader.received(1)
        victim = told.process("worker 1")
        victim.send_signal(signal.SIGKILL)
        # Until the supervisor knows, it may hand a connection to who is dead: nobody asks before.
        await told.replaced("worker 1", victim)
        # The listener has stayed, and the fill goes on: who comes now joins it.
        late = [told.ask(image.id) for _ in range(3)]
        await told.counted("flights_joined_total", 11)
        hold.release.set()
        endings = [await reader.ended() for reader in readers]
        for reader in late:
            assert await reader.body() == DATA
        lost = [reader for reader in readers if reader.ending != "whole"]
        assert endings.count("whole") == 9 - len(lost)
        assert 0 < len(lost) < 9
        for reader in readers:
            assert DATA.startswith(reader.data)
            assert reader in lost or bytes(reader.data) == DATA
        told.ask.asked -= len(lost)  # their process did not live to count them
        samples = await told.idle()
        assert image.sent_bytes == SIZE
        assert figure(samples, "child_starts_total", kind="keeper") == 1
        assert figure(samples, "child_starts_total", kind="worker") == 4
        bodies = await asyncio.gather(*(told.ask(image.id).body() for _ in range(6)))
        assert bodies == [DATA] * 6
        assert image.sent_bytes == SIZE
