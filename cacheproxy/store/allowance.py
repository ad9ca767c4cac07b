"""The limit that counts at present: the configured one, lowered where the floors ask for it."""

from __future__ import annotations

import time

from cacheproxy.config import CacheSettings
from cacheproxy.core.floors import Floors, Usage
from cacheproxy.core.health import Fault
from cacheproxy.core.ledger import BLOCK_BYTES, Ledger
from cacheproxy.metrics import CACHE_EFFECTIVE_LIMIT_BYTES, Meter
from cacheproxy.store.layout import Table
from cacheproxy.store.place import Space
from cacheproxy.store.writer import Writer

CHUNKS_MIN = 8  # a limit without room for so many chunks is none to work with


class Allowance:
    """Keeps `ledger.limit`."""

    def __init__(
        self, ledger: Ledger, writer: Writer, meter: Meter, settings: CacheSettings
    ) -> None:
        self._ledger = ledger
        self._writer = writer
        self._meter = meter
        self._chunk_bytes = settings.chunk_bytes
        self._limit = settings.limit_bytes
        self._floors = Floors(settings.free_bytes_min, settings.free_inodes_min)
        self._use(settings.limit_bytes)

    def saw(self, space: Space) -> Fault | None:
        """This is what the disk has left now; FULL if that leaves no room to work in."""
        ledger, chunks = self._ledger, self._writer.count(Table.CHUNKS)
        usage = Usage(
            # What is being written has its blocks already, or will take them: both are counted.
            used=ledger.used + ledger.claimed,
            kept=ledger.used + ledger.reserved + ledger.margin,
            mean=max(BLOCK_BYTES, ledger.chunks // chunks if chunks else self._chunk_bytes),
        )
        self._use(
            self._floors.lowered(
                self._limit, usage, space.free_bytes, space.free_inodes, time.monotonic()
            )
        )
        return Fault.FULL if ledger.files_max < CHUNKS_MIN * self._chunk_bytes else None

    def _use(self, limit: int) -> None:
        self._ledger.relimit(limit)
        self._meter.set(CACHE_EFFECTIVE_LIMIT_BYTES, limit)
