"""Types of columns that mean the same in every database.

Text is compared and ordered by code points, case and trailing blanks included: SQLite's own way;
collation C in PostgreSQL; in MySQL, a collation of the tables (`registry.db.migrating`).  Glance's
tables there have MySQL's default, for which A and a are one tag.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

BEGINNING = 64  # of a long text, in characters: what an index can hold of it
# Of an index of whole texts.  PostgreSQL's trees end at 2,704 bytes, its hashes do not; MySQL's
# end at 3,072, and what begins alike is compared.
WHOLE_TEXT: dict[str, Any] = {"postgresql_using": "hash", "mysql_length": 512}


def text(length: int) -> sa.types.TypeEngine[str]:
    """Text of up to so many characters."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def long_text() -> sa.types.TypeEngine[str]:
    """Text of any length; MySQL's TEXT would end at 64 KiB."""
    in_postgresql = sa.Text(collation="C")
    return (
        sa.Text().with_variant(mysql.LONGTEXT(), "mysql").with_variant(in_postgresql, "postgresql")
    )


def moment() -> sa.types.TypeEngine[datetime]:
    """A time in UTC, to the microsecond; MySQL's DATETIME would round to seconds."""
    return sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql")


def octets(length: int) -> sa.types.TypeEngine[bytes]:
    """Up to so many bytes, at most 64 KiB."""
    return sa.LargeBinary(length).with_variant(mysql.BLOB(), "mysql")


def beginning(column: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
    """Return what an index holds of a long text; MySQL compares the text itself with it."""
    return sa.func.substr(column, sa.literal_column("1"), sa.literal_column(str(BEGINNING)))


def or_empty(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Return a text, empty where there is none: what the index of an order holds."""
    return sa.func.coalesce(column, sa.literal_column("''"))


def whole_text_index(name: str, column: str) -> sa.Index:
    """Return an index by which a long text is found that is the same from end to end."""
    return sa.Index(name, column, **WHOLE_TEXT)
