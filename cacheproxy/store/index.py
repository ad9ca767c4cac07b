"""The index: one LMDB file that says which chunks there are, in which order they go, and whose.

What is in it says layout.py.  The last commits may be lost in a power cut, the tree never (sync, no
metasync, no writemap).  Only the keeper maps the file, opened after its fork; only its writer thread
writes.  Reads are short: each has a transaction of its own, copies out, and is never held across an
`await`.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import lmdb

from cacheproxy.errors import (
    NO_SPACE,
    ConfigError,
    DiskFullError,
    ReadOnlyDiskError,
    StorageError,
)
from cacheproxy.store.census import Census
from cacheproxy.store.layout import (
    NOBODY,
    SCHEMA,
    STATE,
    Changes,
    ChunkEntry,
    IndexDamagedError,
    IndexLostError,
    Key,
    Sum,
    Table,
    owner_name,
    owner_number,
    place_name,
    queue_and_stamp,
)

MAP_BYTES = 64 << 30  # address space only; the file is as long as what is in it

_SCHEMA_NAME = b"schema"
_BLOCK = 512


class _Translated:
    """Lets out `StorageError` instead of LMDB's errors; a class, because every look-up enters it."""

    def __init__(self, doing: str, on_error: Callable[[StorageError], None]) -> None:
        self._doing = doing
        self._on_error = on_error

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        if error is None:
            return
        if isinstance(error, IndexDamagedError):
            self._on_error(error)
        elif isinstance(error, (lmdb.Error, struct.error)):
            translated = _kind(error)(f"{self._doing}: {type(error).__name__}")
            self._on_error(translated)
            raise translated from error


def _kind(error: lmdb.Error | struct.error) -> type[StorageError]:
    if isinstance(error, (struct.error, *_DAMAGED)):
        return IndexDamagedError
    if isinstance(error, _LOST):
        return IndexLostError
    code = getattr(error, "code", 0)  # LMDB's own errors beside the system's
    if isinstance(error, lmdb.MapFullError) or code in NO_SPACE:
        return DiskFullError
    return ReadOnlyDiskError if code == errno.EROFS else StorageError


# What LMDB says of garbled pages; our transactions are too plain for other causes.
_DAMAGED = (
    lmdb.BadDbiError,
    lmdb.BadTxnError,
    lmdb.CorruptedError,
    lmdb.CursorFullError,
    lmdb.IncompatibleError,
    lmdb.InvalidError,
    lmdb.MapResizedError,  # nobody else has it open, and nobody needs so much
    lmdb.PageFullError,
    lmdb.PageNotFoundError,
    lmdb.ProblemError,
    lmdb.VersionMismatchError,
)
_LOST = (lmdb.BadRslotError, lmdb.PanicError, lmdb.ReadersFullError)


def refuse_truncated(env: lmdb.Environment, data: Path) -> None:
    """A map that is longer than its file would end the process with SIGBUS."""
    needed = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
    if data.stat().st_size < needed:
        raise IndexDamagedError("the index file is cut short")


