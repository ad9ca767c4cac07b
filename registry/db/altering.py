"""Statements that change tables which others read and write meanwhile, on a server.

A change needs its table for itself for a moment, and queues for that behind the transactions that
use it; whoever comes later queues behind the change.  So it waits for a second only, lets the others
through, and comes again.

An index of a table with rows is built beside those who write: PostgreSQL does that outside of
transactions, and leaves an invalid index where it was broken off; InnoDB leaves nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.util import await_only

from registry.db.failures import code_of, is_overtaken
from registry.domain.errors import UnavailableError

LOG = logging.getLogger(__name__)

TABLE_SECONDS = 1  # the longest that a change, and so everybody behind it, waits for a table
PAUSE_SECONDS = 1.0  # in which those go on who have waited
TRIES = 150  # five minutes
INDEX_SECONDS = 3600  # for whoever was there before an index: nobody waits behind that
_NOT_SUPPORTED = frozenset({1845, 1846})  # this change by this algorithm, in MySQL and MariaDB
_AGAIN = "docs/databases.md says how to find it; then run `db sync` again, which goes on"


def prepare(connection: sa.Connection) -> None:
    """Let a connection wait for tables as changes of them do."""
    if connection.dialect.name == "postgresql":
        _wait_for_locks(connection, TABLE_SECONDS)
        connection.exec_driver_sql("SET statement_timeout = 0")
    else:
        seconds = f"lock_wait_timeout = {TABLE_SECONDS}, innodb_lock_wait_timeout = {TABLE_SECONDS}"
        unbounded = ", max_statement_time = 0" if is_mariadb(connection) else ""
        connection.exec_driver_sql(f"SET SESSION {seconds}{unbounded}")


def patiently(table: str, change: Callable[[], object]) -> None:
    """Make a change as soon as nobody uses its table; `UnavailableError` says which one it was."""
    for _ in range(TRIES):
        try:
            change()
        except DBAPIError as error:
            if not is_overtaken(error):
                raise
        else:
            return
        LOG.info("table %s is in use by a transaction: waiting for its end", table)
        await_only(asyncio.sleep(PAUSE_SECONDS))
    raise UnavailableError(f"Table {table} is in use by a transaction that does not end: {_AGAIN}.")


def in_the_best_way(
    connection: sa.Connection, table: str, statement: str, ways: Sequence[str]
) -> None:
    """Make a change of MySQL's in the first of several ways that it knows for it."""

    def change() -> None:
        for way in ways:
            try:
                connection.exec_driver_sql(statement + way)
            except DBAPIError as error:
                if code_of(error) not in _NOT_SUPPORTED or way == ways[-1]:
                    raise
            else:
                return

    patiently(table, change)


def build_index(
    connection: sa.Connection, name: str, table: str, build: Callable[[bool], None]
) -> None:
    """Build an index of PostgreSQL's, if it is not there; `build` is told whether beside writers."""
    valid = _is_valid(connection, name)
    if valid:
        return
    if valid is not None:
        LOG.info("index %s was broken off: it is built again", name)
        drop = sa.schema.DropIndex(
            sa.Index(name, sa.column("any"), postgresql_concurrently=True), if_exists=True
        )
        patiently(table, lambda: connection.execute(drop))
    if not connection.execute(_has_rows(table)).scalar_one():
        patiently(table, lambda: build(False))
        return
    LOG.info("index %s of table %s is being built", name, table)
    _wait_for_locks(connection, INDEX_SECONDS)
    try:
        build(True)
    except DBAPIError as error:
        if is_overtaken(error):
            raise UnavailableError(
                f"Index {name} waited for a transaction that does not end: {_AGAIN}."
            ) from error
        raise
    _wait_for_locks(connection, TABLE_SECONDS)


def is_mariadb(connection: sa.Connection) -> bool:
    """Tell MariaDB from MySQL."""
    return bool(getattr(connection.dialect, "is_mariadb", False))


def _wait_for_locks(connection: sa.Connection, seconds: int) -> None:
    connection.exec_driver_sql(f"SET lock_timeout = '{seconds}s'")


def _is_valid(connection: sa.Connection, name: str) -> bool | None:
    """Tell whether an index was built to its end; None: there is no such index."""
    question = sa.text(
        "SELECT indisvalid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
        " WHERE relname = :name AND pg_table_is_visible(indexrelid)"
    )
    valid: bool | None = connection.execute(question, {"name": name}).scalar_one_or_none()
    return valid


def _has_rows(table: str) -> sa.Select[tuple[bool]]:
    return sa.select(sa.exists(sa.select(sa.literal(1)).select_from(sa.table(table))))
