"""The index: one LMDB file that says which chunks there are, in which order they go, and whose.

    meta      "schema" → version; "totals" → count and bytes of `chunks`; "state" → see `State`
    chunks    digest (32) → ChunkEntry
    order     queue (1) stamp (8, big-endian) → digest; follows `chunks` within each transaction
    zeros     digest of an all-zero chunk of an odd size → size (4)
    images    image id → ImageRecord
    contents  content key → ContentRecord
    pages     content key 00 page (4, big-endian) → the packed digests of a manifest page

The last commits may be lost in a power cut, the tree never (sync, no metasync, no writemap).  Only
the keeper maps the file, opened after its fork; only its writer thread writes.  Reads are short:
each has a transaction of its own, copies out, and is never held across an `await`.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Self

import lmdb

from cacheproxy.core.eviction import Place
from cacheproxy.errors import DiskFullError, StorageError

SCHEMA = b"1"
MAP_BYTES = 64 << 30  # address space only; the file is as long as what is in it
KEY_BYTES_MAX = 480  # LMDB takes 511

_ENTRY = struct.Struct("<BIIBBQ")
_ENTRY_VERSION = 1
_ORDER = struct.Struct(">BQ")
_STATE = struct.Struct("<BQ?")
_TOTALS = struct.Struct("<BQQ")
_PAGE = struct.Struct(">I")
_BLOCK = 512


class IndexDamagedError(StorageError):
    """The index cannot be read: it is set aside at the next start and made again from the files."""


class Table(enum.Enum):
    """The tables that are written by key; `order` and the totals follow by themselves."""

    META = b"meta"
    CHUNKS = b"chunks"
    ZEROS = b"zeros"
    IMAGES = b"images"
    CONTENTS = b"contents"
    PAGES = b"pages"

    __hash__ = object.__hash__  # each look-up hashes one, and Enum's own is slow


class Key(NamedTuple):
    """Where a value is."""

    table: Table
    name: bytes


Changes = Mapping[Key, bytes | None]  # None: no longer there

STATE = Key(Table.META, b"state")
_SCHEMA_NAME = b"schema"
_TOTALS_NAME = b"totals"


class ChunkEntry(NamedTuple):
    """What the index says of a chunk."""

    size: int
    cost: int  # bytes on disk
    place: Place

    def pack(self) -> bytes:
        """Return the bytes that the index keeps."""
        queue, stamp, hits = self.place
        blocks = self.cost // _BLOCK
        return _ENTRY.pack(_ENTRY_VERSION, self.size, blocks, queue, hits, stamp)

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """Read what `pack` wrote; `IndexDamagedError` for anything else."""
        try:
            version, size, blocks, queue, hits, stamp = _ENTRY.unpack(packed)
        except struct.error as error:
            raise IndexDamagedError("a chunk's entry cannot be read") from error
        if version != _ENTRY_VERSION:
            raise IndexDamagedError(f"a chunk's entry is of version {version}")
        return cls(size, blocks * _BLOCK, Place(queue, stamp, hits))


class State(NamedTuple):
    """How the last keeper left the store."""

    promised: int  # upper bound of the bytes of all chunk files, quarantined ones included
    clean: bool  # closed in order: the totals are exact

    def pack(self) -> bytes:
        """Return the bytes that the index keeps."""
        return _STATE.pack(1, *self)

    @classmethod
    def unpack(cls, packed: bytes | None) -> Self | None:
        """Read what `pack` wrote, None if there is nothing of this version."""
        if packed is None or len(packed) != _STATE.size or packed[0] != 1:
            return None
        _, promised, clean = _STATE.unpack(packed)
        return cls(promised, clean)


class Totals(NamedTuple):
    """What `chunks` holds."""

    entries: int
    cost: int


def page_name(content: bytes, page: int) -> bytes:
    """Name a page of a manifest."""
    return content + b"\0" + _PAGE.pack(page)


class _Translated:
    """Lets out `StorageError` instead of LMDB's errors; a class, because every look-up enters it."""

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        if not isinstance(error, lmdb.Error):
            return
        if isinstance(error, _FULL):
            raise DiskFullError(f"{self._doing}: no space") from error
        damaged = isinstance(error, _DAMAGED)
        raise (IndexDamagedError if damaged else StorageError)(
            f"{self._doing}: {type(error).__name__}"
        ) from error


_FULL = (lmdb.MapFullError, lmdb.DiskError)
_DAMAGED = (
    lmdb.CorruptedError,
    lmdb.InvalidError,
    lmdb.PageNotFoundError,
    lmdb.PanicError,
    lmdb.VersionMismatchError,
)
_OPENING = _Translated("opening the index")
_READING = _Translated("reading the index")
_WRITING = _Translated("writing the index")


