"""The limit that counts at present: the configured one, lowered where the floors ask for it."""

from __future__ import annotations

import logging
import time

from cacheproxy.config import CacheSettings
from cacheproxy.core.floors import Floors, Usage
from cacheproxy.core.health import Fault
from cacheproxy.core.ledger import BLOCK_BYTES, Ledger
from cacheproxy.errors import ConfigError
from cacheproxy.meter import Meter
from cacheproxy.metrics import CACHE_EFFECTIVE_LIMIT_BYTES, CACHE_LIMIT_BYTES
from cacheproxy.store.layout import Table
from cacheproxy.store.place import Space
from cacheproxy.store.writer import Writer

log = logging.getLogger(__name__)

CHUNKS_MIN = 8  # a limit without room for so many chunks is none to work with


class Allowance:
    """Keeps `ledger.limit`."""

    def __init__(
        self,
        ledger: Ledger,
        writer: Writer,
        meter: Meter,
        settings: CacheSettings,
        *,
        fixed_cost: int,
    ) -> None:
        """`fixed_cost`: bytes that are used whatever is stored; ConfigError for too small a limit."""
        self._ledger = ledger
        self._writer = writer
        self._meter = meter
        self._chunk_bytes = settings.chunk_bytes
        self._limit_min = fixed_cost + CHUNKS_MIN * settings.chunk_bytes
        self.limit_bytes = self._checked(settings.limit_bytes)  # as configured
        self._floors = Floors(settings.free_bytes_min, settings.free_inodes_min)
        self._meter.set(CACHE_LIMIT_BYTES, self.limit_bytes)
        self._use(self.limit_bytes)

    def relimit(self, limit_bytes: int) -> None:
        """Change the configured limit; what is too much goes in the background.

        `ConfigError`, and nothing is changed, if it is too small, also for what is pinned.
        """
        pinned, allowed = self._ledger.pinned, max(0, self._ledger.pinned_max_of(limit_bytes))
        if pinned > allowed and limit_bytes < self.limit_bytes:
            raise ConfigError(
                f"[cache] image_cache_size = {limit_bytes} is too small: {pinned} bytes are pinned,"
                f" and it has room for {allowed} of them; unpin images first"
            )
        lowered = self._ledger.limit < self.limit_bytes
        self.limit_bytes = self._checked(limit_bytes)
        self._meter.set(CACHE_LIMIT_BYTES, limit_bytes)
        log.info("the limit is %d bytes now, %d are used", limit_bytes, self._ledger.used)
        # What the floors allow now is seen soon; until then no more than they did.
        self._use(min(limit_bytes, self._ledger.limit) if lowered else limit_bytes)

    @property
    def pinned_excess(self) -> int:
        """Bytes of pinned chunks for which the configured limit has no room, whatever else goes."""
        ledger = self._ledger
        return max(0, ledger.pinned + ledger.overhead + ledger.margin - self.limit_bytes)

    def _checked(self, limit: int) -> int:
        if limit < self._limit_min:
            raise ConfigError(
                f"[cache] image_cache_size = {limit} is too small: at least {self._limit_min}"
            )
        return limit

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
                self.limit_bytes, usage, space.free_bytes, space.free_inodes, time.monotonic()
            )
        )
        return Fault.FULL if ledger.files_max < CHUNKS_MIN * self._chunk_bytes else None

    def _use(self, limit: int) -> None:
        self._ledger.relimit(limit)
        self._meter.set(CACHE_EFFECTIVE_LIMIT_BYTES, limit)
