"""The database: an engine, and the two kinds of transaction.

SQLite runs in WAL mode: readers never wait; writers queue, from the start of their transaction
(BEGIN IMMEDIATE), for a transaction that turns from reading to writing could only fail.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection as Connection
from sqlalchemy.ext.asyncio import create_async_engine

from registry.domain.errors import UnavailableError

__all__ = ["Connection", "Database"]

CONNECTIONS_MAX = 8
CONNECTION_WAIT_SECONDS = 30.0  # the longest wait for a free connection
LOCK_WAIT_SECONDS = 30.0  # the longest wait for another writer


class Database:
    """Connections to one SQLite database file.  Failures are `UnavailableError`."""

    def __init__(self, connection: str) -> None:
        """Prepare a database by its URL; blocks for a moment, as looking up a path does.

        Nothing is opened before the first transaction.
        """
        self._url = sa.make_url(connection).set(drivername="sqlite+aiosqlite")
        self._engine = create_async_engine(
            self._url,
            pool_size=CONNECTIONS_MAX,
            max_overflow=0,
            pool_timeout=CONNECTION_WAIT_SECONDS,
            connect_args={"timeout": LOCK_WAIT_SECONDS},
        )
        sa.event.listen(self._engine.sync_engine, "connect", _prepare_sqlite)
        sa.event.listen(self._engine.sync_engine, "begin", _begin_sqlite)
        self._wrote = asyncio.Event()
        self._writing = self._engine.execution_options(registry_writes=True)

    def __repr__(self) -> str:
        return f"Database({self._url!r})"

    @property
    def file(self) -> Path:
        """The file that everything is in."""
        return Path(self._url.database or "")

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Connection]:
        """Run a transaction that changes nothing: one consistent view."""
        async with _translated(), self._engine.begin() as connection:
            yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Connection]:
        """Run a transaction that may change rows: committed at the end, undone by any exception."""
        try:
            async with _translated(), self._writing.begin() as connection:
                yield connection
        finally:
            self._wrote.set()

    async def wait_for_write(self, seconds: float) -> None:
        """Wait until a `write` has ended since the last such wait, `seconds` at most.

        For one task: it learns of this process's own changes at once, and polls for others'.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wrote.wait()
        self._wrote.clear()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._engine.dispose()


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except PoolTimeoutError as error:
        raise UnavailableError("The database has no connection to spare.") from error
    except (InterfaceError, OperationalError) as error:
        raise UnavailableError(f"The database failed: {error.orig}") from error


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself; see _begin_sqlite
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("registry_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
