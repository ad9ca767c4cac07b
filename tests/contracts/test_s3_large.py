"""An image of 6 GiB into a real S3 and back, each in a process that has little memory for it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from bench.stores import job as jobs
from bench.stores.comparison import Side
from bench.stores.job import Job, Source, digest_of
from bench.stores.services import s3
from harness.ceph import Gateway, running_ceph, running_gateway
from harness.services import unavailable

MIB = 1 << 20
SIZE = 6144 * MIB + 1
ROOM = 9 << 30  # on the disk, for the image and Ceph's own
PEAK_MAX = 150 * MIB


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """Run Ceph with its data on the disk: memory has no room."""
    if shutil.disk_usage(tmp_path).free < ROOM:
        unavailable(f"needs {ROOM >> 30} GiB on the disk of {tmp_path}")
    with running_ceph(tmp_path, on_disk=True) as ceph, running_gateway(ceph) as running:
        yield running


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_six_gibibytes(gateway: Gateway, tmp_path: Path) -> None:
    backing = s3(gateway.url, gateway.access_key, gateway.secret_key)
    configuration = str(backing.written(tmp_path / "glance.conf", {}))
    side = Side("cacheproxy", (sys.executable, "-m", "bench.stores.ours"))
    job = Job(jobs.UP, configuration, name="image", size=SIZE)
    written = side.done(job)
    assert written.peak_bytes < PEAK_MAX
    job = replace(job, uri=written.result)
    whole = side.done(replace(job, verb=jobs.DOWN))
    assert (whole.moved, whole.peak_bytes < PEAK_MAX) == (SIZE, True)
    spans = ((0, MIB), (SIZE // 2, SIZE // 2 + 64 * MIB), (SIZE - 1, SIZE + 1))
    ranges = side.done(replace(job, verb=jobs.RANGES, spans=spans))
    assert (ranges.moved, ranges.peak_bytes < PEAK_MAX) == (65 * MIB + 1, True)
    checked = side.done(replace(job, verb=jobs.CHECK))
    assert checked.result == digest_of(iter(partial(Source(SIZE).read, MIB), b""))
    _ = side.done(replace(job, verb=jobs.DELETE))
    with pytest.raises(RuntimeError, match="MissingError"):
        side.done(replace(job, verb=jobs.DOWN))
