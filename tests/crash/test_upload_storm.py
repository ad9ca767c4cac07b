"""Hundreds of clients upload and download at once and die at random, and the catalog with them.

A little later no store holds what no image names, no image is being saved, the quota is exact to the
byte, and the process has no more descriptors open than before.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from harness.emptied import VisibleStore, file_store, moto_store
from harness.mortal import MortalCatalog, mortal_catalog
from harness.mortals import FORMATS, OCTETS, Mortals
from harness.moto import running_moto
from harness.results import note
from harness.waiting import passing, until, until_async

QUOTA_BYTES_OF_ONE = 256 << 10  # client: most of what is uploaded fits
MORE = """
user_storage_quota = {quota}B
[cacheproxy]
upload_lease_seconds = 3
janitor_interval_seconds = 1
"""
CALM_SECONDS = 90.0
ALIVE_SECONDS = 300.0  # for what is answered between two kills
TABLES = ("image_uploads", "image_upload_parts", "quota_reservations", "discards")
MEMORY_BYTES_MAX = 400 << 20  # of 500 clients; 240 MiB were seen


@pytest.fixture(scope="module")
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str | None]:
    if request.param == "s3":
        with running_moto(tmp_path_factory.mktemp("moto")) as url:
            yield url
    else:
        yield None


@pytest.fixture
def store(service: str | None, tmp_path: Path) -> VisibleStore:
    return file_store(tmp_path) if service is None else moto_store(service)


def on(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("service", kinds, indirect=True)


class Storm:
    """Clients, a catalog, and what was seen of it."""

    def __init__(self, catalog: MortalCatalog, store: VisibleStore, clients: int) -> None:
        self.catalog = catalog
        self.store = store
        self.clients = Mortals(catalog.url, clients, seed=clients)
        self.quota = clients * QUOTA_BYTES_OF_ONE
        self.memory = 0
        self.kills = 0

    def process(self) -> psutil.Process:
        return psutil.Process(self.catalog.program.process.pid)

    def descriptors(self) -> Counter[str]:
        """Return what the catalog has open, but for its pool of connections to the database."""
        found = Path(f"/proc/{self.process().pid}/fd")
        targets: Counter[str] = Counter()
        for each in found.iterdir():
            with suppress(FileNotFoundError):
                target = str(each.readlink())
                if "registry.sqlite" not in target:
                    targets[target.partition(":")[0]] += 1
        return targets

    async def watch(self) -> None:
        while True:
            with suppress(psutil.NoSuchProcess):
                self.memory = max(self.memory, self.process().memory_info().rss)
            await passing(0.1)

    async def kill_now_and_then(self, pauses: list[int]) -> None:
        """Kill it each time that it has answered so many deeds more, and start it again."""
        for pause in pauses:
            await self.answer(pause)
            await asyncio.to_thread(self.catalog.kill)
            self.kills += 1
            await asyncio.to_thread(self.catalog.start)

    async def answer(self, deeds: int) -> None:
        wanted = self.clients.answered + deeds
        await until_async(
            f"{deeds} answers", lambda: self.clients.answered >= wanted, ALIVE_SECONDS
        )

    async def calm(self) -> dict[str, Any]:
        """Wait for the end of everything, and see that all is right."""
        api = self.catalog.api

        def images() -> dict[str, Any]:
            found: dict[str, Any] = {}
            path = "?limit=1000"
            while path:
                page = api.call("GET", path).expect(200).json()
                found |= {image["id"]: image for image in page["images"]}
                path = page.get("next", "").removeprefix("/v2/images")
            return found

        def settled() -> dict[str, Any]:
            found = images()
            busy = [image for image in found.values() if image["status"] == "saving"]
            return {} if busy or any(self.rows().values()) else found

        found = await asyncio.to_thread(until, "calm", settled, CALM_SECONDS)
        clients = self.clients
        assert clients.faults == []
        assert {image["status"] for image in found.values()} <= {"active", "queued"}
        active = {name: image for name, image in found.items() if image["status"] == "active"}
        stored = await self.store.names()
        assert stored <= active.keys()
        # Of whose deletion nobody knows the end, the data may have gone before the record.
        assert active.keys() - stored <= clients.doubtful
        assert not clients.deleted & found.keys()
        kept = clients.uploaded.keys() - clients.deleted - clients.doubtful
        assert kept <= active.keys()
        for name in clients.uploaded.keys() & active.keys():
            size, digest = clients.uploaded[name]
            assert (active[name]["size"], active[name]["os_hash_value"]) == (size, digest)
        sample = random.Random(1).sample(sorted(stored), min(20, len(stored)))
        for name in sample:
            body = (await asyncio.to_thread(api.download, name)).expect(200).body
            assert hashlib.sha512(body).hexdigest() == active[name]["os_hash_value"]
        used = sum(image["size"] for image in active.values())
        await self.fill_up(self.quota - used)
        return {
            "clients": clients._count,
            "outcomes": dict(sorted(clients.outcomes.items())),
            "kills": self.kills,
            "images": len(found),
            "active": len(active),
            "peak MiB": round(self.memory / (1 << 20)),
        }

    async def fill_up(self, left: int) -> None:
        """See that the quota has just so many bytes left."""
        async with aiohttp.ClientSession(self.catalog.url) as session:
            for size, expected in ((left + 1, 413), (left, 204), (1, 413)):
                async with session.post("/v2/images", json=FORMATS) as answer:
                    image = (await answer.json())["id"]
                path = f"/v2/images/{image}/file"
                async with session.put(path, data=BytesIO(bytes(size)), headers=OCTETS) as answer:
                    assert answer.status == expected, (size, await answer.text())

    def rows(self) -> dict[str, int]:
        with closing(sqlite3.connect(self.catalog.directory / "registry.sqlite")) as connection:
            counted = (connection.execute(f"SELECT count(*) FROM {table}") for table in TABLES)
            return dict(zip(TABLES, (row.fetchone()[0] for row in counted), strict=True))


@asynccontextmanager
async def storm(directory: Path, store: VisibleStore, clients: int) -> AsyncIterator[Storm]:
    more = "[DEFAULT]" + MORE.format(quota=clients * QUOTA_BYTES_OF_ONE)
    with mortal_catalog(directory, store.section, more=more) as catalog:
        wild = Storm(catalog, store, clients)
        watching = asyncio.create_task(wild.watch())
        try:
            yield wild
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


async def clients_die(directory: Path, store: VisibleStore, count: int, rounds: int) -> Any:
    async with storm(directory, store, count) as wild:
        await wild.clients.live(1)  # opens what stays open
        await asyncio.to_thread(until, "the first calm", lambda: not any(wild.rows().values()))
        before = wild.descriptors()
        await wild.clients.live(rounds)
        figures = await wild.calm()
        with suppress(AssertionError):
            await asyncio.to_thread(
                until, "descriptors to be given back", lambda: wild.descriptors() <= before, 10
            )
        assert wild.descriptors() <= before, figures
        assert wild.memory < MEMORY_BYTES_MAX
        return figures


async def all_die(
    directory: Path, store: VisibleStore, count: int, rounds: int, pauses: list[int]
) -> Any:
    async with storm(directory, store, count) as wild:
        killing = asyncio.create_task(wild.kill_now_and_then(pauses))
        await wild.clients.live(rounds)
        while not killing.done():
            await wild.clients.live(1)
        await killing
        return await wild.calm()


@on("file")
async def test_clients_die(store: VisibleStore, tmp_path: Path) -> None:
    figures = await clients_die(tmp_path, store, 40, 3)
    assert figures["active"]


@on("file")
async def test_the_catalog_dies_too(store: VisibleStore, tmp_path: Path) -> None:
    figures = await all_die(tmp_path, store, 30, 3, [20])
    assert figures["kills"] == 1
    assert figures["active"]


@pytest.mark.long
@pytest.mark.timeout(1200)
@on("file", "s3")
async def test_500_clients_die(store: VisibleStore, tmp_path: Path) -> None:
    figures = await clients_die(tmp_path, store, 500, 4)
    assert figures["active"]
    await asyncio.to_thread(note, "uploads", f"500 clients die, {store.kind}", figures)


@pytest.mark.long
@pytest.mark.timeout(1200)
@on("file", "s3")
async def test_500_clients_and_the_catalog_die(store: VisibleStore, tmp_path: Path) -> None:
    figures = await all_die(tmp_path, store, 500, 4, [300, 200, 400, 350, 250])
    assert figures["active"]
    await asyncio.to_thread(
        note, "uploads", f"500 clients and the catalog die, {store.kind}", figures
    )
