"""Tells at which revision a database is, and which one this program needs.

Without Alembic, which `registry.db.upgrading` alone has: a service does not need its 11 MiB.
"""

from __future__ import annotations

import asyncio
import pkgutil
from dataclasses import dataclass

import sqlalchemy as sa

from registry.db import migrations
from registry.db.database import Connection, Database
from registry.db.programs import oldest_program

# Not Alembic's usual name: Glance's own database has that one, with revisions that are not ours.
VERSION_TABLE = "registry_alembic_version"
_VERSIONS = sa.table(VERSION_TABLE, sa.column("version_num", sa.String(32)))  # one row


@dataclass(frozen=True, slots=True)
class SchemaState:
    """Where a database stands; `current` is None before the first revision.

    `oldest` is the oldest program that may work on it, by its newest revision; None: nothing is said.
    """

    current: str | None
    newest: str  # of this program
    oldest: str | None = None

    @property
    def is_newest(self) -> bool:
        """Tell whether this program has nothing to do to the database."""
        return self.current == self.newest

    @property
    def is_newer(self) -> bool:
        """Tell whether a program of a later release has been here."""
        return (self.current or "") > self.newest

    @property
    def fits(self) -> bool:
        """Tell whether this program and the database fit together."""
        if self.is_newest or self.is_newer:
            return (self.oldest or self.current or "") <= self.newest
        return False


async def schema_state(database: Database) -> SchemaState:
    """Look at a database without changing it."""
    newest = await newest_program()
    current, oldest = await database.query(_marks)
    return SchemaState(current, newest, oldest)


async def _marks(connection: Connection) -> tuple[str | None, str | None]:
    """Return the revision, and the oldest program that fits."""
    return await connection.run_sync(current_revision), await connection.run_sync(oldest_program)


async def newest_program() -> str:
    """Return this program's newest revision, by which databases know it."""
    return await asyncio.to_thread(_newest)


def current_revision(connection: sa.Connection) -> str | None:
    """Return the revision that a database is at; None: it is not ours, or empty."""
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(sa.select(_VERSIONS.c.version_num)).scalar_one_or_none()


def _newest() -> str:
    """Return the last of the migrations, which are one line: `v0001_images`, `v0002_…`."""
    names = (module.name for module in pkgutil.iter_modules(migrations.__path__))
    return max(name[1:5] for name in names)