class IndexFile:
    """The open LMDB file.  `apply` is for the writer thread only, the rest for any."""

    def __init__(self, directory: Path) -> None:
        """Open or make it; `IndexDamagedError` if it has to be made again."""
        self._data = directory / "data.mdb"
        with _OPENING:
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
            with _OPENING:
                self._refuse_truncated()
                # A reader that died with a transaction open would make the file grow for ever.
                self._env.reader_check()
                with self._env.begin(write=True) as txn:  # one commit makes them all
                    self._tables = {t: self._env.open_db(t.value, txn=txn) for t in Table}
                    self._order = self._env.open_db(b"order", txn=txn)
                    self._settle_schema(txn)
        except BaseException:
            self._env.close()
            raise

    def _refuse_truncated(self) -> None:
        """A map that is longer than its file would end the process with SIGBUS."""
        needed = (self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"]
        if self._data.stat().st_size < needed:
            raise IndexDamagedError("the index file is cut short")

    def _settle_schema(self, txn: lmdb.Transaction[bytes]) -> None:
        meta = self._tables[Table.META]
        schema = txn.get(_SCHEMA_NAME, db=meta)
        if schema is None:
            txn.put(_SCHEMA_NAME, SCHEMA, db=meta)
        elif schema != SCHEMA:
            raise IndexDamagedError("the index is of another version")

    def close(self) -> None:
        """Close it; no other thread may be using it."""
        self._env.close()

    # --- reading ----------------------------------------------------------------------------------

    def get(self, key: Key) -> bytes | None:
        """Return what was committed under a key."""
        with _READING, self._env.begin() as txn:
            value: bytes | None = txn.get(key.name, db=self._tables[key.table])
            return value

    def names(self, table: Table, prefix: bytes) -> list[bytes]:
        """Return all names of a table that begin like this."""
        found: list[bytes] = []
        with _READING, self._env.begin() as txn:
            cursor = txn.cursor(db=self._tables[table])
            if cursor.set_range(prefix):
                for name in cursor.iternext(keys=True, values=False):
                    if not name.startswith(prefix):
                        break
                    found.append(name)
        return found

    def oldest(self, queue: int, after: int, count: int) -> list[tuple[int, bytes]]:
        """Return stamps and digests from the old end of a queue, behind the stamp `after`."""
        rows: list[tuple[int, bytes]] = []
        with _READING, self._env.begin() as txn:
            cursor = txn.cursor(db=self._order)
            if cursor.set_range(_ORDER.pack(queue, after + 1)):
                for name, digest in cursor:
                    row_queue, stamp = _ORDER.unpack(name)
                    if row_queue != queue or len(rows) == count:
                        break
                    rows.append((stamp, digest))
        return rows

    def last_stamp(self) -> int:
        """Return the youngest stamp of any queue; 0 if there is none."""
        last = 0
        with _READING, self._env.begin() as txn:
            cursor = txn.cursor(db=self._order)
            positioned: bool = cursor.last()
            while positioned:
                queue, stamp = _ORDER.unpack(cursor.key())
                last = max(last, stamp)
                # On to the youngest of the queue before this one.
                positioned = cursor.set_range(_ORDER.pack(queue, 0)) and cursor.prev()
        return last

    def totals(self) -> Totals:
        """Return how much `chunks` holds."""
        packed = self.get(Key(Table.META, _TOTALS_NAME))
        return Totals(0, 0) if packed is None else Totals(*_TOTALS.unpack(packed)[1:])

    # --- writing ----------------------------------------------------------------------------------

    def apply(self, changes: Changes) -> int:
        """Commit changes, all or none; returns the file's bytes on disk then.

        With the store's state among them, the commit itself survives a power cut.
        """
        with _WRITING:
            with self._env.begin(write=True) as txn:
                entries, cost = 0, 0
                for key, value in changes.items():
                    if key.table is Table.CHUNKS:
                        delta = self._place(txn, key.name, value)
                        entries, cost = entries + delta.entries, cost + delta.cost
                    elif value is None:
                        txn.delete(key.name, db=self._tables[key.table])
                    else:
                        txn.put(key.name, value, db=self._tables[key.table])
                if entries or cost:
                    self._add_totals(txn, entries, cost)
            if STATE in changes:
                self._env.sync(True)
            return self._data.stat().st_blocks * _BLOCK

    def _place(self, txn: lmdb.Transaction[bytes], digest: bytes, packed: bytes | None) -> Totals:
        """Write or remove a chunk's entry together with its place; returns what that adds."""
        chunks = self._tables[Table.CHUNKS]
        entries, cost = 0, 0
        old: bytes | None = txn.get(digest, db=chunks)
        if old is not None:
            entry = ChunkEntry.unpack(old)
            txn.delete(_ORDER.pack(entry.place.queue, entry.place.stamp), db=self._order)
            entries, cost = -1, -entry.cost
        if packed is None:
            txn.delete(digest, db=chunks)
        else:
            entry = ChunkEntry.unpack(packed)
            txn.put(_ORDER.pack(entry.place.queue, entry.place.stamp), digest, db=self._order)
            txn.put(digest, packed, db=chunks)
            entries, cost = entries + 1, cost + entry.cost
        return Totals(entries, cost)

    def _add_totals(self, txn: lmdb.Transaction[bytes], entries: int, cost: int) -> None:
        meta = self._tables[Table.META]
        packed: bytes | None = txn.get(_TOTALS_NAME, db=meta)
        before = Totals(0, 0) if packed is None else Totals(*_TOTALS.unpack(packed)[1:])
        after = _TOTALS.pack(1, before.entries + entries, before.cost + cost)
        txn.put(_TOTALS_NAME, after, db=meta)
