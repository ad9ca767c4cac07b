"""What a failed transaction means: whether it may be repeated, or nobody knows what became of it.

    TransientError         nothing was changed, and the same transaction may succeed
    ├── OvertakenError     another transaction came first: again, in milliseconds
    └── OutageError        the server is away, starting, or takes no writes: again, in seconds
    UnavailableError       anything else that the database itself failed with

Sources: MySQL's and MariaDB's error lists (1020 is MariaDB's, where a snapshot is too old to write
on; 1412 is that it is older than a change of the table; 1047, 1213 and 1290 are what Galera answers
while it forms, certifies and fails over; 3101 is Group Replication's), PostgreSQL's appendix A,
SQLite's result codes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from registry.domain.errors import UnavailableError

LOG = logging.getLogger(__name__)


class TransientError(UnavailableError):
    """Nothing was changed; the same transaction may succeed when it is run again."""


class OvertakenError(TransientError):
    """Another transaction came first."""


class OutageError(TransientError):
    """The server does not do its work at the moment; it may be another server that will."""


_MYSQL_OVERTAKEN = frozenset({1020, 1205, 1213, 1412, 3101})
_MYSQL_OUTAGE = frozenset(
    {
        *(1040, 1203, 1226),  # too many connections
        *(1047, 1053, 1290, 1836, 1927, 4031),  # not ready, stopping, read-only, killed
        *(2002, 2003, 2006, 2013, 2014, 2055),  # not reached, lost
    }
)
_SQLITE_OVERTAKEN = frozenset({"SQLITE_BUSY", "SQLITE_BUSY_SNAPSHOT", "SQLITE_LOCKED"})
_STATE_OVERTAKEN = frozenset({"40001", "40P01", "55P03"})
_STATE_OUTAGE = frozenset({"25006", "53300", "57P01", "57P02", "57P03"})
_STATE_CLASSES_OF_THE_SERVER = frozenset({"08", "28", "3D", "40", "53", "55", "57", "58", "XX"})


@contextmanager
def translated(*, committing: bool = False) -> Iterator[None]:
    """Turn the failures of a database into ours; data that does not fit stays as it is.

    Where a connection was lost while it was `committing`, the transaction may have happened.
    """
    try:
        yield
    except PoolTimeoutError as error:
        raise UnavailableError("The database has no connection to spare.") from error
    except (DBAPIError, OSError) as error:
        kind = _kind(error)
        if kind is None:
            raise
        raise _named(kind, error, committing=committing) from error
    except Exception as error:
        # asyncpg's own, while it connects: SQLAlchemy does not wrap these.
        kind = _kind_of_state(getattr(error, "sqlstate", None))
        if kind is None:
            raise
        raise _named(kind, error, committing=committing) from error


def _named(kind: type[UnavailableError], error: Exception, *, committing: bool) -> UnavailableError:
    """Make the error that the caller gets; what the server said is for the log only."""
    LOG.warning("the database failed: %s", getattr(error, "orig", None) or error)
    if kind is OutageError and committing:
        return UnavailableError(
            "The database was lost while it took the change: look whether it did."
        )
    if kind is OvertakenError:
        return OvertakenError("The database is busy with other changes.")
    if kind is OutageError:
        return OutageError("The database does not answer.")
    return UnavailableError("The database failed.")


def is_overtaken(error: DBAPIError) -> bool:
    """Tell whether a statement failed for another transaction, which it would have waited for."""
    return _kind(error) is OvertakenError


def code_of(error: DBAPIError) -> object:
    """Return the number that MySQL gives a failure, None if it has none."""
    original: Any = error.orig
    return original.args[0] if original is not None and original.args else None


def _kind(error: DBAPIError | OSError) -> type[UnavailableError] | None:
    if isinstance(error, OSError):
        return OutageError
    original: Any = error.orig
    if type(original).__name__ == "InvalidCachedStatementError":
        return OvertakenError  # by a migration; SQLAlchemy has forgotten the statement
    kind = _kind_of_state(getattr(original, "sqlstate", None))
    if kind is None or kind is UnavailableError:
        kind = _kind_of_code(error) or kind
    if kind is None or kind is UnavailableError:
        if error.connection_invalidated:
            return OutageError
        # A table that is missing is an operational error in one driver and a programming error in
        # another.
        return None if isinstance(error, IntegrityError | DataError) else UnavailableError
    return kind


def _kind_of_code(error: DBAPIError) -> type[TransientError] | None:
    """Read a number of MySQL's, or a name of SQLite's."""
    code = code_of(error)
    name = getattr(error.orig, "sqlite_errorname", None)
    if code in _MYSQL_OVERTAKEN or name in _SQLITE_OVERTAKEN:
        return OvertakenError
    return OutageError if code in _MYSQL_OUTAGE else None


def _kind_of_state(state: str | None) -> type[UnavailableError] | None:
    """Read a SQLSTATE, as PostgreSQL tells it."""
    if state is None:
        return None
    if state in _STATE_OVERTAKEN:
        return OvertakenError
    if state in _STATE_OUTAGE or state.startswith("08"):
        return OutageError
    return UnavailableError if state[:2] in _STATE_CLASSES_OF_THE_SERVER else None
