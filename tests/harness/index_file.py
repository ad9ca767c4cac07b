"""Changes an index while nobody uses it: into one of the first schema, or as if never scrubbed."""

from __future__ import annotations

import struct
from pathlib import Path

import lmdb

from cacheproxy.store.layout import ChunkEntry

ENTRY = struct.Struct("<BIIBBQ")  # version, size, blocks on disk, queue, hits, stamp
ORDER = struct.Struct(">BQ")
TOTALS = struct.Struct("<BQQ")
BLOCK = 512
MAP_BYTES = 1 << 30


def downgrade(index: Path) -> None:
    """Rewrite chunks, order and totals; the other tables were the same."""
    environment = lmdb.open(str(index), map_size=MAP_BYTES, max_dbs=16)
    try:
        with environment.begin(write=True) as txn:
            tables = {
                name: environment.open_db(name, txn=txn)
                for name in (b"meta", b"chunks", b"order", b"owned", b"queues", b"owners")
            }
            entries = {
                bytes(digest): ChunkEntry.unpack(bytes(packed))
                for digest, packed in txn.cursor(db=tables[b"chunks"])
            }
            for name in (b"order", b"owned", b"queues", b"owners"):
                txn.drop(tables[name], delete=name != b"order")
            ordered = sorted(entries.items(), key=lambda item: item[1].place)
            for stamp, (digest, entry) in enumerate(ordered, 1):
                packed = ENTRY.pack(1, entry.size, entry.cost // BLOCK, 0, 0, stamp)
                txn.put(digest, packed, db=tables[b"chunks"])
                txn.put(ORDER.pack(0, stamp), digest, db=tables[b"order"])
            cost = sum(entry.cost for entry in entries.values())
            txn.put(b"totals", TOTALS.pack(1, len(entries), cost), db=tables[b"meta"])
            txn.put(b"schema", b"1", db=tables[b"meta"])
    finally:
        environment.close()


def forget_scrub(index: Path) -> None:
    """Have the next start begin a round of the background check."""
    environment = lmdb.open(str(index), map_size=MAP_BYTES, max_dbs=16)
    try:
        with environment.begin(write=True) as txn:
            txn.delete(b"scrub", db=environment.open_db(b"meta", txn=txn))
    finally:
        environment.close()
