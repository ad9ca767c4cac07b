"""Which programs may work on the tables: the oldest one is written beside them.

A program is known by the newest revision that it has.  Migrations only add, so that programs of
earlier releases fit newer tables, until one says by `require_program` that it takes something away.
"""

from __future__ import annotations

import sqlalchemy as sa

FIRST = "0013"  # the newest revision when programs began to look here
_OLDEST = sa.Table(
    "registry_oldest_program",  # one row
    sa.MetaData(),
    sa.Column("revision", sa.String(32), primary_key=True),
)


def oldest_program(connection: sa.Connection) -> str | None:
    """Return the revision of the oldest program that fits; None: nothing was said."""
    if not sa.inspect(connection).has_table(_OLDEST.name):
        return None
    return connection.execute(sa.select(_OLDEST.c.revision)).scalar_one_or_none()


def let_programs_look(connection: sa.Connection) -> None:
    """Make the place where the oldest program is written, before the first migration."""
    _OLDEST.create(connection, checkfirst=True)
    if oldest_program(connection) is None:
        connection.execute(_OLDEST.insert().values(revision=FIRST))


def require_program(connection: sa.Connection, revision: str) -> None:
    """Write that older programs do not fit; what was required already stays."""
    older = _OLDEST.c.revision < revision
    connection.execute(_OLDEST.update().where(older).values(revision=revision))
