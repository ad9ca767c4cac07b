"""Brings a database to the newest revision, and tells whether it is there."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError

from registry.db.database import Database
from registry.errors import ConfigError

_MIGRATIONS = Path(__file__).parent / "migrations"
# Not Alembic's usual name: Glance's own database has that one, with revisions that are not ours.
_VERSION_TABLE = "registry_alembic_version"


@dataclass(frozen=True, slots=True)
class SchemaState:
    """Where a database stands; `current` is None before the first revision."""

    current: str | None
    newest: str

    @property
    def is_newest(self) -> bool:
        """Tell whether this program and the database fit together."""
        return self.current == self.newest


async def schema_state(database: Database) -> SchemaState:
    """Look at a database without changing it."""
    scripts = await asyncio.to_thread(_scripts)
    async with database.read() as connection:
        current = await connection.run_sync(_current)
    return SchemaState(current, _newest(scripts))


async def upgrade_schema(database: Database) -> SchemaState:
    """Run the missing migrations, all or none where the database can; return what was before."""
    scripts = await asyncio.to_thread(_scripts)
    async with database.write() as connection:
        before = await connection.run_sync(_current)
        await connection.run_sync(_upgrade, scripts)
    return SchemaState(before, _newest(scripts))


def _scripts() -> ScriptDirectory:
    scripts = ScriptDirectory(str(_MIGRATIONS), version_locations=[str(_MIGRATIONS)])
    _newest(scripts)  # reads the files here and now
    return scripts


def _newest(scripts: ScriptDirectory) -> str:
    # There is one line of history, and it is not empty.
    return cast("str", scripts.get_current_head())


def _context(connection: sa.Connection) -> MigrationContext:
    return MigrationContext.configure(connection, opts={"version_table": _VERSION_TABLE})


def _current(connection: sa.Connection) -> str | None:
    return _context(connection).get_current_revision()


def _upgrade(connection: sa.Connection, scripts: ScriptDirectory) -> None:
    context = _context(connection)
    try:
        missing = list(scripts.iterate_revisions("head", context.get_current_revision()))
    except RevisionError as error:
        raise ConfigError(f"the database is newer than this program: {error}") from None
    with Operations.context(context):
        for script in reversed(missing):
            script.module.upgrade()
            context.stamp(scripts, script.revision)
