"""SQLite's connections: a statement and all its rows are one errand of the connection's thread.

aiosqlite has four errands for a statement (a cursor, the statement, its rows, the cursor's end), each
of which takes longer than what SQLite does of it.  Here a transaction begins with its first
statement, and nobody waits for the end of one that changed nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Sequence
from contextlib import closing
from functools import partial
from typing import Any, Self, cast

import aiosqlite

ASKING, READING, WRITING = "", "BEGIN", "BEGIN IMMEDIATE"

Result = tuple[Sequence[Any], Any, int, int | None]  # rows, their description, rowcount, lastrowid


class Connection(aiosqlite.Connection):
    """What SQLAlchemy's dialect for aiosqlite takes for one of aiosqlite's."""

    def __init__(self, file: str, begin: str, seconds: float) -> None:
        """Prepare a connection to a file, whose transactions begin by READING or by WRITING.

        By ASKING none begins: each statement is one.
        It waits `seconds` for another process that writes.
        """
        opened = partial(sqlite3.connect, file, timeout=seconds, isolation_level=None)
        super().__init__(opened, iter_chunk_size=1)  # nobody iterates over its cursors
        self._thread.daemon = True  # should a disk hang, the process ends without it
        self._begin = begin
        self._begins = False

    def __await__(self) -> Generator[Any, None, Self]:
        """Open it."""
        return cast("Self", (yield from super().__await__()))

    def begin(self) -> None:
        """Begin a transaction, with the next statement."""
        self._begins = bool(self._begin)

    def cursor(self) -> Cursor:  # type: ignore[override]  # as much of one as is used
        """Return what runs one statement."""
        return Cursor(self)

    async def run(self, function: str, statement: str, parameters: Any) -> Result:
        """Run a statement by one of the functions of SQLite's cursors."""
        begin = self._begin if self._begins else None
        self._begins = False
        errand = partial(_run, self._conn, begin, function, statement, parameters)
        result: Result = await self._execute(errand)  # type: ignore[no-untyped-call]  # aiosqlite's
        return result

    async def commit(self) -> None:
        """Commit what has begun."""
        if self._begins:
            self._begins = False
            return
        await super().commit()

    async def rollback(self) -> None:
        """Undo what has begun."""
        self._begins = False
        if not self._conn.in_transaction:
            return
        if self._begin == READING:
            self._tx.put_nowait((None, self._conn.rollback))
        else:
            await super().rollback()


def _run(
    connection: sqlite3.Connection,
    begin: str | None,
    function: str,
    statement: str,
    parameters: Any,
) -> Result:
    # Closed here: an error that is kept would keep the cursor, and that one the file.
    with closing(connection.cursor()) as cursor:
        if begin is not None:
            cursor.execute(begin)
        getattr(cursor, function)(statement, parameters)
        rows = cursor.fetchall() if cursor.description else ()
        return rows, cursor.description, cursor.rowcount, cursor.lastrowid


class Cursor:
    """A statement that has been run, with its rows."""

    arraysize = 1

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rows: Sequence[Any] = ()
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, statement: str, parameters: Any = ()) -> Self:
        """Run a statement once."""
        return await self._run("execute", statement, parameters)

    async def executemany(self, statement: str, parameters: Any) -> Self:
        """Run a statement for each of these."""
        return await self._run("executemany", statement, parameters)

    async def _run(self, function: str, statement: str, parameters: Any) -> Self:
        ran = await self._connection.run(function, statement, parameters)
        self._rows, self.description, self.rowcount, self.lastrowid = ran
        return self

    async def fetchall(self) -> Sequence[Any]:
        """Return the rows, which have come with the statement."""
        return self._rows

    async def close(self) -> None:
        """Nothing is open."""
