"""After a start: brings files and index to say the same, in the background and in small steps.

A file without an entry is adopted (its bytes are proven by its first reader, like any other's), one
that cannot be a chunk is removed; an entry without a file is dropped; costs are corrected.  Until all
of it was seen, the ledger counts what may exist (`unknown`); afterwards it is exact.

Chunks come and go meanwhile, so each difference is looked at again before anything is done, and
what is being stored or removed at the moment is left alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from cacheproxy.errors import StorageError
from cacheproxy.store.files import CHUNK_BYTES_MAX, Found
from cacheproxy.store.layout import Table
from cacheproxy.store.stock import Stock
from cacheproxy.store.tree import PREFIXES

log = logging.getLogger(__name__)

SLICE = 256  # files compared before the loop gets its turn
RETRY_SECONDS = 60.0  # before directories that could not be read are tried again
PAUSE_SHARE = 1.0  # rests as long as it worked: half of one thread at most


class Reconciler:
    """One pass over all directories; `busy` tells which chunks are being stored or removed."""

    def __init__(self, stock: Stock, busy: Callable[[bytes], bool]) -> None:
        self._files = stock.files
        self._entries = stock.entries
        self._writer = stock.writer
        self._ledger = stock.ledger
        self._threads = stock.threads
        self._busy = busy

    async def run(self) -> None:
        """Reconcile everything, then let the ledger be exact."""
        loop = asyncio.get_running_loop()
        left = list(range(PREFIXES))
        while left:
            failed = []
            for prefix in left:
                began = loop.time()
                try:
                    await self._directory(prefix)
                except StorageError as error:
                    log.info("cannot reconcile chunks/%02x: %s", prefix, error)
                    failed.append(prefix)
                await asyncio.sleep((loop.time() - began) * PAUSE_SHARE)
            left = failed
            if left:
                await asyncio.sleep(RETRY_SECONDS)
        self._ledger.settle()

    async def _directory(self, prefix: int) -> None:
        missing = self._writer.names(Table.CHUNKS, bytes([prefix]))
        found = await self._threads.run(self._files.found, prefix)
        orphans: list[bytes] = []
        for number, file in enumerate(found, 1):
            missing.discard(file.digest)
            if self._busy(file.digest):
                continue
            entry = self._entries.get(file.digest)
            if entry is None:
                orphans.append(file.digest)
            elif (entry.size, entry.cost) != (file.size, file.cost):
                self._entries.adopt(file.digest, file.size, file.cost)
            if number % SLICE == 0:
                await asyncio.sleep(0)
        for digests in _sliced(orphans):
            await self._adopt(await self._look(digests))
        for digests in _sliced(list(missing)):
            for digest, there in zip(digests, await self._look(digests), strict=True):
                if there is None and not self._busy(digest):
                    self._entries.remove(digest, freed=0)

    async def _look(self, digests: list[bytes]) -> list[Found | None]:
        def look() -> list[Found | None]:
            return [self._files.look(digest) for digest in digests]

        return await self._threads.run(look)

    async def _adopt(self, found: list[Found | None]) -> None:
        refuse: list[bytes] = []
        for file in found:
            if file is None or self._busy(file.digest) or self._entries.get(file.digest):
                continue
            if 0 < file.size <= CHUNK_BYTES_MAX:
                # One sum first, then the other: never less than there is.
                self._entries.adopt(file.digest, file.size, file.cost)
                self._ledger.adjust(unknown=-min(self._ledger.unknown, file.cost))
            else:
                refuse.append(file.digest)
        if refuse:
            await self._threads.run(self._files.unlink, refuse)


def _sliced(digests: list[bytes]) -> list[list[bytes]]:
    return [digests[i : i + SLICE] for i in range(0, len(digests), SLICE)]
