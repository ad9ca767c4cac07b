"""Readers of images in two stores that fail at random, before an upstream with ranges or without."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from backends.errors import MissingError, ThrottledError, UnavailableError
from backends.faulty import Alter, End, Fail, Fault, Insert, Script, Wait
from cacheproxy.core import streams
from cacheproxy.fill import fill
from harness.direct_case import direct_case
from harness.fill_case import CHUNK
from harness.origin import Origin, Ranges

SIZE = 10 * CHUNK + 77
DATA = random.Random(21).randbytes(SIZE)
ROUNDS = 3
READERS = 4
RANGES: tuple[Ranges, ...] = ("yes", "refused", "ignored")


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read short legs, several at once, without pauses."""
    monkeypatch.setattr(streams, "WINDOW_SECONDS", 1e-9)
    monkeypatch.setattr(streams, "WINDOW_BYTES", 0)
    monkeypatch.setattr(streams, "SPARE", float("-inf"))
    monkeypatch.setattr(fill, "FIRST_LEG_BYTES", 2 * CHUNK)
    monkeypatch.setattr(fill, "BESIDE_BYTES", CHUNK)


def faults(chance: random.Random, *, lies: bool) -> list[Fault]:
    """Return what happens to one read."""
    at = chance.randrange(SIZE)
    error = chance.choice([UnavailableError("away"), ThrottledError("busy"), MissingError("gone")])
    kinds: list[Fault] = [Fail(error), Fail(error, at), End(at), Insert(b"more"), Wait(at=at)]
    if lies:
        kinds.append(Alter(at))
    return [chance.choice(kinds)] if chance.random() < 0.5 else []


def script(chance: random.Random, *, lies: bool) -> Script:
    """Return what happens to the reads of a store."""
    return [faults(chance, lies=lies) for _ in range(12)]


@pytest.mark.usefixtures("no_pause")
@pytest.mark.parametrize("seed", range(24))
async def test_every_reader_gets_every_byte(glance: Origin, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    published = chance.random() < 0.5
    async with direct_case(
        glance,
        tmp_path / "cache",
        scripts={name: script(chance, lies=published) for name in ("fast", "cheap")},
        stall_seconds=0.05,
        fill_read_bytes_max=4 * CHUNK,
        complete_in_background=chance.random() < 0.5,
    ) as case:
        image = glance.add(DATA, ranges=chance.choice(RANGES))
        if published:
            image.publish(CHUNK)
        await case.stores.put(image, "fast", "cheap")
        for _ in range(ROUNDS):
            image.cuts = [chance.randrange(SIZE)]
            spans = [sorted(chance.sample(range(SIZE + 1), 2)) for _ in range(READERS)]
            readings = [case.fills.read(image, start, stop) for start, stop in spans]
            for (start, stop), data in zip(
                spans, await asyncio.gather(*(each.task for each in readings)), strict=True
            ):
                assert data == DATA[start:stop], (start, stop)
            await case.fills.idle()
            image.cuts.clear()
            case.stores.clock.ahead += chance.choice([0.0, 1.0, 100.0, 10_000.0])
        assert await case.fills.read(image).task == DATA
        await case.fills.idle()
        assert case.fills.chunk_files() == 11
        assert case.total("failures") <= case.total("reads")
        for each in case.stores.scripted.values():
            assert each.faulty.begun == each.faulty.ended