class IndexFile:
    """The open LMDB file.  `apply` is for the writer thread only, the rest for any."""

    def __init__(self, directory: Path) -> None:
        """Open or make it; `IndexDamagedError` if it has to be made again."""
        self.on_error: Callable[[StorageError], None] = lambda _: None  # in whatever thread it met
        self._data = directory / "data.mdb"
        opening, self._reading, self._writing = (
            _Translated(f"{doing} the index", self.met)
            for doing in ("opening", "reading", "writing")
        )
        with opening:
            self._env = lmdb.open(
                str(directory),
                map_size=MAP_BYTES,
                max_dbs=16,
                mode=0o640,
                sync=True,
                metasync=False,
                writemap=False,
                readahead=False,
            )
        try:
            with opening:
                refuse_truncated(self._env, self._data)
                # A reader that died with a transaction open would make the file grow for ever.
                self._env.reader_check()
                with self._env.begin(write=True) as txn:  # one commit makes them all
                    self._tables = {t: self._env.open_db(t.value, txn=txn) for t in Table}
                    self._order = self._env.open_db(b"order", txn=txn)
                    self._owned = self._env.open_db(b"owned", txn=txn)
                    self._queues = self._env.open_db(b"queues", txn=txn)
                    self._owners = self._env.open_db(b"owners", txn=txn)
                    self._settle_schema(txn)
        except BaseException:
            self._env.close()
            raise

    def _settle_schema(self, txn: lmdb.Transaction[bytes]) -> None:
        meta = self._tables[Table.META]
        schema: bytes | None = txn.get(_SCHEMA_NAME, db=meta)
        if schema is not None:
            if not schema.isdigit():
                raise IndexDamagedError("the index is of no known version")
            if int(schema) > SCHEMA:
                directory = self._data.parent
                raise ConfigError(
                    f"the index in {directory} is of schema {int(schema)}, this program knows"
                    f" {SCHEMA}: run the version that wrote it, or remove {directory} to have it"
                    " made again from the chunks"
                )
            if int(schema) == 1:
                self._migrate_from_1(txn)
        txn.put(_SCHEMA_NAME, b"%d" % SCHEMA, db=meta)

    def _migrate_from_1(self, txn: lmdb.Transaction[bytes]) -> None:
        """All of it had one queue and no owners, so one sum is all there is to write.

        Entries are written anew as they change: a million of them must not delay a start.
        """
        totals: bytes | None = txn.pop(b"totals", db=self._tables[Table.META])
        if totals is not None:
            txn.put(place_name(0, 0)[:1], totals, db=self._queues)

    def met(self, error: StorageError) -> None:
        """Tell of an error that was met in what was read."""
        self.on_error(error)

    def close(self) -> None:
        """Close it; no other thread may be using it."""
        self._env.close()

    # --- reading ----------------------------------------------------------------------------------

    def get(self, key: Key) -> bytes | None:
        """Return what was committed under a key."""
        with self._reading, self._env.begin() as txn:
            value: bytes | None = txn.get(key.name, db=self._tables[key.table])
            return value

    def get_all(self, table: Table, names: Sequence[bytes]) -> list[bytes | None]:
        """Return what was committed under names of a table, in one transaction: keep them few."""
        with self._reading, self._env.begin() as txn:
            of_table = self._tables[table]
            return [txn.get(name, db=of_table) for name in names]

    def names(self, table: Table, prefix: bytes) -> list[bytes]:
        """Return all names of a table that begin like this."""
        found: list[bytes] = []
        with self._reading, self._env.begin() as txn:
            cursor = txn.cursor(db=self._tables[table])
            if cursor.set_range(prefix):
                for name in cursor.iternext(keys=True, values=False):
                    if not name.startswith(prefix):
                        break
                    found.append(name)
        return found

    def names_after(self, table: Table, after: bytes, count: int) -> list[bytes]:
        """Return the first `count` names of a table, in order, behind the name `after`."""
        with self._reading, self._env.begin() as txn:
            cursor = txn.cursor(db=self._tables[table])
            if not cursor.set_range(after + b"\0"):
                return []
            return list(islice(cursor.iternext(keys=True, values=False), count))

    def count(self, table: Table) -> int:
        """Return how many rows a table has."""
        with self._reading, self._env.begin() as txn:
            return int(txn.stat(self._tables[table])["entries"])

    def size(self, table: Table) -> int:
        """Return the bytes that a table takes in the file."""
        with self._reading, self._env.begin() as txn:
            stat = txn.stat(self._tables[table])
        pages = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
        return int(pages * stat["psize"])

    def oldest(
        self, queue: int, after: int, count: int, *, owner: int = NOBODY
    ) -> list[tuple[int, bytes]]:
        """Return stamps and digests from the old end of a queue, behind the stamp `after`.

        With an owner, only those of the chunks charged to it.
        """
        prefix = b"" if owner == NOBODY else owner_name(owner)
        table = self._order if owner == NOBODY else self._owned
        rows: list[tuple[int, bytes]] = []
        with self._reading, self._env.begin() as txn:
            cursor = txn.cursor(db=table)
            if cursor.set_range(prefix + place_name(queue, after + 1)):
                for name, digest in cursor:
                    row_queue, stamp = queue_and_stamp(name)
                    if row_queue != queue or not name.startswith(prefix) or len(rows) == count:
                        break
                    rows.append((stamp, digest))
        return rows

    def last_stamp(self) -> int:
        """Return the youngest stamp of any queue; 0 if there is none."""
        last = 0
        with self._reading, self._env.begin() as txn:
            cursor = txn.cursor(db=self._order)
            positioned: bool = cursor.last()
            while positioned:
                queue, stamp = queue_and_stamp(cursor.key())
                last = max(last, stamp)
                # On to the youngest of the queue before this one.
                positioned = cursor.set_range(place_name(queue, 0)) and cursor.prev()
        return last

    def census(self) -> Census:
        """Return how much `chunks` holds, by queue and by owner."""
        with self._reading, self._env.begin() as txn:
            return Census(
                {name[0]: Sum.unpack(packed) for name, packed in txn.cursor(db=self._queues)},
                {
                    owner_number(name): Sum.unpack(packed)
                    for name, packed in txn.cursor(db=self._owners)
                },
            )

    def projects(self) -> dict[bytes, int]:
        """Return every project's number as an owner, also of those that have no chunk now."""
        with self._reading, self._env.begin() as txn:
            cursor = txn.cursor(db=self._tables[Table.PROJECTS])
            return {bytes(name): owner_number(number) for name, number in cursor}

    # --- writing ----------------------------------------------------------------------------------

    def apply(self, changes: Changes) -> int:
        """Commit changes, all or none; returns the file's bytes on disk then.

        With the store's state among them, the commit itself survives a power cut.
        """
        with self._writing:
            with self._env.begin(write=True) as txn:
                delta = Census({}, {})
                for key, value in changes.items():
                    if key.table is Table.CHUNKS:
                        self._place(txn, key.name, value, delta)
                    elif value is None:
                        txn.delete(key.name, db=self._tables[key.table])
                    else:
                        txn.put(key.name, value, db=self._tables[key.table])
                for queue, sum_ in delta.queues.items():
                    _add(txn, self._queues, place_name(queue, 0)[:1], sum_)
                for owner, sum_ in delta.owners.items():
                    _add(txn, self._owners, owner_name(owner), sum_)
            if STATE in changes:
                self._env.sync(True)
            return self._data.stat().st_blocks * _BLOCK

    def _place(
        self, txn: lmdb.Transaction[bytes], digest: bytes, packed: bytes | None, delta: Census
    ) -> None:
        """Write or remove a chunk's entry together with its places."""
        chunks = self._tables[Table.CHUNKS]
        was: bytes | None = txn.get(digest, db=chunks)
        old = None if was is None else ChunkEntry.unpack(was)
        new = None if packed is None else ChunkEntry.unpack(packed)
        delta.replace(old, new)
        if old is not None:
            place = place_name(old.place.queue, old.place.stamp)
            txn.delete(place, db=self._order)
            if old.owner != NOBODY:
                txn.delete(owner_name(old.owner) + place, db=self._owned)
        if new is None or packed is None:
            txn.delete(digest, db=chunks)
            return
        place = place_name(new.place.queue, new.place.stamp)
        txn.put(place, digest, db=self._order)
        if new.owner != NOBODY:
            txn.put(owner_name(new.owner) + place, digest, db=self._owned)
        txn.put(digest, packed, db=chunks)


def _add(txn: lmdb.Transaction[bytes], table: lmdb._Database, name: bytes, more: Sum) -> None:
    """Add to a sum; none is kept for nothing."""
    packed: bytes | None = txn.get(name, db=table)
    before = Sum() if packed is None else Sum.unpack(packed)
    after = Sum(before.chunks + more.chunks, before.cost + more.cost)
    if after == (0, 0):
        txn.delete(name, db=table)
    else:
        txn.put(name, after.pack(), db=table)
