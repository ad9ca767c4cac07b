"""Migrations: they lead to the tables that the code uses, from any start, and only forward."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from registry.db import schema
from registry.db.database import Database
from registry.db.images import get_image
from registry.db.schema import schema_state, upgrade_schema
from registry.db.tables import METADATA
from registry.domain.errors import UnavailableError
from registry.errors import ConfigError


@pytest.fixture
async def empty(tmp_path: Path) -> AsyncIterator[Database]:
    database = await asyncio.to_thread(Database, f"sqlite:///{tmp_path}/registry.sqlite")
    yield database
    await database.aclose()


async def test_the_migrations_make_the_tables(database: Database) -> None:
    def difference(connection: sa.Connection) -> list[object]:
        ours = {"include_name": lambda name, kind, _: kind != "table" or name in METADATA.tables}
        return list(compare_metadata(MigrationContext.configure(connection, opts=ours), METADATA))

    async with database.read() as connection:
        assert await connection.run_sync(difference) == []


async def test_from_nothing_and_again(empty: Database) -> None:
    assert (await schema_state(empty)).current is None
    before = await upgrade_schema(empty)
    assert before.current is None
    assert not before.is_newest
    assert (await schema_state(empty)).is_newest
    assert (await upgrade_schema(empty)).is_newest


_OLD_IMAGE = """
    INSERT INTO images (
        id, status, visibility, protected, os_hidden, min_disk, min_ram, size, created_at,
        updated_at, deleted
    ) VALUES (
        'old', 'active', 'public', 0, 0, 0, 0, 5, '2026-01-01 00:00:00', '2026-01-01 00:00:00', 0
    )
"""


async def test_what_was_there_before_an_upgrade_stays(
    empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = await asyncio.to_thread(schema._scripts)  # no option stops an upgrade on its way
    with monkeypatch.context() as patched:
        patched.setattr(scripts, "iterate_revisions", lambda *_: [scripts.get_revision("0001")])
        patched.setattr(schema, "_scripts", lambda: scripts)
        await upgrade_schema(empty)
    async with empty.write() as connection:
        await connection.execute(sa.text(_OLD_IMAGE))
    assert (await upgrade_schema(empty)).current == "0001"
    assert (await schema_state(empty)).is_newest
    async with empty.read() as connection:
        image = await get_image(connection, "old")
    assert image is not None
    assert (image.size, image.os_manifest) == (5, None)


async def test_a_database_of_the_future_is_left_alone(database: Database) -> None:
    def rename() -> None:
        with sqlite3.connect(database.file) as connection:
            connection.execute("UPDATE registry_alembic_version SET version_num = '9999'")
        connection.close()

    await asyncio.to_thread(rename)
    assert not (await schema_state(database)).is_newest
    with pytest.raises(ConfigError, match="newer"):
        await upgrade_schema(database)
    assert (await schema_state(database)).current == "9999"


async def test_a_failed_migration_leaves_nothing(empty: Database) -> None:
    def occupy() -> None:
        with sqlite3.connect(empty.file) as connection:
            connection.execute("CREATE TABLE image_tags (x)")
        connection.close()

    def tables(connection: sa.Connection) -> list[str]:
        return sa.inspect(connection).get_table_names()

    await asyncio.to_thread(occupy)
    with pytest.raises(UnavailableError, match="image_tags"):
        await upgrade_schema(empty)
    async with empty.read() as connection:
        assert await connection.run_sync(tables) == ["image_tags"]
    assert (await schema_state(empty)).current is None
