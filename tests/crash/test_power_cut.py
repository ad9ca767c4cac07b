"""The power goes while clients download: whatever the disk has lost or torn, no byte is wrong."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from harness.powercut import PowerCut
from harness.results import note
from harness.scene import END_SECONDS, ROOMY, TIGHT, Scene, scene
from harness.steps import Group

NOTE_SECONDS = 0.1
WORK: dict[int, tuple[Group, ...]] = {ROOMY: ("fill", "quarantine"), TIGHT: ("evict", "fill")}


@contextlib.contextmanager
def noting(cut: PowerCut) -> Iterator[None]:
    """Remember what there is, again and again."""
    over = threading.Event()

    def note() -> None:
        while not over.wait(NOTE_SECONDS):
            cut.note()
            with contextlib.suppress(lmdb.Error):  # there is none yet, or it is being made
                cut.note_index_of_others()

    thread = threading.Thread(target=note, name="noting")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


async def cut_power(made: Scene, cut: PowerCut, seed: int) -> None:
    """Let clients work, kill everything at some moment, harm the directory, and look through it."""
    chance = random.Random(seed)
    group = chance.choice(WORK[made.limit_bytes])
    cut.synced()
    await made.start()
    with noting(cut):
        works = [asyncio.create_task(made.work(group)) for _ in range(chance.randint(1, 3))]
        enough = made.served + chance.randrange(12 << 20)
        while made.served < enough and not all(work.done() for work in works):
            await asyncio.wait(works, timeout=NOTE_SECONDS)
        os.killpg(made.node.program.process.pid, signal.SIGKILL)
        for work in works:
            await work
        await asyncio.to_thread(made.node.program.process.wait, END_SECONDS)
    await made.stop()
    await asyncio.to_thread(cut.strike, made.limit_bytes)
    await made.start()
    try:
        await made.look_through(warm_stays=made.limit_bytes == ROOMY and group == "fill")
    except AssertionError as error:
        error.add_note(f"seed {seed}, {group}: {cut.harm}")
        raise
    await made.stop()


@pytest.mark.parametrize("limit", [ROOMY, TIGHT], ids=["roomy", "tight"])
async def test_power_is_cut(tmp_path: Path, limit: int) -> None:
    await rounds(tmp_path, limit, range(2))


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("limit", [ROOMY, TIGHT], ids=["roomy", "tight"])
async def test_power_is_cut_again_and_again(tmp_path: Path, limit: int) -> None:
    await rounds(tmp_path, limit, seeds := range(1000, 1100))
    part = f"power cuts, {'room for all' if limit == ROOMY else 'evicting'}"
    await asyncio.to_thread(note, "crashes", part, {"cuts": len(seeds), "failures": []})


async def rounds(directory: Path, limit: int, seeds: range) -> None:
    async with scene(directory, limit_bytes=limit, seed=seeds.start) as made:
        await made.warm_up()
        cut = PowerCut(made.cache, directory / "past", random.Random(seeds.start))
        for seed in seeds:
            await cut_power(made, cut, seed)
