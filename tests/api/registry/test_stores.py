"""Several stores: where data goes and comes from, what clients are told, and one that is down."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from backends.configuration import StoreSettings, StoresSettings
from backends.options import DataDirectory, FilesystemOptions, HttpOptions, StoreOptions
from backends.s3.options import S3Options
from harness.catalog_database import change_rows
from harness.program import free_port
from registry.app import listening
from registry.config import Settings
from registry.db.tables import image_locations, images
from registry.errors import ConfigError
from registry.fetching.options import FilterSettings
from registry.upkeep import sync_database

DATA = bytes(range(250)) * 4
LABELS = ("store", "operation", "outcome")
OTHER = bytes(reversed(DATA))  # as long, to see which copy was read


def file_options(path: Path) -> FilesystemOptions:
    return FilesystemOptions((DataDirectory(path),))


@pytest.fixture
def stores(tmp_path: Path) -> StoresSettings:
    """A slow store, a fast one, the web, and one that nobody answers for."""
    away = S3Options(f"http://127.0.0.1:{free_port()}", "images", "access", "very-secret")

    def store(name: str, kind: str, options: StoreOptions, weight: int = 0) -> StoreSettings:
        return StoreSettings(name, kind, options, weight, f"the {name} one")

    return StoresSettings(
        (
            store("slow", "file", file_options(tmp_path / "images"), 1),
            store("fast", "file", file_options(tmp_path / "fast"), 10),
            store("web", "http", HttpOptions()),
            store("away", "s3", away, 100),
        ),
        "slow",
        several=True,
    )


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait between the attempts at a store that is down."""
    monkeypatch.setattr("random.uniform", lambda *_: 0.0)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """The catalog may read from itself."""
    return replace(settings, web=FilterSettings(allowed_hosts=("127.0.0.1",), allowed_ports=()))


async def add_place(settings: Any, image: str, url: str, **metadata: str) -> None:
    """Note another place of an image's data, as another service would have."""
    row = {"image_id": image, "value": url, "meta_data": metadata}
    await change_rows(settings.database, image_locations.insert().values(row))


async def add_copy(settings: Any, tmp_path: Path, image: str) -> Path:
    """Put a copy of an image into the fast store."""
    copy = tmp_path / "fast" / image
    copy.write_bytes(OTHER)
    await add_place(settings, image, f"file://{copy}", store="fast")
    return copy


