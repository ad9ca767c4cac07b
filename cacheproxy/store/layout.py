"""What the index file holds: its tables, how their rows are named, and the packed values.

    meta      "schema" → version; "state" → see `State`; "feed" → FeedPosition;
              "eviction" → what the policy keeps, in its own words
    chunks    digest (32) → ChunkEntry
    order     queue (1) stamp (8) → digest
    owned     owner (4) queue (1) stamp (8) → digest, of the chunks that have an owner
    queues    queue (1) → count and bytes of the chunks in it
    owners    owner (4) → count and bytes of the chunks charged to it
    projects  project id → owner (4)
    zeros     digest of an all-zero chunk of an odd size → size (4)
    images    image id → ImageRecord
    contents  content key → ContentRecord
    uses      content key → when it was last used: seconds since the epoch (8)
    pages     content key 00 page (4) → the packed digests of a manifest page

Numbers in names are big-endian, so that rows stand in their order.  `order`, `owned`, `queues` and
`owners` follow from `chunks`, within each transaction.

Schema 2.  Schema 1 had no owners: one queue, its totals in `meta`, and shorter entries, which are
read as what they are until they are written anew.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Mapping
from typing import NamedTuple, Self

from cacheproxy.core.eviction import Place
from cacheproxy.errors import StorageError

SCHEMA = 2
KEY_BYTES_MAX = 480  # LMDB takes 511
NOBODY = 0  # the owner of chunks that are charged to no project

_ENTRY = struct.Struct("<BIIBBQI4x")
_ENTRY_1 = struct.Struct("<BIIBBQ")
_STATE = struct.Struct("<BQ?")
_SUM = struct.Struct("<BQQ")
_ORDER = struct.Struct(">BQ")
_OWNER = struct.Struct(">I")
_PAGE = struct.Struct(">I")
_BLOCK = 512


class IndexDamagedError(StorageError):
    """The index cannot be read: it is set aside at the next start and made again from the files."""


class IndexLostError(StorageError):
    """LMDB cannot be used, after a failed commit for instance, until the index is opened again."""


class Table(enum.Enum):
    """The tables that are written by key; the others follow by themselves."""

    META = b"meta"
    CHUNKS = b"chunks"
    PROJECTS = b"projects"
    ZEROS = b"zeros"
    IMAGES = b"images"
    CONTENTS = b"contents"
    USES = b"uses"
    PAGES = b"pages"

    __hash__ = object.__hash__  # each look-up hashes one, and Enum's own is slow


class Key(NamedTuple):
    """Where a value is."""

    table: Table
    name: bytes


Changes = Mapping[Key, bytes | None]  # None: no longer there

STATE = Key(Table.META, b"state")
POLICY = Key(Table.META, b"eviction")


class ChunkEntry(NamedTuple):
    """What the index says of a chunk."""

    size: int
    cost: int  # bytes on disk
    place: Place
    owner: int = NOBODY  # the project that it is charged to: whose fill stored it first

    def pack(self) -> bytes:
        """Return the bytes that the index keeps."""
        queue, stamp, hits = self.place
        blocks = self.cost // _BLOCK
        return _ENTRY.pack(2, self.size, blocks, queue, hits, stamp, self.owner)

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """Read what `pack` wrote, in any schema; `IndexDamagedError` for anything else."""
        owner = NOBODY
        try:
            if packed[:1] == b"\1":
                version, size, blocks, queue, hits, stamp = _ENTRY_1.unpack(packed)
            else:
                version, size, blocks, queue, hits, stamp, owner = _ENTRY.unpack(packed)
        except struct.error as error:
            raise IndexDamagedError("a chunk's entry cannot be read") from error
        if version not in (1, 2):
            raise IndexDamagedError(f"a chunk's entry is of version {version}")
        return cls(size, blocks * _BLOCK, Place(queue, stamp, hits), owner)


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


class Sum(NamedTuple):
    """How many chunks, and their bytes on disk."""

    chunks: int = 0
    cost: int = 0

    def pack(self) -> bytes:
        """Return the bytes that the index keeps."""
        return _SUM.pack(1, *self)

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """Read what `pack` wrote; `IndexDamagedError` for anything else."""
        try:
            version, chunks, cost = _SUM.unpack(packed)
        except struct.error as error:
            raise IndexDamagedError("a sum cannot be read") from error
        if version != 1:
            raise IndexDamagedError(f"a sum is of version {version}")
        return cls(chunks, cost)


def place_name(queue: int, stamp: int) -> bytes:
    """Name a row of `order`."""
    return _ORDER.pack(queue, stamp)


def owner_name(owner: int) -> bytes:
    """Name an owner; also the beginning of its rows in `owned`, and what `projects` holds."""
    return _OWNER.pack(owner)


def owner_number(name: bytes) -> int:
    """Read what `owner_name` wrote."""
    (owner,) = _OWNER.unpack(name)
    return int(owner)


def queue_and_stamp(name: bytes) -> tuple[int, int]:
    """Read what `place_name` wrote, wherever it ends a name."""
    queue, stamp = _ORDER.unpack(name[-_ORDER.size :])
    return queue, stamp


def page_name(content: bytes, page: int) -> bytes:
    """Name a page of a manifest."""
    return content + b"\0" + _PAGE.pack(page)
