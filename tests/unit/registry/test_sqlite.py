"""SQLite's connections: how often the thread of one is sent, and that transactions are what they were."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from registry.db.sqlite import READING, WRITING, Connection


@pytest.fixture
def file(tmp_path: Path) -> str:
    file = str(tmp_path / "database")
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE numbers (number INTEGER)")
        connection.execute("INSERT INTO numbers VALUES (1), (2)")
    return file


async def asked(connection: Connection, statement: str, *parameters: object) -> list[Any]:
    cursor = connection.cursor()
    await cursor.execute(statement, parameters)
    await cursor.close()
    return list(await cursor.fetchall())


async def test_a_statement_is_one_errand(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = await Connection(file, READING, 1)
    put, errands = connection._tx.put_nowait, []

    class Queue:
        def put_nowait(self, errand: Any) -> None:
            errands.append(errand)
            put(errand)

    monkeypatch.setattr(connection, "_tx", Queue())
    connection.begin()
    assert await asked(connection, "SELECT * FROM numbers WHERE number > ?", 1) == [(2,)]
    assert await asked(connection, "SELECT * FROM numbers") == [(1,), (2,)]
    await connection.rollback()
    assert len(errands) == 3  # and nobody waits for the last one
    assert errands[-1][0] is None
    connection.begin()
    assert await asked(connection, "SELECT count(*) FROM numbers") == [(2,)]
    await connection.close()


async def test_a_reading_transaction_sees_one_moment(file: str) -> None:
    reading, writing = await Connection(file, READING, 1), await Connection(file, WRITING, 1)
    reading.begin()
    assert await asked(reading, "SELECT count(*) FROM numbers") == [(2,)]
    writing.begin()
    cursor = writing.cursor()
    await cursor.executemany("INSERT INTO numbers VALUES (?)", [(3,), (4,)])
    assert (cursor.rowcount, cursor.description) == (2, None)
    await writing.commit()
    assert await asked(reading, "SELECT count(*) FROM numbers") == [(2,)]
    await reading.rollback()
    assert await asked(reading, "SELECT count(*) FROM numbers") == [(4,)]
    for connection in (reading, writing):
        await connection.close()


async def test_what_is_undone_was_not(file: str) -> None:
    writing, other = await Connection(file, WRITING, 1), await Connection(file, WRITING, 0)
    writing.begin()
    await asked(writing, "DELETE FROM numbers")
    other.begin()
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        await asked(other, "DELETE FROM numbers")
    await other.rollback()
    await writing.rollback()
    other.begin()
    assert await asked(other, "SELECT count(*) FROM numbers") == [(2,)]
    await other.commit()
    for connection in (writing, other):
        await connection.close()


async def test_nothing_begins_without_a_statement(file: str) -> None:
    first, second = await Connection(file, WRITING, 0), await Connection(file, WRITING, 0)
    for end in (first.commit, first.rollback):
        first.begin()
        await end()
        second.begin()
        await asked(second, "DELETE FROM numbers")
        await second.rollback()
    for connection in (first, second):
        await connection.close()
