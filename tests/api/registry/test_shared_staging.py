"""`[cacheproxy] staging_store`: what one instance took, any other imports, and takes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from api.registry.conftest import Client
from backends.configuration import StoreSettings, StoresSettings
from backends.options import DataDirectory, FilesystemOptions
from harness.web_imports import begin, ended
from registry.app import listening
from registry.config import Settings
from registry.imports.options import ImportSettings
from registry.upkeep import sync_database

DATA = bytes(range(256)) * 1024
OCTETS = {"Content-Type": "application/octet-stream"}


@pytest.fixture
def stores(tmp_path: Path) -> StoresSettings:
    def store(name: str) -> StoreSettings:
        return StoreSettings(name, "file", FilesystemOptions((DataDirectory(tmp_path / name),)))

    return StoresSettings((store("fast"), store("shared")), "fast", True)


@pytest.fixture
async def instance(
    settings: Settings, stores: StoresSettings, tmp_path: Path
) -> Callable[[str], AbstractAsyncContextManager[Client]]:
    """Run an instance of a host with this name."""
    await sync_database(settings)

    @asynccontextmanager
    async def running(host: str) -> AsyncIterator[Client]:
        imports = ImportSettings(
            host=host, staging_directory=tmp_path / f"disk-of-{host}", staging_store="shared"
        )
        async with (
            listening(replace(settings, imports=imports), stores) as (address, port),
            aiohttp.ClientSession(f"http://{address}:{port}") as session,
        ):
            yield Client(session)

    return running


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def emptied(client: Client, directory: Path) -> None:
    async with asyncio.timeout(30):
        while names(directory):
            await client.call("GET", "")  # whoever takes it away is in this process


async def test_another_instance_does_the_import(instance: Any, tmp_path: Path) -> None:
    async with instance("one") as client:
        image = await client.create()
        answer = await client.call("PUT", f"/{image}/stage", data=DATA, headers=OCTETS)
        assert answer.status == 204, answer.text
        (staged,) = names(tmp_path / "shared")
        assert staged.startswith(f"{image}.")
    async with instance("two") as client:
        assert (await begin(client, image, "glance-direct", stores=["fast"])).status == 202
        shown = await ended(client, image)
        assert (shown["status"], shown["size"], shown["stores"]) == ("active", len(DATA), "fast")
        assert (await client.download(image)).body == DATA
        await emptied(client, tmp_path / "shared")
    assert names(tmp_path / "fast") == [image]
    assert not {"disk-of-one", "disk-of-two"} & {*names(tmp_path)}


async def test_another_instance_takes_away_what_nobody_needs(instance: Any, tmp_path: Path) -> None:
    async with instance("one") as client:
        image = await client.create()
        await client.call("PUT", f"/{image}/stage", data=DATA, headers=OCTETS)
    async with instance("two") as client:
        assert (await client.call("DELETE", f"/{image}")).status == 204
        await emptied(client, tmp_path / "shared")
    assert names(tmp_path / "fast") == []
