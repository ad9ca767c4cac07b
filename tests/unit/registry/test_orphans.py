"""What the log says of data in stores that the configuration names no more."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path

import pytest

from backends.configuration import StoreSettings, StoresSettings
from backends.openstores import OpenStores
from backends.options import DataDirectory, FilesystemOptions
from harness.catalog_database import IN_EVERY_RUN, server_of
from harness.databases import Server
from harness.waiting import until_async
from registry.db.database import Connection, Database
from registry.db.images import add_image, add_location
from registry.db.jobs import add_job
from registry.domain.errors import UnavailableError
from registry.domain.image import Image, ImageLocation
from registry.imports.options import ImportSettings
from registry.imports.staging import UNSTAGE
from registry.orphans import Orphans
from registry.service.stores import Stores

NOW = datetime(2026, 1, 1)  # noqa: DTZ001  # UTC without a zone
HOST = "here"
NAMES = ("near", "far")


@pytest.fixture(scope="session", params=IN_EVERY_RUN)
def server(request: pytest.FixtureRequest) -> Server | None:
    return server_of(request)


def stores_of(*names: str) -> Stores:
    settings = tuple(
        StoreSettings(name, "file", FilesystemOptions((DataDirectory(Path(f"/{name}")),)))
        for name in names
    )
    configured = StoresSettings(settings, names[0], several=True)
    return Stores(configured, OpenStores(configured))


async def told(
    database: Database, caplog: pytest.LogCaptureFixture, *names: str, staging: str | None = None
) -> list[str]:
    """Return what a start with these stores says."""
    caplog.clear()
    stores = stores_of(*names)
    settings = ImportSettings(host=HOST, staging_directory=Path("/staged"), staging_store=staging)
    await Orphans(database, stores, settings).tell()
    await stores.aclose()
    return [record.getMessage() for record in caplog.records]


async def with_data(connection: Connection) -> None:
    """Add images, two of which have data in one store, and one in both."""
    for number, places in enumerate((("near",), ("near", "far", "far"), ())):
        name = f"image-{number}"
        await add_image(connection, Image(id=name, created_at=NOW, updated_at=NOW))
        for copy, store in enumerate(places):
            place = ImageLocation(f"file:///{store}/{name}-{copy}", {"store": store})
            await add_location(connection, name, place)
    await add_location(connection, "image-2", ImageLocation("file:///near/nameless", {}))


async def test_nothing_is_said_where_all_stores_are_there(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    assert await told(database, caplog, "near") == []
    await database.change(with_data)
    assert await told(database, caplog, *NAMES) == []


async def test_a_store_that_is_gone_is_named_with_what_is_in_it(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    await database.change(with_data)
    (line,) = await told(database, caplog, "far", "other")
    assert line.startswith("2 images have data in the store near, which [DEFAULT] enabled_backends")
    assert "DELETE /v2/stores/near/IMAGE" in line
    (line,) = await told(database, caplog, "near")
    assert line.startswith("1 images have data in the store far,")


async def test_a_store_that_is_only_called_otherwise_is_there(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    place = ImageLocation("file:///near/image", {"store": "old-name"})

    async def add(connection: Connection) -> None:
        await add_image(connection, Image(id="image", created_at=NOW, updated_at=NOW))
        await add_location(connection, "image", place)

    await database.change(add)
    assert await told(database, caplog, *NAMES) == []


@pytest.mark.parametrize(
    ("host", "url", "staging", "where"),
    [
        (HOST, "file:///staged/image", None, None),
        (HOST, "file:///staged/image", "near", "in /staged"),
        ("there", "file:///staged/image", "near", None),  # that one says so
        (None, "file:///near/image", "near", None),
        (None, None, "near", None),  # it is on its way
        (None, "file:///near/image", "far", "in the store near"),
        (None, "file:///near/image", None, "in a store"),
    ],
)
async def test_what_is_staged_elsewhere_is_told(
    database: Database,
    caplog: pytest.LogCaptureFixture,
    host: str | None,
    url: str | None,
    staging: str | None,
    where: str | None,
) -> None:
    arguments = {"name": "image", **({} if url is None else {"url": url})}
    for image in ("image-1", "image-2"):
        await database.change(add_job, UNSTAGE, image_id=image, arguments=arguments, host=host)
    others = {"free": True, "local": True}
    for name, value in others.items():
        told_more = {**arguments, name: value}
        await database.change(add_job, UNSTAGE, image_id=name, arguments=told_more, host=host)
    lines = await told(database, caplog, *NAMES, staging=staging)
    if where is None:
        assert lines == []
    else:
        (line,) = lines
        assert line.startswith(f"2 images wait for their import {where} (image-1, image-2):")
        assert f"staging_store is {staging or 'not set'}," in line


async def test_a_database_that_is_away_stops_nothing(
    database: Database, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise UnavailableError("away")

    monkeypatch.setattr(database, "ask", away)
    settings = ImportSettings(host=HOST)
    watching = asyncio.create_task(Orphans(database, stores_of("near"), settings).watch())
    try:
        await until_async("the warning", lambda: "nobody has looked" in caplog.text)
        assert not watching.done()
    finally:
        watching.cancel()
        await asyncio.wait({watching})
