"""The process that does one operation with a store, on a store that needs no service."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench.stores import job as jobs
from bench.stores import ours
from bench.stores.comparison import Comparison, Side
from bench.stores.job import Job, Source, digest_of
from bench.stores.services import Backing, free_s3

SIZE = (8 << 20) + 1


@pytest.fixture
def job(tmp_path: Path) -> Job:
    data = tmp_path / "images"
    data.mkdir()
    backing = Backing("file", {"filesystem_store_datadir": str(data)})
    configuration = backing.written(tmp_path / "glance.conf", {})
    return Job(jobs.UP, str(configuration), name="image", size=SIZE)


@pytest.mark.parametrize("verb", [jobs.UP, jobs.UP_HASHED])
async def test_one_image(job: Job, tmp_path: Path, verb: str) -> None:
    written = await ours.run(replace(job, verb=verb, cores=(0,)))
    assert written.moved == SIZE
    assert written.seconds > 0
    assert written.peak_bytes > 1 << 20
    assert len(written.busy) == 1
    there = replace(job, uri=written.result, known=written.result)
    read = await ours.run(replace(there, verb=jobs.DOWN))
    assert read.moved == SIZE
    some = await ours.run(replace(there, verb=jobs.RANGES, spans=((0, 10), (SIZE - 5, SIZE))))
    assert (some.moved, some.refused) == (15, False)
    checked = await ours.run(replace(there, verb=jobs.CHECK))
    assert checked.result == digest_of(iter(Source(SIZE).read, b""))
    await ours.run(replace(there, verb=jobs.DELETE))
    assert list((tmp_path / "images").iterdir()) == []


def test_what_a_process_tells(job: Job, tmp_path: Path) -> None:
    side = Side("cacheproxy", (sys.executable, "-m", "bench.stores.ours"))
    uri = side.done(job).result
    settled: list[bool] = []
    configuration = Path(job.configuration)
    both = Comparison(
        {"cacheproxy": (side, configuration)}, SIZE, uri, lambda: settled.append(True)
    )
    assert both.run(jobs.UP, "cacheproxy")["MB/s"] > 0
    assert settled == [True]
    assert [file.name for file in (tmp_path / "images").iterdir()] == ["image"]
    assert both.run(jobs.RANGES, "cacheproxy", [(0, 1 << 20)])["ranges/s"] > 0


def test_a_process_that_fails(job: Job) -> None:
    side = Side("cacheproxy", (sys.executable, "-m", "bench.stores.ours"))
    with pytest.raises(RuntimeError, match=r"(?s)cacheproxy: down: .*DeniedError"):
        side.done(replace(job, verb=jobs.DOWN, uri=f"file://{job.configuration}"))


@pytest.mark.parametrize("size", [SIZE, 201 << 20])  # in one request, and in parts
def test_s3_that_costs_nothing(tmp_path: Path, size: int) -> None:
    side = Side("cacheproxy", (sys.executable, "-m", "bench.stores.ours"))
    with free_s3(tmp_path) as backing:
        configuration = str(backing.written(tmp_path / "glance.conf", {}))
        job = Job(jobs.UP, configuration, name="image", size=size)
        job = replace(job, uri=side.done(job).result)
        read = side.done(replace(job, verb=jobs.CHECK))
        assert read.result == digest_of(iter(Source(size).read, b""))
        spans = ((0, 1), (size - 9, size))
        assert side.done(replace(job, verb=jobs.RANGES, spans=spans)).moved == 10
        side.done(replace(job, verb=jobs.DELETE))
        with pytest.raises(RuntimeError, match="MissingError"):
            side.done(replace(job, verb=jobs.DOWN))
