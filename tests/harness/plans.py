"""How a database would do what the catalog asks of it: the plans in which it reads a whole table."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import sqlalchemy as sa

from registry.db.database import Connection, Database

_EXPLAIN = {"sqlite": "EXPLAIN QUERY PLAN", "postgresql": "EXPLAIN", "mysql": "EXPLAIN"}


async def analyze(database: Database, tables: Sequence[str]) -> None:
    """Let a database count what is in the tables, as it does by itself after a while."""
    names = f"TABLE {', '.join(tables)}" if database.kind == "mysql" else ""
    async with database.write() as connection:
        await connection.execute(sa.text(f"ANALYZE {names}"))


async def plans_of(
    connection: Connection, work: Callable[..., Awaitable[object]], *args: object
) -> list[tuple[str, list[str]]]:
    """Do some work, and return the statements that it asked with, and the lines of their plans."""
    asked: list[tuple[str, Any]] = []

    def note(_c: object, _cursor: object, statement: str, values: Any, *_: object) -> None:
        asked.append((statement, values))

    engine = connection.sync_engine
    sa.event.listen(engine, "before_cursor_execute", note)
    await work(connection, *args)
    sa.event.remove(engine, "before_cursor_execute", note)
    plans: list[tuple[str, list[str]]] = []
    for statement, values in asked:
        if statement.startswith("INSERT"):
            continue
        explain = f"{_EXPLAIN[engine.dialect.name]} {statement}"
        plan = await connection.exec_driver_sql(explain, values)
        plans.append((statement, ["|".join(map(str, row)) for row in plan]))
    return plans


async def scans_of(
    connection: Connection,
    tables: Sequence[str],
    work: Callable[..., Awaitable[object]],
    *args: object,
) -> list[str]:
    """Do some work, and return the lines of its plans in which a whole table of these is read.

    For tables that are not empty.
    """
    either = "|".join(tables)
    scan = re.compile(  # the three ways to say it
        rf"\|SCAN ({either})\b|Seq Scan on ({either})\b|\|({either})\|(ALL|index)\|"
    )
    plans = await plans_of(connection, work, *args)
    return [line for _, lines in plans for line in lines if scan.search(line)]
