"""The steps of migrations; on a server each is one transaction, and does nothing where it was done.

So a migration holds a table for the moment of one change only, and one that was broken off is gone on
with in its middle.  SQLite has no moment in which others could write between: there a whole upgrade
is done, or nothing of it.

A migration uses these steps only, and so only adds: the program of the release before goes on
working on the tables while instances are replaced one by one (expand).  What only that one needed,
a later release takes away (contract), after it has said so by `require_program`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op
from alembic.ddl.base import AddColumn
from alembic.operations.ops import CreateIndexOp

from registry.db import programs
from registry.db.altering import build_index, in_the_best_way, is_mariadb, patiently
from registry.db.columns import BEGINNING, WHOLE_TEXT, beginning, or_empty

# What MySQL and MariaDB know of a change: at once, beside who writes, or as it can be.
_COLUMN_WAYS = (", ALGORITHM=INSTANT", ", ALGORITHM=INPLACE, LOCK=NONE", "")
_INDEX_WAYS = (" ALGORITHM=INPLACE LOCK=NONE", "")


def create_table(name: str, *elements: sa.schema.SchemaItem) -> sa.Table:
    """Create a table, in MySQL one with transactions and the text of `registry.db.columns`."""
    if _kind() == "sqlite":
        return op.create_table(name, *elements)
    options: dict[str, Any] = {}
    if _kind() == "mysql":
        options = {
            "mysql_engine": "InnoDB",
            "mysql_charset": "utf8mb4",
            "mysql_collate": _collation(),
        }
    made: list[sa.Table] = []
    # Foreign keys need the tables that they refer to as well.
    patiently(
        f"{name}, or one that it refers to,",
        lambda: made.append(op.create_table(name, *elements, if_not_exists=True, **options)),
    )
    return made[0]


def add_column(table: str, column: sa.Column[Any]) -> None:
    """Add a column to a table; it is nullable, or has a constant for the server's default."""
    if _kind() == "sqlite":
        op.add_column(table, column)
        return
    there = sa.inspect(op.get_bind()).get_columns(table)
    if column.name in {each["name"] for each in there}:
        return
    if _kind() == "postgresql":
        patiently(table, lambda: op.add_column(table, column))
        return
    sa.Table(table, sa.MetaData(), column)
    _alter(table, AddColumn(table, column), _COLUMN_WAYS)


def create_index(name: str, table: str, columns: Sequence[str]) -> None:
    """Create an index."""
    _create_index(name, table, list(columns))


def create_text_index(name: str, table: str, columns: Sequence[str], text: str) -> None:
    """Create an index whose last part is the beginning of a long text.

    It is used where that is compared as `registry.db.columns.beginning`.
    """
    if _kind() == "mysql":
        _create_index(name, table, [*columns, text], mysql_length={text: BEGINNING})
    else:
        _create_index(name, table, [*columns, sa.text(str(beginning(sa.column(text))))])


def create_whole_text_index(name: str, table: str, text: str) -> None:
    """Create an index by which a long text is found that is the same from end to end."""
    _create_index(name, table, [text], **WHOLE_TEXT)


def create_order_index(
    name: str, table: str, columns: Sequence[str], text: str, ties: Sequence[str]
) -> None:
    """Create an index of the order by a text that may be absent, and then by `ties`.

    It is used where `columns` are told, and the text is `registry.db.columns.or_empty`.  MariaDB has
    no indexes of what is computed: there such lists are sorted.
    """
    if _kind() != "mysql":
        _create_index(name, table, [*columns, sa.text(str(or_empty(sa.column(text)))), *ties])


def fill(table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert the rows that a table begins with: a few, by one statement."""
    connection = op.get_bind()
    if not connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one():
        connection.execute(table.insert().values([dict(row) for row in rows]))


def require_program(revision: str) -> None:
    """Let no program start from now on whose newest revision is an older one than this.

    A program that is running goes on; operators see to it that none is.
    """
    programs.require_program(op.get_bind(), revision)


def _kind() -> str:
    return op.get_bind().dialect.name


def _create_index(name: str, table: str, columns: list[Any], **options: Any) -> None:
    connection = op.get_bind()
    if _kind() == "sqlite":
        op.create_index(name, table, columns)
    elif _kind() == "postgresql":
        build_index(
            *(connection, name, table),
            lambda beside: op.create_index(
                *(name, table, columns), postgresql_concurrently=beside, **options
            ),
        )
    elif name not in {each["name"] for each in sa.inspect(connection).get_indexes(table)}:
        index = CreateIndexOp(name, table, columns, **options).to_index(op.get_context())
        _alter(table, sa.schema.CreateIndex(index), _INDEX_WAYS)


def _alter(table: str, change: sa.schema.DDLElement, ways: Sequence[str]) -> None:
    connection = op.get_bind()
    statement = str(change.compile(dialect=connection.dialect))
    in_the_best_way(connection, table, statement, ways)


def _collation() -> str:
    """By code points, and without padding: "a" and "a " are two."""
    return "utf8mb4_nopad_bin" if is_mariadb(op.get_bind()) else "utf8mb4_0900_bin"
