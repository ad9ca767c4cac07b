"""An upgrade beside a catalog that is used: its requests go on, and the release before starts again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import aiohttp
import pytest
import sqlalchemy as sa

from api.registry.conftest import Client
from backends.configuration import StoresSettings
from harness.catalog_database import KINDS, server_of
from harness.databases import Server
from harness.releases import ADDS, TAKES_AWAY, later_release
from harness.waiting import until_async
from registry.app import listening
from registry.config import Settings
from registry.db import altering, migrations, upgrading
from registry.db.database import Connection, Database
from registry.db.schema import schema_state
from registry.db.tables import image_properties, images
from registry.db.upgrading import upgrade_schema
from registry.domain.errors import UnavailableError
from registry.errors import ConfigError

ROWS = 2000
NOW = datetime(2026, 1, 1)  # noqa: DTZ001  # UTC without a zone


@pytest.fixture(scope="session", params=KINDS[1:])
def server(request: pytest.FixtureRequest) -> Server:
    server = server_of(request)
    assert server is not None
    return server


@pytest.fixture
async def database(client: Client, settings: Settings) -> AsyncIterator[Database]:
    """Open the database of the running catalog, as other programs do; images are in it."""
    assert client
    database = await asyncio.to_thread(Database, settings.database)
    async with database.write() as connection:
        await connection.execute(images.insert(), [row(number) for number in range(ROWS)])
        values = [{"image_id": f"old {n}", "name": "k", "value": f"{n}"} for n in range(ROWS)]
        await connection.execute(image_properties.insert(), values)
    yield database
    await database.aclose()


def row(number: int) -> dict[str, object]:
    flags = dict.fromkeys(("protected", "os_hidden", "deleted"), False)
    sizes = dict.fromkeys(("min_disk", "min_ram"), 0)
    fields = {"id": f"old {number}", "status": "queued", "visibility": "shared", "owner": "p"}
    return {**fields, **flags, **sizes, "created_at": NOW, "updated_at": NOW}


@asynccontextmanager
async def used(client: Client) -> AsyncIterator[list[str]]:
    """Make, change, show and list images all the time; yield the ids of those that are made."""
    made: list[str] = []
    ends = asyncio.Event()

    async def use() -> None:
        while not ends.is_set():
            image_id = await client.create(name="new")
            operation = {"op": "replace", "path": "/name", "value": "newer"}
            assert (await client.patch(image_id, operation)).status == 200
            assert (await client.show(image_id))["name"] == "newer"
            assert (await client.call("GET", "?limit=5")).status == 200
            made.append(image_id)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(use())
        try:
            yield made
        finally:
            ends.set()


async def more(made: list[str]) -> None:
    """Wait until more images have been made, all of it after this was called."""
    enough = len(made) + 6
    await until_async("images to be made", lambda: len(made) >= enough)


async def columns_of(database: Database, table: str) -> set[str]:
    def look(connection: sa.Connection) -> set[str]:
        return {column["name"] for column in sa.inspect(connection).get_columns(table)}

    async with database.read() as connection:
        return await connection.run_sync(look)


async def test_requests_go_on_while_tables_are_changed(
    *,
    client: Client,
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Also while somebody reads a table for long, whose end a change of it has to wait for."""
    caplog.set_level(logging.INFO, altering.__name__)
    monkeypatch.setattr(migrations, "__path__", [str(later_release(tmp_path, ADDS))])
    async with used(client) as made:
        async with database.read() as reader:
            await reader.execute(sa.select(sa.func.count()).select_from(images))
            upgrade = asyncio.create_task(upgrade_schema(database))
            await until_async("the upgrade to wait", lambda: "in use" in caplog.text)
            await more(made)
            assert not upgrade.done()
        assert not (await upgrade).is_newest
        await more(made)
    assert (await schema_state(database)).current == "9001"
    assert {"later", "counted"} <= await columns_of(database, "images")
    async with database.read() as connection:
        question = sa.text("SELECT count(*) FROM images WHERE counted = 7 AND later IS NULL")
        assert (await connection.execute(question)).scalar_one() == ROWS + len(made)


