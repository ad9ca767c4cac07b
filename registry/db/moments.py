"""Whether anything was committed since: asked of SQLite where it is shared memory that tells.

`PRAGMA data_version`, on a connection that is kept for it and never writes, changes with each commit
of any other connection, of this process or another (sqlite.org/pragma.html#pragma_data_version).
In WAL mode it looks at the index in shared memory, under locks that it does not wait for: 3 µs, so it
is asked on the loop, where a question by way of a thread takes a quarter of a millisecond.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path


class Moments:
    """The moments of one database file; for one thread, but for opening and closing."""

    def __init__(self, file: Path) -> None:
        """Prepare; nothing is opened before `open`."""
        self._file = file
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open the connection.  Blocks; `sqlite3.Error`, and then no moment is ever told."""
        connection = sqlite3.connect(
            f"{self._file.absolute().as_uri()}?mode=ro",
            uri=True,
            timeout=0,  # it is asked on the loop
            isolation_level=None,
            check_same_thread=False,
        )
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        if mode == "wal":
            self._connection = connection
        else:  # there the files themselves would be read, and locked
            connection.close()

    def now(self) -> int | None:
        """Return what differs after each commit, None where that cannot be told at once."""
        if self._connection is None:
            return None
        try:
            with closing(self._connection.execute("PRAGMA data_version")) as cursor:
                ((moment,),) = cursor.fetchall()
        except sqlite3.Error:  # somebody recovers the index after a crash
            return None
        return int(moment)

    def close(self) -> None:
        """Close the connection.  Blocks."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
