"""SQLAlchemy's engines: for single questions, for reading transactions and for writing ones.

Three, for what tells them apart is said once to each connection and not before each transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from registry.db import sqlite
from registry.db.options import DatabaseSettings
from registry.db.target import Target

LOCK_WAIT_SECONDS = 30  # the longest wait for another writer


def asking_engine(target: Target, settings: DatabaseSettings) -> AsyncEngine:
    """Prepare the connections for one statement that reads, which nothing begins or ends."""
    if target.kind == "sqlite":
        return _sqlite(target, settings, sqlite.ASKING, settings.max_pool_size)
    return _server(target, settings, "AUTOCOMMIT")


def reading_engine(target: Target, settings: DatabaseSettings) -> AsyncEngine:
    """Prepare the connections that see one snapshot in each transaction."""
    if target.kind == "sqlite":
        return _sqlite(target, settings, sqlite.READING, settings.max_pool_size)
    return _server(target, settings, "REPEATABLE READ")


def writing_engine(target: Target, settings: DatabaseSettings) -> AsyncEngine:
    """Prepare the connections that write."""
    if target.kind == "sqlite":
        return _sqlite(target, settings, sqlite.WRITING, 1)
    return _server(target, settings, "READ COMMITTED")


def _sqlite(target: Target, settings: DatabaseSettings, begin: str, size: int) -> AsyncEngine:
    engine = create_async_engine(
        target.url,
        pool_size=size,
        max_overflow=0,
        pool_timeout=settings.pool_timeout,
        hide_parameters=True,  # they hold passwords, and errors go to the log
        async_creator=partial(
            sqlite.Connection, target.url.database or "", begin, LOCK_WAIT_SECONDS
        ),
    )
    sa.event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    sa.event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    _execute(connection, "PRAGMA journal_mode = WAL")
    _execute(connection, "PRAGMA synchronous = FULL")
    _execute(connection, "PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: sa.Connection) -> None:
    driver: Any = connection.connection.driver_connection
    driver.begin()


def _server(target: Target, settings: DatabaseSettings, isolation: str) -> AsyncEngine:
    engine = create_async_engine(
        target.url,
        pool_size=settings.max_pool_size,
        max_overflow=settings.max_overflow,
        pool_timeout=settings.pool_timeout,
        hide_parameters=True,  # they hold passwords, and errors go to the log
        pool_recycle=settings.connection_recycle_time,
        isolation_level=isolation,
        skip_autocommit_rollback=True,
        connect_args=target.arguments,
    )
    prepare = _PREPARATIONS[target.kind](settings)
    sa.event.listen(engine.sync_engine, "connect", prepare)
    return engine


def _postgresql(_settings: DatabaseSettings) -> Callable[[Any, object], None]:
    def prepare(connection: Any, _record: object) -> None:
        _execute(connection, f"SET lock_timeout = '{LOCK_WAIT_SECONDS}s'")
        connection.commit()

    return prepare


def _mysql(settings: DatabaseSettings) -> Callable[[Any, object], None]:
    values: dict[str, str | int] = {"innodb_lock_wait_timeout": LOCK_WAIT_SECONDS}
    if settings.mysql_sql_mode:
        values["sql_mode"] = f"'{settings.mysql_sql_mode}'"
    if settings.mysql_wsrep_sync_wait is not None:
        values["wsrep_sync_wait"] = settings.mysql_wsrep_sync_wait
    statement = "SET SESSION " + ", ".join(f"{name} = {value}" for name, value in values.items())

    def prepare(connection: Any, _record: object) -> None:
        _execute(connection, statement)

    return prepare


_PREPARATIONS = {"postgresql": _postgresql, "mysql": _mysql}


def _execute(connection: Any, statement: str) -> None:
    cursor = connection.cursor()
    cursor.execute(statement)
    cursor.close()
