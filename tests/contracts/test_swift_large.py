"""An image of 6 GiB into the real Swift and back, each in a process that has little memory for it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from backends.swift_options import MEGABYTE
from bench.stores import job as jobs
from bench.stores.comparison import Side
from bench.stores.job import Job, Source, digest_of
from bench.stores.services import Backing
from contracts.swift import ACCOUNT_KEY, ACCOUNT_USER
from harness.keystone import GLANCE, Keystone
from harness.services import unavailable
from harness.swift import Swift, running_swift

MIB = 1 << 20
SIZE = 6144 * MIB + 1
SEGMENT = 200 * MEGABYTE  # Glance's own size
ROOM = 9 << 30  # on the disk
PEAK_MAX = 150 * MIB


@pytest.fixture
def large_swift(tmp_path: Path, keystone: Keystone) -> Iterator[Swift]:
    """Run a Swift of which nothing is kept."""
    if shutil.disk_usage(tmp_path).free < ROOM:
        unavailable(f"needs {ROOM >> 30} GiB on the disk of {tmp_path}")
    with running_swift(tmp_path, keystone) as running:
        yield running
    shutil.rmtree(tmp_path / "devices")


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_six_gibibytes(large_swift: Swift, tmp_path: Path) -> None:
    options = {
        "swift_store_auth_address": large_swift.keystone.url,
        "swift_store_user": ACCOUNT_USER,
        "swift_store_key": ACCOUNT_KEY,
        "swift_store_create_container_on_put": "true",
        "swift_store_endpoint": large_swift.account(GLANCE),
    }
    configuration = str(Backing("swift", options).written(tmp_path / "glance.conf", {}))
    side = Side("cacheproxy", (sys.executable, "-m", "bench.stores.ours"))
    job = Job(jobs.UP, configuration, name="image", size=SIZE)
    written = side.done(job)
    assert written.peak_bytes < PEAK_MAX
    job = replace(job, uri=written.result)
    whole = side.done(replace(job, verb=jobs.DOWN))
    assert (whole.moved, whole.peak_bytes < PEAK_MAX) == (SIZE, True)
    borders = [(number * SEGMENT - 1, number * SEGMENT + 1) for number in (1, 7, 31)]
    spans = (*borders, (SIZE // 2, SIZE // 2 + 64 * MIB), (SIZE - 1, SIZE + 1))
    ranges = side.done(replace(job, verb=jobs.RANGES, spans=spans))
    assert (ranges.moved, ranges.peak_bytes < PEAK_MAX) == (64 * MIB + 7, True)
    checked = side.done(replace(job, verb=jobs.CHECK))
    assert checked.result == digest_of(iter(partial(Source(SIZE).read, MIB), b""))
    _ = side.done(replace(job, verb=jobs.DELETE))
    assert not list((tmp_path / "devices").rglob("*.data"))
