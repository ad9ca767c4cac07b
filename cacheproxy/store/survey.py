"""What a store tells of itself to whoever asks how it is; nothing is changed here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from cacheproxy.core.eviction import PINNED
from cacheproxy.store.allowance import Allowance
from cacheproxy.store.departures import Departures
from cacheproxy.store.layout import Table
from cacheproxy.store.stock import Stock
from cacheproxy.store.zeros import Zeros

WALK_NAMES = 1024  # chunks listed before the loop gets its turn
LOOK_CHUNKS = 128  # looked at before it does


@dataclass(frozen=True, slots=True)
class Figures:
    """Bytes on disk, as in the ledger (see core/ledger.py)."""

    limit: int  # as configured
    effective_limit: int  # lower where the floors of the file system ask for it
    used: int
    chunks: int
    quarantine: int
    unknown: int
    overhead: int
    reserved: int
    pinned: int
    chunk_count: int


class Standing(NamedTuple):
    """How a chunk stands: its bytes on disk, and whether it can be evicted at once."""

    cost: int  # 0: not listed (all-zero chunks never are)
    going: bool  # evicted already, but its file is not gone yet
    protected: bool  # a fill in progress needs it
    pinned: bool


class Survey:
    """Figures of one store; used on its loop."""

    def __init__(
        self, stock: Stock, departures: Departures, allowance: Allowance, zeros: Zeros
    ) -> None:
        self._allowance = allowance
        self._zeros = zeros
        self._ledger = stock.ledger
        self._entries = stock.entries
        self._holds = stock.holds
        self._writer = stock.writer
        self._departures = departures

    def figures(self) -> Figures:
        """Return the sums."""
        ledger = self._ledger
        chunk_count, _ = self._entries.census.total
        return Figures(
            limit=self._allowance.limit_bytes,
            effective_limit=ledger.limit,
            used=ledger.used,
            chunks=ledger.chunks,
            quarantine=ledger.quarantine,
            unknown=ledger.unknown,
            overhead=ledger.overhead,
            reserved=ledger.reserved,
            pinned=ledger.pinned,
            chunk_count=chunk_count,
        )

    def present(self, digests: Sequence[bytes]) -> list[bool]:
        """Tell which of these chunks can be had now, as `ChunkStore.has` does: keep them few."""
        going, zeros = self._departures.going, self._zeros
        return [
            digest in zeros or (packed is not None and not going(digest))
            for digest, packed in zip(
                digests, self._writer.read_all(Table.CHUNKS, digests), strict=True
            )
        ]

    def standing(self, digest: bytes) -> Standing:
        """Return how a chunk stands."""
        entry = self._entries.get(digest)
        return Standing(
            cost=0 if entry is None else entry.cost,
            going=self._departures.going(digest),
            protected=self._holds.protected(digest),
            pinned=entry is not None and entry.place.queue == PINNED,
        )

    async def standings(
        self, digests: Collection[bytes]
    ) -> AsyncIterator[list[tuple[bytes, Standing]]]:
        """Look at many chunks, a slice at a time."""
        left = iter(list(digests))
        while part := list(islice(left, LOOK_CHUNKS)):
            yield [(digest, self.standing(digest)) for digest in part]
            await asyncio.sleep(0)

    async def chunks(self) -> AsyncIterator[list[bytes]]:
        """Give the digests of all listed chunks, in slices; they come and go meanwhile."""
        after = b""
        while names := self._writer.names_after(Table.CHUNKS, after, WALK_NAMES):
            yield names
            after = names[-1]
            await asyncio.sleep(0)
