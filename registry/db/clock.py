"""The database's clock: the one that all instances share, so that one whose own is wrong robs nobody.

What lies in the future is told to the database in seconds from now, never as a moment.  SQLite has
the clock of its host, on which all of its instances are.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

from registry.db.columns import moment


class unix_seconds(GenericFunction[int]):  # noqa: N801  # it is written as SQL has it
    """The seconds since 1970, when the statement begins."""

    type = sa.BigInteger()
    inherit_cache = True


@compiles(unix_seconds, "sqlite")
def _seconds_in_sqlite(_function: unix_seconds, _compiler: Any, **_: Any) -> str:
    return "CAST(strftime('%s', 'now') AS INTEGER)"


@compiles(unix_seconds, "postgresql")
def _seconds_in_postgresql(_function: unix_seconds, _compiler: Any, **_: Any) -> str:
    return "CAST(extract(epoch FROM statement_timestamp()) AS BIGINT)"


@compiles(unix_seconds, "mysql")
def _seconds_in_mysql(_function: unix_seconds, _compiler: Any, **_: Any) -> str:
    return "unix_timestamp()"


class moment_in(GenericFunction[datetime]):  # noqa: N801  # it is written as SQL has it
    """The moment so many seconds after the statement begins, as columns keep times."""

    type = moment()
    inherit_cache = True


@compiles(moment_in, "sqlite")
def _moment_in_sqlite(function: moment_in, compiler: Any, **more: Any) -> str:
    seconds = compiler.process(function.clauses, **more)
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', {seconds} || ' seconds')"


@compiles(moment_in, "postgresql")
def _moment_in_postgresql(function: moment_in, compiler: Any, **more: Any) -> str:
    seconds = f"CAST({compiler.process(function.clauses, **more)} AS DOUBLE PRECISION)"
    return f"(timezone('utc', statement_timestamp()) + make_interval(secs => {seconds}))"


@compiles(moment_in, "mysql")
def _moment_in_mysql(function: moment_in, compiler: Any, **more: Any) -> str:
    return f"(utc_timestamp(6) + INTERVAL {compiler.process(function.clauses, **more)} SECOND)"
