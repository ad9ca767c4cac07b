"""An image of 6 GiB into a store and back, each operation in a process with little memory for it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from bench.stores import job as jobs
from bench.stores.comparison import Side
from bench.stores.job import Job, Source, digest_of
from harness.services import unavailable

MIB = 1 << 20
SIZE = 6144 * MIB + 1
ROOM = 9 << 30  # on the disk, for the image and what the service needs itself
PEAK_MAX = 150 * MIB


def check_room(directory: Path) -> None:
    """Skip the test where the disk has none."""
    if shutil.disk_usage(directory).free < ROOM:
        unavailable(f"needs {ROOM >> 30} GiB on the disk of {directory}")


def carry(configuration: Path, borders: Sequence[int] = ()) -> None:
    """Write the image, read it whole and in ranges, also around these borders, and delete it."""
    side = Side("cacheproxy", (sys.executable, "-m", "bench.stores.ours"))
    job = Job(jobs.UP, str(configuration), name="image", size=SIZE)
    written = side.done(job)
    assert written.peak_bytes < PEAK_MAX
    job = replace(job, uri=written.result)
    whole = side.done(replace(job, verb=jobs.DOWN))
    assert (whole.moved, whole.peak_bytes < PEAK_MAX) == (SIZE, True)
    spans = [(border - 1, border + 1) for border in borders]
    spans += [(0, MIB), (SIZE // 2, SIZE // 2 + 64 * MIB), (SIZE - 1, SIZE + 1)]
    ranges = side.done(replace(job, verb=jobs.RANGES, spans=tuple(spans)))
    expected = 65 * MIB + 1 + 2 * len(borders)
    assert (ranges.moved, ranges.peak_bytes < PEAK_MAX) == (expected, True)
    checked = side.done(replace(job, verb=jobs.CHECK))
    assert checked.result == digest_of(iter(partial(Source(SIZE).read, MIB), b""))
    _ = side.done(replace(job, verb=jobs.DELETE))
    with pytest.raises(RuntimeError, match="MissingError"):
        side.done(replace(job, verb=jobs.DOWN))
