"""Our catalog on every kind of store at once, each the real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from oslo_config import cfg
from prometheus_client.parser import text_string_to_metric_families

from backends.configuration import read_stores
from backends.errors import MissingError
from backends.location import Location
from backends.openstores import OpenStores
from backends.spans import Span
from contracts.subject import read
from harness.catalog import running_catalog
from harness.ceph import Ceph, Gateway
from harness.forwarder import forwarding
from harness.images import MIB, random_bytes
from harness.images_api import ImagesApi
from harness.program import free_port
from harness.stores import (
    Store,
    ceph_s3_store,
    rbd_store,
    segments_store,
    swift_s3_store,
    swift_store,
)
from harness.swift import Swift

DATA = random_bytes(5 * MIB + 17, seed=3)
NAMES = ("fast", "swift", "segments", "s3", "rbd", "gateway")
QUESTIONS_MAX = 600

SEVERAL = """
[DEFAULT]
enabled_backends = fast:file,web:http,{backends}
show_image_direct_url = true
[cacheproxy]
metrics_port = {metrics}
[glance_store]
default_backend = fast
[fast]
filesystem_store_datadir = {directory}/fast
weight = 3
"""


@dataclass(frozen=True, slots=True)
class StoredCatalog:
    """A catalog, and what its configuration says of stores."""

    api: ImagesApi
    configuration: Path


def several(directory: Path, stores: list[Store], metrics: int) -> str:
    backends = ",".join(f"{store.name}:{store.kind}" for store in stores)
    text = SEVERAL.format(backends=backends, metrics=metrics, directory=directory)
    return text + "".join(store.section() for store in stores)


@pytest.fixture(scope="module")
def stored(
    swift: Swift, ceph: Ceph, radosgw: Gateway, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StoredCatalog]:
    """Run a catalog with a store of every kind."""
    directory = tmp_path_factory.mktemp("stored-catalog")
    stores = [
        swift_store(swift),
        segments_store(swift, directory),
        swift_s3_store(swift),
        rbd_store(ceph),
        ceph_s3_store(ceph, radosgw),
    ]
    with running_catalog(directory, several(directory, stores, free_port())) as catalog:
        yield StoredCatalog(ImagesApi(catalog.url), directory / "registry.conf")
    assert "does not know" not in catalog.program.tail()


@pytest.fixture
async def opened(stored: StoredCatalog) -> AsyncIterator[OpenStores]:
    """The same stores, as whoever is given the same configuration opens them."""
    sections: dict[str, dict[str, list[str]]] = {}
    await asyncio.to_thread(cfg.ConfigParser(str(stored.configuration), sections).parse)
    opened = OpenStores(await asyncio.to_thread(read_stores, sections))
    yield opened
    await opened.aclose()


@pytest.mark.parametrize("name", NAMES)
async def test_every_kind(stored: StoredCatalog, opened: OpenStores, name: str) -> None:
    api = stored.api
    image = await asyncio.to_thread(api.create)
    await asyncio.to_thread(api.upload, image, DATA, store=name)
    shown = await asyncio.to_thread(api.show, image)
    assert (shown["status"], shown["size"], shown["stores"]) == ("active", len(DATA), name)
    assert (await asyncio.to_thread(api.download, image)).expect(200).body == DATA
    ranged = await asyncio.to_thread(api.download, image, "2097150-2097153")
    assert ranged.expect(206).body == DATA[2097150:2097154]
    location = Location(shown["direct_url"])
    assert location.bare == location  # no credentials
    found, store = opened.holding(location)
    assert found == name
    assert await read(store, location, Span(MIB, MIB + 100)) == DATA[MIB : MIB + 100]
    await asyncio.to_thread(api.delete, image)
    with pytest.raises(MissingError):
        await store.stat(location)


def test_an_image_that_servers_were_cloned_from(stored: StoredCatalog, ceph: Ceph) -> None:
    """As Nova does it, by what `direct_url` says."""
    api = stored.api
    image = api.create()
    api.upload(image, DATA, store="rbd")
    direct = api.show(image)["direct_url"]
    fsid, pool, name, snapshot = direct.removeprefix("rbd://").split("/")
    assert (pool, name, snapshot) == (ceph.pool, image, "snap")
    assert ceph.tool("ceph", "fsid").strip() == fsid
    disk = f"{pool}/disk-{image}"
    ceph.tool("rbd", "clone", f"{pool}/{name}@{snapshot}", disk, "--rbd-default-clone-format=1")
    api.call("DELETE", f"/{image}").expect(409)
    assert api.show(image)["status"] == "active"
    assert api.download(image).expect(200).body == DATA
    ceph.tool("rbd", "rm", disk)
    api.delete(image)


@pytest.mark.parametrize("kind", ["swift", "s3"])
async def test_a_store_that_dies_in_an_upload(swift: Swift, kind: str, tmp_path: Path) -> None:
    plain = swift_store(swift) if kind == "swift" else swift_s3_store(swift)
    metrics = free_port()

    async def received() -> float:
        async with session.get(f"http://127.0.0.1:{metrics}/metrics") as answer:
            families = text_string_to_metric_families(await answer.text())
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == "cacheproxy_registry_store_bytes_total"
            and sample.labels == {"store": kind, "operation": "create"}
        )

    async def body() -> AsyncIterator[bytes]:
        yield DATA[: 2 * MIB]
        for _ in range(QUESTIONS_MAX):
            if await received():
                break
        await network.down()
        yield DATA[2 * MIB :]

    async with aiohttp.ClientSession() as session, forwarding(plain.url) as network:
        stores = [plain.by_way_of(network.url)]
        running = running_catalog(tmp_path, several(tmp_path, stores, metrics))
        catalog = await asyncio.to_thread(running.__enter__)
        try:
            api = ImagesApi(catalog.url)
            image = await asyncio.to_thread(api.create)
            headers = {
                "Content-Type": "application/octet-stream",
                "Content-Length": str(len(DATA)),
                "X-Image-Meta-Store": kind,
            }
            path = f"{api.url}/v2/images/{image}/file"
            async with session.put(path, data=body(), headers=headers) as answer:
                assert answer.status == 503

            def record() -> Any:
                return api.show(image)

            shown = await asyncio.to_thread(record)
            assert (shown["status"], shown["size"], "stores" in shown) == ("queued", None, False)
            await asyncio.to_thread(api.add, DATA)  # the default store is another one
            await network.up()
            await asyncio.to_thread(api.upload, image, DATA, store=kind)  # nothing was left there
            assert (await asyncio.to_thread(api.download, image)).expect(200).body == DATA
            await asyncio.to_thread(api.delete, image)
            log = await asyncio.to_thread(catalog.program.log.read_text)
            assert plain.options.get("s3_store_secret_key", "SECRET") not in log
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)