def names_in(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


async def in_store(client: Any, store: str, data: bytes = DATA) -> str:
    image = str(await client.create())
    answer = await client.upload(image, data, **{"X-Image-Meta-Store": store})
    assert answer.status == 204, answer.text
    return image


async def test_where_data_goes(client: Any, catalog: Any, tmp_path: Path) -> None:
    plain, chosen = await client.add(DATA), await in_store(client, "fast")
    assert (await client.show(plain))["stores"] == "slow"
    assert (await client.show(chosen))["stores"] == "fast"
    assert names_in(tmp_path / "fast") == {chosen}
    assert catalog.files() == {plain: DATA}
    assert (await client.download(chosen)).body == DATA
    listed = (await client.call("GET", "")).json()["images"]
    assert {image["id"]: image["stores"] for image in listed} == {plain: "slow", chosen: "fast"}
    fields = await client.show(plain)
    assert "locations" not in fields
    assert "direct_url" not in fields
    for image in (plain, chosen):
        assert (await client.call("DELETE", f"/{image}")).status == 204
    assert (catalog.files(), names_in(tmp_path / "fast")) == ({}, set())


@pytest.mark.parametrize(
    ("store", "status"), [("nope", 400), ("", 400), ("web", 410), ("away", 503)]
)
async def test_where_data_cannot_go(client: Any, catalog: Any, store: str, status: int) -> None:
    image = await client.create()
    answer = await client.upload(image, DATA, **{"X-Image-Meta-Store": store})
    assert answer.status == status
    assert "very-secret" not in answer.text
    shown = await client.show(image)
    assert (shown["status"], shown["size"], "stores" in shown) == ("queued", None, False)
    assert catalog.files() == {}
    assert (await client.upload(image, DATA)).status == 204


async def test_of_whom_a_store_takes_nothing_is_told_first_what_the_image_is(client: Any) -> None:
    to_web = {"X-Image-Meta-Store": "web"}
    active, absent = await client.add(DATA), "00000000-0000-4000-8000-000000000009"
    assert (await client.upload(absent, DATA, **to_web)).status == 404
    assert (await client.upload(active, DATA, **to_web)).status == 409


async def test_a_client_learns_the_stores(client: Any) -> None:
    answer = await client.call("POST", "", json={})
    assert answer.headers["OpenStack-image-store-ids"] == "slow,fast,web,away"
    async with client.session.get("/v2/info/stores") as told:
        stores = (await told.json())["stores"]
    assert stores == [
        {"id": "slow", "description": "the slow one", "default": "true"},
        {"id": "fast", "description": "the fast one"},
        {"id": "web", "description": "the web one", "read-only": "true"},
        {"id": "away", "description": "the away one"},
    ]
    async with client.session.get("/v2/info/stores/detail") as told:
        text = await told.text()
    assert "very-secret" not in text
    detail = {store["id"]: store for store in json.loads(text)["stores"]}
    assert [store["weight"] for store in detail.values()] == [1, 10, 0, 100]
    assert detail["away"]["properties"] == {
        "s3_store_large_object_size": 100 << 20,
        "s3_store_large_object_chunk_size": 10 << 20,
        "s3_store_thread_pools": 10,
    }
    assert detail["web"]["properties"] == {}


async def test_which_copy_is_read(client: Any, settings: Any, tmp_path: Path) -> None:
    image = await client.add(DATA)
    copy = await add_copy(settings, tmp_path, image)
    assert (await client.show(image))["stores"] == "fast,slow"
    assert (await client.download(image)).body == OTHER
    for prefer, body in (("slow", DATA), ("web,slow", DATA), ("fast", OTHER), ("web", OTHER)):
        answer = await client.call("GET", f"/{image}/file?prefer={prefer}")
        assert (answer.status, answer.body) == (200, body), prefer
    assert (await client.call("GET", f"/{image}/file?prefer=slow,nope")).status == 400
    copy.unlink()
    assert (await client.download(image)).body == DATA
    assert (await client.call("GET", f"/{image}/file?prefer=fast")).body == DATA


async def test_a_store_that_is_down_leaves_the_others_alone(
    client: Any, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    image = await client.add(DATA)
    await add_place(settings, image, f"s3://elsewhere/images/{image}", store="away")
    assert (await client.show(image))["stores"] == "away,slow"
    with caplog.at_level(logging.INFO, "registry.metrics"):
        for _ in range(3):
            answer = await client.download(image, Range="bytes=10-19")
            assert (answer.status, answer.body) == (206, DATA[10:20])
    told = [each for each in caplog.messages if "the store away does not serve" in each]
    assert len(told) == 1
    lost = await client.add(DATA)
    await change_rows(
        settings.database, image_locations.delete().where(image_locations.c.image_id == lost)
    )
    await add_place(settings, lost, f"s3://elsewhere/images/{lost}", store="away")
    answer = await client.download(lost)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    # Its data is deleted when the store is there again.
    assert (await client.call("DELETE", f"/{lost}")).status == 204
    assert (await client.call("GET", f"/{lost}")).status == 404


async def test_a_library_that_is_missing(
    client: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "backends.s3.store", None)
    with caplog.at_level(logging.INFO, "backends.openstores"):
        for _ in range(2):
            image = await client.create()
            answer = await client.upload(image, DATA, **{"X-Image-Meta-Store": "away"})
            assert answer.status == 503
    told = [each.message for each in caplog.records if each.name == "backends.openstores"]
    assert len(told) == 1
    assert "the store away cannot be opened" in told[0]
    assert (await client.download(await in_store(client, "fast"))).body == DATA


@pytest.mark.parametrize("metadata", [{}, {"store": "gone"}, {"store": "fast"}])
async def test_a_place_is_found_by_its_url(
    client: Any, settings: Any, tmp_path: Path, metadata: dict[str, str]
) -> None:
    image = await client.add(DATA)
    await change_rows(settings.database, image_locations.delete())
    copy = tmp_path / "fast" / image
    copy.write_bytes(OTHER)
    await add_place(settings, image, f"file://{copy}", **metadata)
    assert (await client.show(image))["stores"] == "fast"
    assert (await client.download(image)).body == OTHER
    assert (await client.call("DELETE", f"/{image}")).status == 204
    assert not copy.exists()


async def test_a_place_in_no_store(client: Any, settings: Any) -> None:
    image = await client.add(DATA)
    await add_place(settings, image, "vsphere://host/folder/x?dcPath=a&dsName=b", store="fast")
    assert (await client.download(image)).body == DATA
    there = image_locations.c.value.like("file:%")
    await change_rows(settings.database, image_locations.delete().where(there))
    answer = await client.download(image)
    assert (answer.status, "not configured" in answer.text) == (503, True)
    assert (await client.call("DELETE", f"/{image}")).status == 204


async def test_what_lies_on_the_web_stays_there(client: Any, settings: Any) -> None:
    image = await client.add(DATA)
    await add_place(settings, image, "http://127.0.0.1:1/image", store="web")
    assert (await client.call("DELETE", f"/{image}")).status == 204
    assert (await client.call("GET", f"/{image}")).status == 404


async def test_a_copy_is_removed(client: Any, settings: Any, catalog: Any, tmp_path: Path) -> None:
    image = await client.add(DATA)
    copy = await add_copy(settings, tmp_path, image)
    before = await client.show(image)

    async def remove(store: str, of: str = image) -> int:
        async with client.session.delete(f"/v2/stores/{store}/{of}") as answer:
            return int(answer.status)

    assert await remove("nope") == 409
    assert await remove("away") == 404
    assert await remove("fast", "00000000-0000-0000-0000-000000000000") == 404
    assert await remove("fast", await client.create()) == 409
    assert copy.exists()
    assert await remove("slow") == 204
    assert catalog.files() == {}
    after = await client.show(image)
    assert (before["stores"], after["stores"]) == ("fast,slow", "fast")
    assert (await client.download(image)).body == OTHER
    assert await remove("fast") == 403
    assert await remove("slow") == 403
    assert copy.exists()


async def test_a_copy_in_a_store_that_is_down_is_owed(client: Any, settings: Any) -> None:
    image = await client.add(DATA)
    await add_place(settings, image, f"s3://elsewhere/images/{image}", store="away")
    async with client.session.delete(f"/v2/stores/away/{image}") as answer:
        assert answer.status == 204
    assert (await client.show(image))["stores"] == "slow"


async def test_locations_are_shown_without_secrets(
    settings: Any, stores: StoresSettings, tmp_path: Path
) -> None:
    await sync_database(settings)
    shown = replace(settings, show_direct_url=True, show_locations=True)
    async with (
        listening(shown, stores) as (host, port),
        aiohttp.ClientSession(f"http://{host}:{port}") as session,
    ):
        formats = {"disk_format": "raw", "container_format": "bare"}
        async with session.post("/v2/images", json=formats) as answer:
            image = await answer.json()
        assert image["locations"] == []
        assert "direct_url" not in image
        octets = {"Content-Type": "application/octet-stream"}
        await session.put(image["file"], data=DATA, headers=octets)
        secret = "s3://ACCESS:SEC/RET@host/images/x"  # as Glance wrote them
        await add_place(settings, image["id"], secret, store="away")
        async with session.get(image["self"]) as answer:
            told = await answer.json()
        async with session.get("/v2/images") as answer:
            listed = (await answer.json())["images"]
    slow = f"file://{tmp_path}/images/{image['id']}"
    assert told["direct_url"] == "s3://host/images/x"
    assert told["locations"] == [
        {"url": "s3://host/images/x", "metadata": {"store": "away"}},
        {"url": slow, "metadata": {"store": "slow"}},
    ]
    assert listed == [told]


async def test_figures_of_each_store(settings: Any, stores: StoresSettings) -> None:
    await sync_database(settings)
    port = free_port()
    async with (
        listening(replace(settings, metrics_port=port), stores) as (host, own),
        aiohttp.ClientSession(f"http://{host}:{own}") as session,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as prometheus,
    ):
        octets = {"Content-Type": "application/octet-stream"}
        for store, status in (("slow", 204), ("fast", 204), ("away", 503)):
            formats = {"disk_format": "raw", "container_format": "bare"}
            async with session.post("/v2/images", json=formats) as answer:
                file = (await answer.json())["file"]
            headers = {**octets, "X-Image-Meta-Store": store}
            async with session.put(file, data=DATA, headers=headers) as answer:
                assert answer.status == status
            async with session.get(file, headers={"Range": "bytes=0-9"}) as answer:
                await answer.read()
        async with session.get("/metrics") as answer:
            assert answer.status == 300  # nobody else is told
        async with prometheus.get("/metrics") as answer:
            text = await answer.text()
    samples = {
        (
            sample.name.removeprefix("cacheproxy_registry_store_"),
            *(sample.labels[name] for name in LABELS if name in sample.labels),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    for store in ("slow", "fast"):
        assert samples["operations_total", store, "create", "ok"] == 1
        assert samples["operations_total", store, "read", "ok"] == 1
        assert samples["bytes_total", store, "create"] == len(DATA)
        assert samples["bytes_total", store, "read"] == 10
        assert samples["seconds_count", store, "read"] == 1
    assert samples["operations_total", "away", "create", "unavailable"] == 4
    assert not [name for name in samples if "web" in name]


async def test_an_image_on_a_web_server(client: Any, settings: Any, catalog: Any) -> None:
    """The catalog is one itself."""
    source = await client.add(DATA)
    image = await client.create()
    values = {"status": "active", "size": len(DATA)}
    await change_rows(settings.database, images.update().where(images.c.id == image).values(values))
    await add_place(settings, image, f"{catalog.url}/v2/images/{source}/file", store="web")
    assert (await client.show(image))["stores"] == "web"
    assert (await client.download(image)).body == DATA
    answer = await client.download(image, Range="bytes=10-19")
    assert (answer.status, answer.body) == (206, DATA[10:20])
    assert (await client.call("DELETE", f"/{image}")).status == 204
    assert (await client.download(source)).body == DATA


async def test_the_address_of_the_figures_is_in_use(
    settings: Any, stores: StoresSettings, catalog: Any
) -> None:
    taken = replace(settings, metrics_port=catalog.port)
    with pytest.raises(ConfigError, match=r"\[cacheproxy\] metrics_host or metrics_port"):
        async with listening(taken, stores):
            pass
