"""Brings a database to the newest revision."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError

from registry.db import migrations
from registry.db.altering import prepare
from registry.db.database import Connection, Database
from registry.db.engines import LOCK_WAIT_SECONDS
from registry.db.programs import let_programs_look, oldest_program
from registry.db.schema import VERSION_TABLE, SchemaState, current_revision, newest_program
from registry.db.tables import METADATA
from registry.domain.errors import UnavailableError
from registry.errors import ConfigError

LOG = logging.getLogger(__name__)

LOCK_PAUSE_SECONDS = 0.5  # between two looks whether another has ended
_LOCK_NUMBER = 0x6361_6368_6570_7278  # ours among the users of a PostgreSQL; any number is as good
# The names of MySQL's locks are those of the server, so that the database is a part of ours.
_LOCKS: dict[str, sa.ColumnElement[Any]] = {
    "postgresql": sa.func.pg_try_advisory_lock(_LOCK_NUMBER),
    "mysql": sa.func.get_lock(sa.func.md5(sa.func.concat(VERSION_TABLE, sa.func.database())), 0),
}


async def upgrade_schema(database: Database) -> SchemaState:
    """Run the missing migrations, beside who reads and writes; return what was before.

    One that was broken off, also in its middle, goes on with the next call.
    """
    scripts = await asyncio.to_thread(_scripts)
    async with database.alter() as connection:
        await _lock(connection)
        await connection.run_sync(_require_ours)
        before = SchemaState(
            await connection.run_sync(current_revision),
            await newest_program(),
            await connection.run_sync(oldest_program),
        )
        if not before.is_newest and not before.is_newer:
            await connection.run_sync(_upgrade, scripts)
    return before


def _scripts() -> ScriptDirectory:
    (directory,) = migrations.__path__
    scripts = ScriptDirectory(directory, version_locations=[directory])
    scripts.get_current_head()  # reads the files here and now
    return scripts


def _context(connection: sa.Connection) -> MigrationContext:
    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})


async def _lock(connection: Connection) -> None:
    """Let one migrate at a time, until its connection ends; SQLite's writing transaction does.

    It is asked for again and again, not waited for: PostgreSQL builds an index only when every
    statement that was there before has ended, and so would one that waits.
    """
    lock = _LOCKS.get(connection.dialect.name)
    if lock is None:
        return
    loop = asyncio.get_running_loop()
    deadline = loop.time() + LOCK_WAIT_SECONDS
    while not (await connection.execute(sa.select(lock))).scalar_one():
        if loop.time() >= deadline:
            raise UnavailableError(
                "Another `db sync` is under way: wait for its end, then run this one again."
            )
        LOG.info("another `db sync` is under way: waiting for its end")
        await asyncio.sleep(LOCK_PAUSE_SECONDS)


def _require_ours(connection: sa.Connection) -> None:
    """Refuse a database in which somebody else, Glance perhaps, has tables of our tables' names."""
    tables = set(sa.inspect(connection).get_table_names())
    foreign = sorted(tables & METADATA.tables.keys())
    if foreign and VERSION_TABLE not in tables:
        raise ConfigError(
            f"[database] connection: this database has tables of another program "
            f"({', '.join(foreign)}), perhaps Glance's: create one for the catalog alone"
        )


def _upgrade(connection: sa.Connection, scripts: ScriptDirectory) -> None:
    if connection.dialect.name != "sqlite":
        prepare(connection)
    context = _context(connection)
    current = context.get_current_revision()
    try:
        missing = list(scripts.iterate_revisions("head", current))
    except RevisionError as error:
        raise ConfigError(f"the database is of another program: {error}") from None
    context.stamp(scripts, current or "base")  # a first mark: ours
    let_programs_look(connection)
    with Operations.context(context):
        for script in reversed(missing):
            script.module.upgrade()
            context.stamp(scripts, script.revision)
