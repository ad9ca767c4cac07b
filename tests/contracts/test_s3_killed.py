"""A process that is killed in the middle of an upload to a real S3: what is left, and what is not."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.errors import MissingError
from bench.stores import job as jobs
from bench.stores.job import Job
from bench.stores.services import s3
from contracts.s3 import image, left_in, opened
from contracts.subject import pattern, read, write
from harness.ceph import Gateway
from harness.program import BOUND_TO_US, REPOSITORY
from harness.waiting import passing

SIZE = 512 << 20  # more than is sent until it is killed
BUCKET = "killed"


@pytest.fixture
def upload(radosgw: Gateway, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that uploads an image."""
    backing = s3(radosgw.url, radosgw.access_key, radosgw.secret_key)
    configuration = backing.written(tmp_path / "glance.conf", {"s3_store_bucket": BUCKET})
    job = Job(jobs.UP, str(configuration), name="image", size=SIZE)
    command = [*BOUND_TO_US, sys.executable, "-m", "bench.stores.ours", job.command()]
    process = subprocess.Popen(command, cwd=REPOSITORY)
    yield process
    process.kill()
    process.wait()


async def test_killed(radosgw: Gateway, upload: subprocess.Popen[bytes]) -> None:
    keys = {"access_key": radosgw.access_key, "secret_key": radosgw.secret_key}
    async with opened(radosgw.url, bucket=BUCKET, **keys) as store:
        await store._check_bucket(await store._client.get())
        while not (begun := await left_in(store)):
            assert upload.poll() is None
            await passing(0.02)
        upload.kill()
        await asyncio.to_thread(upload.wait)
        assert begun == await left_in(store) == {"upload of image"}
        with pytest.raises(MissingError):
            await read(store, image(store))
        content = pattern(1000)
        await write(store, "image", content)  # it is in nobody's way
        assert await read(store, image(store)) == content
        await store.delete(image(store))
        assert await store.clear("image") == 1
        assert await left_in(store) == set()
