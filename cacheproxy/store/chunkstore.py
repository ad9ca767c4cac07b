"""The chunk store of one cache directory: put, open, evict, remember.  Used on the keeper's loop.

A chunk's life, and what may be called in it:

    absent      put
    storing     put (waits for the one that stores)
    stored      open_proven, prove, hold, protect, touch, drop, put (finds it there)
    dying       hold, release, unprotect, put (revives it)           see departures.py
    leaving     put (waits until it is gone, then stores)

Rules

* State changes in plain functions of the loop; blocking work runs in a bounded number of threads
  and reports to such a function, also when whoever asked for it was cancelled meanwhile.
* A file gets its name when it is whole; then it is listed.  A file loses its name, then its entry.
* Bytes are claimed from a reservation before a file is made, within a promise that is durable.
* No byte is believed without a proof of its open file; proofs do not survive a restart.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Hashable, Iterable
from itertools import islice

from cacheproxy.config import CacheSettings
from cacheproxy.core.eviction import PINNED
from cacheproxy.core.ledger import Reservation
from cacheproxy.errors import PinsFullError, StorageError
from cacheproxy.meter import Meter
from cacheproxy.metrics import CACHE_BYTES, PINNED_BYTES, RESERVED_BYTES
from cacheproxy.store.intake import Stored
from cacheproxy.store.opening import Parts, assemble
from cacheproxy.store.provenchunks import OpenChunk, ProvenChunks
from cacheproxy.store.reconcile import Reconciler
from cacheproxy.store.recordbook import RecordBook
from cacheproxy.store.scrub import Scrubber, ScrubStatus
from cacheproxy.store.survey import Survey
from cacheproxy.store.verification import Progress, Verification, verify_chunks

__all__ = ["ChunkStore", "OpenChunk", "Reservation", "Stored"]

log = logging.getLogger(__name__)

RECONCILE = "reconcile"  # the task's name
PINNED_BLOCK = 16_384  # pinned chunks told at once
SLICE = 256  # chunks dropped before the loop gets its turn
DROP_SECONDS = 30.0  # the longest wait for dropped chunks to be gone


class ChunkStore(RecordBook, ProvenChunks):
    """See the module's description; every method is called on the loop that opened it."""

    def __init__(self, parts: Parts, *, trusting: bool) -> None:
        stock = parts.stock
        RecordBook.__init__(self, stock.writer)
        ProvenChunks.__init__(self, stock, parts.zeros, parts.departures, trusting=trusting)
        self._ledger = stock.ledger
        self._promise = parts.promise
        self._room = parts.room
        self._watch = parts.watch
        self._owners = parts.owners
        self.allowance = parts.allowance
        self.shares = parts.shares
        self.pin_list = parts.pin_list
        self._intake = parts.intake
        self.survey = Survey(stock, parts.departures, parts.allowance, parts.zeros)
        self._scrubber = Scrubber(stock.writer, stock.threads, stock.meter, self.check)
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return (
            f"<ChunkStore {self._ledger!r} {self._departures!r} {self._holds!r} {self._intake!r}>"
        )

    # --- life -------------------------------------------------------------------------------------

    @classmethod
    async def open(
        cls,
        settings: CacheSettings,
        meter: Meter,
        *,
        on_dying: Callable[[bytes, Hashable], None],
        rebuild: bool = False,
        device: int | None = None,
    ) -> ChunkStore:
        """Open the store in `settings.directory`; needs no walk through it.

        `on_dying(digest, holder)` is called, once for each holder, when a held chunk is to go.
        With `rebuild` the index is set aside and made again.  With a `device` the directory must be
        there, and on that device if it holds no cache yet.
        Raises `ConfigError` if the directory cannot be used, is in use, or the limit is too small;
        `StorageError` if the disk fails at the moment.
        """
        parts = await assemble(settings, meter, on_dying, rebuild=rebuild, device=device)
        store = cls(parts, trusting=settings.verify == "never")
        parts.on_change.append(store._changed)
        store._changed()
        reconciler = Reconciler(parts.stock, store._busy)
        store._tasks = [
            asyncio.create_task(parts.room.run(), name="evict"),
            asyncio.create_task(reconciler.run(), name=RECONCILE),
            asyncio.create_task(parts.watch.run(), name="watch"),
        ]
        if settings.scrub_rate:
            scrub = store._scrubber.run(settings.scrub_rate, settings.scrub_interval_days)
            store._tasks.append(asyncio.create_task(scrub, name="scrub"))
        for task in store._tasks:
            task.add_done_callback(_tell_failure)
        return store

    async def close(self) -> None:
        """Commit what is not committed and give the directory up; repeated calls do nothing."""
        if self._closed:
            return
        self._closed = True
        self._intake.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._watch.close()
        await self._threads.idle()
        while leaving := self._departures.all_leaving():
            await asyncio.wait(leaving)
        try:
            await self._entries.flush()
            await self._writer.sync()
            if not self._ledger.unknown:
                self._promise.settle()
            await self._writer.sync()
        except StorageError as error:
            # The next start finds the store as after a crash.
            log.error("the cache was not closed in order: %s", error)  # noqa: TRY400 -- no defect
        await self._writer.close()
        await self._threads.close()
        self._open_files.close()
        self._zeros.close()
        self._files.close()

    @property
    def exact(self) -> bool:
        """Whether files and index were compared since the start."""
        return all(task.done() for task in self._tasks if task.get_name() == RECONCILE)

    async def reconciled(self) -> None:
        """Wait until files and index say the same, and the ledger is exact."""
        await asyncio.wait([task for task in self._tasks if task.get_name() == RECONCILE])

    def _changed(self) -> None:
        """The ledger has changed."""
        self._meter.set(CACHE_BYTES, self._ledger.used)
        self._meter.set(PINNED_BYTES, self._ledger.pinned)
        self._meter.set(RESERVED_BYTES, self._ledger.reserved)
        if not self._closed:
            self._promise.follow()
            self._room.grant()

    def _busy(self, digest: bytes) -> bool:
        return digest in self._intake or self._departures.going(digest)

    # --- chunks -----------------------------------------------------------------------------------

    async def put(
        self,
        data: bytes | memoryview,
        *,
        reservation: Reservation,
        sealed_by: bytes | None = None,
        pinned: bool = False,
    ) -> Stored:
        """Store a chunk, once, under its digest, with room from the reservation.

        It is charged to the reservation's owner.  `pinned`: it is to stay, as far as there is room
        for that (see `pin`).
        `sealed_by` is the digest that it must have, if that is known: `InvalidChunkError` where it
        has not.  `NoRoomError` if the reservation is used up; `DiskFullError`, `StorageError` from
        the disk.  After any failure, and after a cancellation, nothing is left behind.
        The data must not change until this returns.
        """
        return await self._intake.put(
            data, reservation=reservation, sealed_by=sealed_by, pinned=pinned
        )

    async def drop(self, digests: Iterable[bytes]) -> None:
        """Evict these now; those that are held or protected become dying."""
        for number, digest in enumerate(list(digests), 1):
            self._departures.retire(digest)
            if number % SLICE == 0:
                await asyncio.sleep(0)
        if leaving := self._departures.all_leaving():
            await asyncio.wait(leaving, timeout=DROP_SECONDS)

    async def empty_quarantine(self) -> int:
        """Remove what was set aside as damaged; the bytes on disk that are free then."""
        before = self._ledger.quarantine
        left = await self._threads.run(self._files.empty_quarantine)
        self._ledger.adjust(quarantine=left - self._ledger.quarantine)
        return before - left

    # --- damage -----------------------------------------------------------------------------------

    def scrub_status(self) -> ScrubStatus:
        """Return how far the background check of all chunks is."""
        return self._scrubber.status()

    async def verify(
        self, digests: Iterable[bytes] | None = None, progress: Progress | None = None
    ) -> Verification:
        """Read these chunks, or all, from the disk now; damaged ones are set aside.

        `progress` is called with what is known so far, after each chunk.
        """
        return await verify_chunks(self.check, self._writer, self._threads, digests, progress)

    # --- pins -------------------------------------------------------------------------------------

    @property
    def pinned_bytes(self) -> int:
        """Bytes on disk of the pinned chunks."""
        return self._ledger.pinned

    @property
    def pinned_bytes_max(self) -> int:
        """What they may come to: a part of the limit stays for fills."""
        return self._ledger.pinned_max

    def unpinned_bytes(self, digest: bytes, absent: int) -> int:
        """Return by how much the pinned bytes grow with a chunk; `absent` if it is not there."""
        if digest in self._zeros:
            return 0
        entry = self._entries.get(digest)
        if entry is None:
            return absent
        return 0 if entry.place.queue == PINNED else entry.cost

    async def pin(self, digests: Iterable[bytes]) -> None:
        """Keep those of these chunks that are there, whatever has to go; no policy is asked.

        `PinsFullError` when that would be more than `pinned_bytes_max`; those before it stay pinned.
        """
        for number, digest in enumerate(list(digests), 1):
            self._departures.revive(digest)
            if not self._entries.pin(digest):
                raise PinsFullError(
                    f"{self.pinned_bytes} of {max(0, self.pinned_bytes_max)} bytes are pinned:"
                    " unpin another image, or raise image_cache_size"
                )
            if number % SLICE == 0:
                await asyncio.sleep(0)

    async def unpin(self, digests: Iterable[bytes]) -> None:
        """Let those of these chunks that are pinned go when their turn comes."""
        for number, digest in enumerate(list(digests), 1):
            self._entries.unpin(digest)
            if number % SLICE == 0:
                await asyncio.sleep(0)

    async def all_pinned(self) -> AsyncIterator[set[bytes]]:
        """Give all pinned chunks in blocks; they may come and go meanwhile."""
        await self.sync()
        pinned = self._entries.pinned()
        while block := set(islice(pinned, PINNED_BLOCK)):
            yield block
            await asyncio.sleep(0)

    def touch(self, digests: Iterable[bytes]) -> None:
        """Chunks were used; noted in memory and written in batches."""
        self._entries.touch(digests)

    async def reserve(self, size: int, owner: str | None = None) -> Reservation:
        """Set room for `size` bytes of chunks aside, evicting what has to go.

        The chunks are charged to the project `owner`, to nobody without one.

        `NeverFitsError` if the limit does not allow it, `NoRoomError` if nothing more can be
        evicted for some seconds, `CacheRefusedError` while the disk takes nothing new.  The caller
        closes the reservation on every way out.
        """
        self.disk.check_writable()
        return await self._room.reserve(size, self._owners.number(owner))

    async def sync(self) -> None:
        """Wait until everything so far is committed."""
        await self._writer.sync()


def _tell_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("the cache's task %r broke", task.get_name(), exc_info=error)