async def test_a_reader_without_end_is_told_of(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "__path__", [str(later_release(tmp_path, ADDS))])
    monkeypatch.setattr(altering, "TRIES", 1)
    async with database.read() as reader:
        await reader.execute(sa.select(sa.func.count()).select_from(images))
        with pytest.raises(UnavailableError, match=r"Table images is in use.*`db sync` again"):
            await upgrade_schema(database)
    assert not (await schema_state(database)).is_newest
    await upgrade_schema(database)
    assert (await schema_state(database)).is_newest


async def test_an_index_that_was_broken_off_is_built_again(
    client: Client,
    database: Database,
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PostgreSQL builds it beside the writers, and waits for whoever was there before."""
    if server.kind != "postgresql":
        pytest.skip("InnoDB leaves nothing of such an index")
    monkeypatch.setattr(migrations, "__path__", [str(later_release(tmp_path, ADDS))])
    valid = sa.text(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_images_later'::regclass"
    )
    building = "FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY ix_images_later%'"

    def is_waiting() -> bool:
        return (
            server.run(f"SELECT count(*) {building} AND wait_event = 'virtualxid'").strip() == "1"
        )

    async with used(client) as made:
        async with database.read() as reader:
            await reader.execute(sa.text("SELECT count(*) FROM image_tags"))
            upgrade = asyncio.create_task(upgrade_schema(database))
            await until_async("the index to wait", lambda: asyncio.to_thread(is_waiting))
            await more(made)
            await asyncio.to_thread(server.run, f"SELECT pg_terminate_backend(pid) {building}")
            with pytest.raises(UnavailableError):
                await upgrade
        async with database.read() as connection:
            assert (await connection.execute(valid)).scalar_one() is False
        await upgrade_schema(database)
    async with database.read() as connection:
        assert (await connection.execute(valid)).scalar_one() is True
    assert (await schema_state(database)).is_newest


async def test_a_table_that_takes_no_column_at_once(
    database: Database, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if server.kind != "mysql":
        pytest.skip("PostgreSQL adds a column to any table at once")
    monkeypatch.setattr(migrations, "__path__", [str(later_release(tmp_path, ADDS))])
    async with database.alter() as connection:
        await connection.execute(sa.text("ALTER TABLE images ROW_FORMAT = COMPRESSED"))
    await upgrade_schema(database)
    assert {"later", "counted"} <= await columns_of(database, "images")


async def test_a_view_from_before_a_change_is_taken_anew(database: Database) -> None:
    """InnoDB has no older view of a table that was built anew."""
    tries = 0

    async def look(connection: Connection) -> int:
        nonlocal tries
        tries += 1
        await connection.execute(sa.text("SELECT count(*) FROM image_tags"))
        if tries == 1:
            async with database.alter() as other:
                rebuilt = "FORCE" if database.kind == "mysql" else "ADD COLUMN later INTEGER"
                await other.execute(sa.text(f"ALTER TABLE images {rebuilt}"))
        count = await connection.execute(sa.select(sa.func.count()).select_from(images))
        return count.scalar_one()

    assert await database.query(look) == ROWS
    assert tries == (2 if database.kind == "mysql" else 1)


async def test_two_syncs_at_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upgrading, "LOCK_WAIT_SECONDS", 0)
    async with database.alter() as connection:
        await upgrading._lock(connection)
        with pytest.raises(UnavailableError, match=r"under way.*run this one again"):
            await upgrade_schema(database)
    monkeypatch.undo()
    assert (await upgrade_schema(database)).is_newest


async def test_the_release_before_starts_again_until_something_is_taken_away(
    *,
    client: Client,
    database: Database,
    settings: Settings,
    stores: StoresSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def upgrade(*texts: str) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(migrations, "__path__", [str(later_release(tmp_path, *texts))])
            with pytest.raises(ConfigError, match="db sync"):
                async with listening(settings, stores):
                    pass
            await upgrade_schema(database)

    await upgrade(ADDS)
    async with (
        listening(settings, stores) as (host, port),
        aiohttp.ClientSession(f"http://{host}:{port}") as session,
    ):
        second = Client(session)
        image_id = await second.add(b"data")
        assert (await client.show(image_id))["status"] == "active"
    await upgrade(ADDS, TAKES_AWAY)
    told = "at revision 9002 and needs a program of 9001 or later.*install the release"
    with pytest.raises(ConfigError, match=told):
        async with listening(settings, stores):
            pass
    await client.create(name="of an instance that was not stopped")
