"""The index of a directory that nobody uses, to be read only."""

from __future__ import annotations

from pathlib import Path

import lmdb

from cacheproxy.store.index import MAP_BYTES, refuse_truncated
from cacheproxy.store.layout import IndexDamagedError, Table


class IndexView:
    """Lists chunks, in any schema, and changes nothing, not even the file of LMDB's locks."""

    def __init__(self, directory: Path) -> None:
        """Open it; `IndexDamagedError` if it cannot be read.  The caller has locked the store."""
        try:
            self._env = lmdb.open(
                str(directory),
                map_size=MAP_BYTES,
                max_dbs=16,
                readonly=True,
                create=False,
                lock=False,
                readahead=False,
            )
        except lmdb.Error as error:
            raise IndexDamagedError(f"opening the index: {type(error).__name__}") from error
        try:
            refuse_truncated(self._env, directory / "data.mdb")
            self._chunks = self._env.open_db(Table.CHUNKS.value, create=False)
        except lmdb.Error as error:
            self._env.close()
            raise IndexDamagedError(f"opening the index: {type(error).__name__}") from error
        except BaseException:
            self._env.close()
            raise

    def close(self) -> None:
        """Close it."""
        self._env.close()

    def count(self) -> int:
        """Return how many chunks are listed; `IndexDamagedError`."""
        try:
            with self._env.begin() as txn:
                return int(txn.stat(self._chunks)["entries"])
        except lmdb.Error as error:
            raise IndexDamagedError(f"reading the index: {type(error).__name__}") from error

    def digests(self, prefix: int) -> set[bytes]:
        """Return the listed digests that begin with this byte; `IndexDamagedError`."""
        found: set[bytes] = set()
        try:
            with self._env.begin() as txn:
                cursor = txn.cursor(db=self._chunks)
                if cursor.set_range(bytes([prefix])):
                    for name in cursor.iternext(keys=True, values=False):
                        if name[0] != prefix:
                            break
                        found.add(name)
        except lmdb.Error as error:
            raise IndexDamagedError(f"reading the index: {type(error).__name__}") from error
        return found
