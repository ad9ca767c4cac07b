"""A node in front of our own catalog, that reads the catalog's stores itself: S3 and files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.catalog import Catalog, running_catalog
from harness.downloads import Clients, clients
from harness.forwarder import Forwarder
from harness.images import random_bytes
from harness.images_api import ImagesApi
from harness.moto import running_moto
from harness.node import Node, async_node

CHUNK = 1 << 20
SIZE = 6 * CHUNK + 77
DATA = random_bytes(SIZE, seed=40)
SECRET = "hush-hush-hush"
# The node is told the address at which the test can cut it off; in locations the catalog's stands,
# which does not matter: nobody is asked but the configured host.
STORES = """
[DEFAULT]
enabled_backends = fast:s3, near:file
[glance_store]
default_backend = fast
[fast]
s3_store_host = {s3}
s3_store_access_key = somebody
s3_store_secret_key = {secret}
s3_store_bucket = images
s3_store_create_bucket_on_put = true
s3_store_bucket_url_format = path
weight = 5
[near]
filesystem_store_datadir = {near}
"""
SHOWN = {
    "direct_url": "[DEFAULT]\nshow_image_direct_url = true\n",
    "locations": "[DEFAULT]\nshow_multiple_locations = true\n",
}


@dataclass(eq=False)
class Scene:
    """What is there of it."""

    catalog: Catalog
    node: Node
    ask: Clients
    api: ImagesApi
    way: Forwarder  # from the node to S3
    near: Path

    async def add(self, data: bytes = DATA, store: str = "fast") -> str:
        """Upload an image into a store."""
        image = await asyncio.to_thread(self.api.create)
        await asyncio.to_thread(self.api.upload, image, data, store=store)
        return image

    async def figure(self, name: str) -> float:
        """Return a figure of the node; 0 where there is none of it yet."""
        samples = await asyncio.to_thread(self.node.metrics)
        return samples.get(f"cacheproxy_{name}", 0.0)


@asynccontextmanager
async def scene(directory: Path, shown: str) -> AsyncIterator[Scene]:
    near = directory / "near"
    near.mkdir()
    moto = running_moto(directory)
    s3 = await asyncio.to_thread(moto.__enter__)
    way = Forwarder(s3)
    await way.up()
    try:
        stores = STORES.format(s3=s3, near=near, secret=SECRET)
        file = directory / "stores.conf"
        file.write_text(stores.replace(s3, way.url))
        more = f"[stores]\nconfig_file = {file}\nread = fast, near\nstall_seconds = 5\n"
        catalog = running_catalog(directory, stores + SHOWN[shown])
        running = await asyncio.to_thread(catalog.__enter__)
        try:
            async with (
                async_node(directory, running.url, more=more) as node,
                clients(node.url) as ask,
            ):
                api = ImagesApi(running.url)
                yield Scene(running, node, ask, api, way, near)
                log = node.program.log.read_text()
                assert SECRET not in log
                assert "Traceback" not in log
                for path in node.cache.rglob("*"):
                    assert not path.is_file() or SECRET.encode() not in path.read_bytes()
        finally:
            await asyncio.to_thread(catalog.__exit__, None, None, None)
    finally:
        await way.down()
        await asyncio.to_thread(moto.__exit__, None, None, None)


@pytest.mark.parametrize("shown", SHOWN)
async def test_ranges_come_straight_from_s3_as_the_manifest_names_them(
    tmp_path: Path, shown: str
) -> None:
    async with scene(tmp_path, shown) as made:
        image = await made.add()
        part = made.ask(image, f"bytes={4 * CHUNK + 1}-{4 * CHUNK + 9}")
        assert await part.body() == DATA[4 * CHUNK + 1 : 4 * CHUNK + 10]
        assert part.headers["etag"] == f'"{image}"'
        assert await made.figure('direct_bytes_total{kind="s3"}') == CHUNK
        assert await made.ask(image).body() == DATA
        assert await made.figure('direct_bytes_total{kind="s3"}') == SIZE
        assert await made.figure("upstream_bytes_total") == 0
        assert await made.figure('manifests_total{result="used"}') == 1


async def test_s3_is_cut_off_and_comes_back(tmp_path: Path) -> None:
    async with scene(tmp_path, "locations") as made:
        first, second, third = [await made.add(DATA[index:]) for index in range(3)]
        assert await made.ask(first, "bytes=0-9").body() == DATA[:10]
        await made.way.down()
        assert await made.ask(first).body() == DATA
        assert await made.figure("upstream_bytes_total") == SIZE - CHUNK
        assert await made.figure("direct_failing_stores") == 1
        made.way.silence()
        await made.way.up()
        assert await made.ask(second).body() == DATA[1:]  # not asked, or given up after a while
        assert await made.figure("upstream_bytes_total") == 2 * SIZE - CHUNK - 1
        made.way.speak()

        seed = 100
        while await made.figure("direct_failing_stores"):
            seed += 1
            image = await made.add(random_bytes(CHUNK, seed=seed))
            await made.ask(image).body()
        before = await made.figure("upstream_bytes_total")
        assert await made.ask(third).body() == DATA[2:]
        assert await made.figure("upstream_bytes_total") == before


async def test_files_are_read_where_they_are_named_and_nothing_of_a_deleted_image(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, "locations") as made:
        image = await made.add(store="near")
        assert await made.ask(image, "bytes=0-9").body() == DATA[:10]
        assert await made.figure('direct_bytes_total{kind="file"}') == CHUNK
        assert await made.figure("upstream_bytes_total") == 0
        await asyncio.to_thread(ImagesApi(made.node.url).delete, image)
        gone = made.ask(image, f"bytes={CHUNK}-{CHUNK}")
        await gone.body()
        assert gone.status == 404
        assert await made.figure('direct_bytes_total{kind="file"}') == CHUNK


async def test_the_catalog_judges_the_stores_that_are_preferred(tmp_path: Path) -> None:
    async with scene(tmp_path, "direct_url") as made:
        image = await made.add()
        unknown = made.ask(image, query="?prefer=elsewhere")
        await unknown.body()
        assert unknown.status == 400
        assert await made.ask(image, query="?prefer=near,fast").body() == DATA
        assert await made.ask(image, query="?prefer=near").body() == DATA
        assert await made.figure('requests_total{result="hit"}') == 1
        assert await made.figure("upstream_bytes_total") == 0
