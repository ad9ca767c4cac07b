"""A running catalog of each test's own, on an ephemeral port, and a client of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from multidict import CIMultiDictProxy

from backends.configuration import StoreSettings, StoresSettings
from backends.options import DataDirectory, FilesystemOptions, HttpOptions
from harness.catalog_database import IN_LONG_RUNS, empty_database, server_of, sync
from harness.databases import Server
from harness.described import require_described
from harness.web_imports import WebOrigin, web_origin
from registry.app import listening
from registry.config import Settings
from registry.db.options import DatabaseSettings

OCTETS = {"Content-Type": "application/octet-stream"}
PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}


@dataclass(frozen=True, slots=True)
class Catalog:
    """Where a catalog listens and keeps its data."""

    host: str
    port: int
    data: Path

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def files(self) -> dict[str, bytes]:
        """Return what the store holds, unfinished files too."""
        return {path.name: path.read_bytes() for path in self.data.rglob("*") if path.is_file()}


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    status: int
    content_type: str
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Requests to the catalog below /v2/images, and what they mostly are."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session

    async def call(self, method: str, path: str, **more: Any) -> Answer:
        """Send a request and read the whole answer, which the description must know."""
        async with self.session.request(method, f"/v2/images{path}", **more) as answer:
            body = await answer.read()
            require_described(method, str(answer.url), answer.status)
            return Answer(answer.status, answer.content_type, answer.headers, body)

    async def create(self, **fields: Any) -> str:
        """Create an image that can be uploaded to, and return its id."""
        described = {"disk_format": "raw", "container_format": "bare", **fields}
        answer = await self.call("POST", "", json=described)
        assert answer.status == 201, answer.text
        return str(answer.json()["id"])

    async def upload(self, image_id: str, data: Any, **headers: str) -> Answer:
        return await self.call("PUT", f"/{image_id}/file", data=data, headers={**OCTETS, **headers})

    async def add(self, data: bytes) -> str:
        """Create an image with data, and return its id."""
        image_id = await self.create()
        assert (await self.upload(image_id, data)).status == 204
        return image_id

    async def show(self, image_id: str) -> Any:
        answer = await self.call("GET", f"/{image_id}")
        assert answer.status == 200
        return answer.json()

    async def download(self, image_id: str, method: str = "GET", **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.call(method, f"/{image_id}/file", headers=named)

    async def patch(self, image_id: str, *operations: dict[str, Any]) -> Answer:
        return await self.call("PATCH", f"/{image_id}", json=operations, headers=PATCH)


@pytest.fixture(scope="session", params=IN_LONG_RUNS)
def server(request: pytest.FixtureRequest) -> Server | None:
    """Return what the database is on."""
    return server_of(request)


@pytest.fixture
async def settings(server: Server | None, tmp_path: Path) -> AsyncIterator[Settings]:
    async with empty_database(server, tmp_path) as url:
        yield Settings(port=0, database=DatabaseSettings(url))


@pytest.fixture
def stores(tmp_path: Path) -> StoresSettings:
    """One file store, as the catalog has it where nothing is said of stores."""
    options = FilesystemOptions((DataDirectory(tmp_path / "images"),))
    file = StoreSettings("file", "file", options)
    return StoresSettings((file, StoreSettings("http", "http", HttpOptions())), "file", False)


@pytest.fixture
async def catalog(
    settings: Settings, stores: StoresSettings, tmp_path: Path
) -> AsyncIterator[Catalog]:
    await sync(settings.database)
    async with listening(settings, stores) as (host, port):
        yield Catalog(host, port, tmp_path / "images")


@pytest.fixture
async def client(catalog: Catalog) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession(catalog.url, auto_decompress=False) as session:
        yield Client(session)


@pytest.fixture
async def origin() -> AsyncIterator[WebOrigin]:
    async with web_origin() as origin:
        yield origin


@pytest.fixture
async def raw(catalog: Catalog) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A bare connection, for what no client library sends."""
    reader, writer = await asyncio.open_connection(catalog.host, catalog.port)
    yield reader, writer
    writer.close()
    await asyncio.wait({asyncio.ensure_future(writer.wait_closed())})
