"""A server that goes away, and comes back or not: bounded, and nothing half done."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

import pytest

from harness.databases import Server
from harness.mariadb import running_mariadb
from harness.postgres import running_postgres
from registry.db.database import Connection, Database
from registry.db.failures import OutageError
from registry.db.images import add_image, get_image
from registry.db.options import DatabaseSettings
from registry.db.schema import schema_state
from registry.domain.image import Image

NOW = datetime(2026, 1, 1)  # noqa: DTZ001  # UTC without a zone
IMAGE = Image(id="a", created_at=NOW, updated_at=NOW)
OTHER = replace(IMAGE, id="b")


@pytest.fixture(params=[running_postgres, running_mariadb], ids=["postgresql", "mysql"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Run a server of the test's own: what a test starts must not outlive it."""
    with request.param() as server:
        yield server


async def restart(server: Server) -> None:
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.start)


async def test_restarts_are_outlived(database: Database, server: Server) -> None:
    await asyncio.gather(*(database.query(get_image, "a") for _ in range(5)))
    await restart(server)
    assert (await schema_state(database)).is_newest  # so a start goes on
    await restart(server)
    await database.change(add_image, IMAGE)
    found = await asyncio.gather(*(database.query(get_image, "a") for _ in range(5)))
    assert found == [IMAGE] * 5
    tries = 0

    async def work(connection: Connection) -> None:
        nonlocal tries
        tries += 1
        await add_image(connection, OTHER)
        if tries == 1:
            await restart(server)
        await get_image(connection, "a")

    await database.change(work)
    assert tries == 2
    assert await database.query(get_image, "b") == OTHER


async def test_a_server_that_stays_away(
    database: Database, server: Server, empty_settings: DatabaseSettings
) -> None:
    await database.change(add_image, OTHER)
    await asyncio.to_thread(server.stop)
    settings = replace(empty_settings, db_max_retries=2, db_retry_interval=0)
    settings = replace(settings, db_max_retry_interval=0, max_retries=1, retry_interval=0)
    impatient = await asyncio.to_thread(Database, settings)
    with pytest.raises(OutageError, match="does not answer"):
        await impatient.change(add_image, IMAGE)
    with pytest.raises(OutageError, match="does not answer"):
        await impatient.query(get_image, "b")
    with pytest.raises(OutageError):
        await impatient.wait_until_reachable()
    await asyncio.to_thread(server.start)
    assert await impatient.query(get_image, "b") == OTHER
    assert await impatient.query(get_image, "a") is None
    await impatient.aclose()
