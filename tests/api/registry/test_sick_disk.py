"""A disk that gives nothing any more: its images are not to be had, everything else is."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from backends.options import DataDirectory, FilesystemOptions
from harness.damage import make_cold
from harness.slowdisk import on_its_way
from harness.smalldisk import SmallDisk, small_disk

MIB = 1 << 20
CONTENT = random.Random(1).randbytes(8 * MIB)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path, "ext4") as disk:
        yield disk


@pytest.fixture
def stores(stores: Any, disk: SmallDisk) -> Any:
    options = FilesystemOptions((DataDirectory(disk.path / "images"),), hang_seconds=0.2)
    file, *others = stores.stores
    return replace(stores, stores=(replace(file, options=options), *others))


async def in_pieces() -> AsyncIterator[bytes]:
    for start in range(0, len(CONTENT), MIB):
        yield CONTENT[start : start + MIB]


async def test_the_catalog_goes_on(client: Any, disk: SmallDisk) -> None:
    image_id = await client.create()
    assert (await client.upload(image_id, in_pieces())).status == 204
    warm = await client.add(b"warm")
    path = disk.path / "images" / image_id
    make_cold(path)
    slow = on_its_way(disk, path, 2 * MIB)
    await asyncio.to_thread(slow.__enter__)
    try:
        async with client.session.get(f"/v2/images/{image_id}/file") as answer:
            assert answer.status == 200
            assert (await client.download(warm)).body == b"warm"
            assert (await client.show(image_id))["status"] == "active"
            with pytest.raises(aiohttp.ClientError):
                await answer.read()
    finally:
        await asyncio.to_thread(slow.__exit__, None, None, None)
    async with client.session.get(f"/v2/images/{image_id}/file") as answer:
        assert await answer.read() == CONTENT
