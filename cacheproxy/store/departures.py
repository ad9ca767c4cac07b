"""How a chunk leaves the store.

    stored → dying      it is to be evicted, but somebody holds it open or protects it: every holder
                        is asked once to let go; nobody finds it any more; its bytes still count
    dying → stored      somebody put the same chunk again (`revive`)
    dying, stored → leaving    nobody needs it: its file is being removed, or set aside as damaged
    leaving → gone      its entry is removed and its bytes are free
    leaving → stored    the disk did not let it go

The file goes first and the entry after it: a crash between the two leaves an entry without a file,
which counts too much, not too little, and is found by the first reader.  Nothing here waits: a
holder that never answers leaves its chunk dying, and its bytes counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from cacheproxy.errors import StorageError
from cacheproxy.metrics import EVICTED_BYTES, VERIFY_FAILURES
from cacheproxy.store.quarantine import LIMIT_SHARE
from cacheproxy.store.stock import Stock

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 2.0  # how long a dying chunk is counted on; then another victim is chosen too
LEAVING_MAX = 512  # chunks on their way out at once; no more victims are looked for then
UNLINK_BATCH = 64  # files removed by one call into a thread; one such call at a time


@dataclass(frozen=True, slots=True)
class _Dying:
    since: float
    cost: int
    owner: int


@dataclass(frozen=True, slots=True)
class _Leaving:
    gone: asyncio.Future[None]
    cost: int
    owner: int


class Departures:
    """The chunks that are dying or leaving; all methods are plain functions of the loop."""

    def __init__(self, stock: Stock, on_dying: Callable[[bytes, Hashable], None]) -> None:
        self._files = stock.files
        self._entries = stock.entries
        self._ledger = stock.ledger
        self._holds = stock.holds
        self._proofs = stock.proofs
        self._open_files = stock.open_files
        self._threads = stock.threads
        self._meter = stock.meter
        self._disk = stock.disk
        self._on_dying = on_dying
        self._loop = asyncio.get_running_loop()
        self._dying: dict[bytes, _Dying] = {}
        self._leaving: dict[bytes, _Leaving] = {}
        self._leaving_cost = 0
        self._queue: list[bytes] = []  # leaving, not given to a thread yet
        self._unlinking = False

    def __repr__(self) -> str:
        return f"<Departures {len(self._dying)} dying, {len(self._leaving)} leaving>"

    def going(self, digest: bytes) -> bool:
        """Whether the chunk is dying or leaving: it is listed, but nobody may find it."""
        return digest in self._dying or digest in self._leaving

    def leaving(self, digest: bytes) -> asyncio.Future[None] | None:
        """Return what is done once the chunk is gone (or stays after all); None if not leaving."""
        leaving = self._leaving.get(digest)
        return None if leaving is None else leaving.gone

    def all_leaving(self) -> list[asyncio.Future[None]]:
        """Return `leaving` of every chunk that leaves now."""
        return [leaving.gone for leaving in self._leaving.values()]

    @property
    def crowded(self) -> bool:
        """Whether so many chunks leave already that others had better wait."""
        return len(self._leaving) >= LEAVING_MAX

    def expected(self, owner: int | None = None) -> int:
        """Return the bytes that will soon be free: leaving, or dying for a short time only.

        With an owner, those of the chunks that are charged to it.
        """
        since = self._loop.time() - PATIENCE_SECONDS
        dying = [each for each in self._dying.values() if each.since > since]
        if owner is None:
            return self._leaving_cost + sum(each.cost for each in dying)
        going: list[_Dying | _Leaving] = [*dying, *self._leaving.values()]
        return sum(each.cost for each in going if each.owner == owner)

    # --- eviction ---------------------------------------------------------------------------------

    def retire(self, digest: bytes) -> None:
        """Evict a chunk as soon as nobody needs it; one that is not listed is let be."""
        entry = self._entries.get(digest)
        if entry is None or self.going(digest):
            return
        if self._holds.free(digest):
            self._leave(digest, entry.cost, entry.owner)
            return
        self._dying[digest] = _Dying(self._loop.time(), entry.cost, entry.owner)
        self.ask_holders(digest)

    def ask_holders(self, digest: bytes) -> None:
        """Have everybody who has a chunk open close it: its file takes room until then."""
        for holder in self._holds.holders(digest):
            self._on_dying(digest, holder)

    def revive(self, digest: bytes) -> bool:
        """Keep a dying chunk; False if it is not dying (any more)."""
        return self._dying.pop(digest, None) is not None

    def held(self, digest: bytes, holder: Hashable) -> None:
        """A new holder of a chunk that may be dying is asked as well."""
        if digest in self._dying:
            self._on_dying(digest, holder)

    def freed(self, digest: bytes) -> None:
        """A hold or a protection ended: a dying chunk that nobody needs leaves."""
        if digest in self._dying and self._holds.free(digest):
            dying = self._dying.pop(digest)
            self._leave(digest, dying.cost, dying.owner)

    def _depart(self, digest: bytes, cost: int, owner: int) -> None:
        self._open_files.drop(digest)
        self._leaving[digest] = _Leaving(self._loop.create_future(), cost, owner)
        self._leaving_cost += cost

    def _leave(self, digest: bytes, cost: int, owner: int) -> None:
        self._depart(digest, cost, owner)
        self._queue.append(digest)
        self._unlink_next()

    def _unlink_next(self) -> None:
        if self._unlinking or not self._queue:
            return
        self._unlinking = True
        batch, self._queue = self._queue[:UNLINK_BATCH], self._queue[UNLINK_BATCH:]
        job = self._threads.start(self._files.unlink, batch)
        job.add_done_callback(lambda done: self._unlinked(batch, done.result()))

    def _unlinked(self, batch: list[bytes], outcome: list[int | StorageError]) -> None:
        self._unlinking = False
        freed = 0
        for digest, result in zip(batch, outcome, strict=True):
            if isinstance(result, StorageError):
                # It stays, at the young end, so that the next victims are others.
                self._disk.heard(result)
                self._entries.touch([digest])
            else:
                self._forget(digest, result)
                freed += result
            self._gone(digest)
        self._meter.inc(EVICTED_BYTES, freed)
        self._unlink_next()

    def _forget(self, digest: bytes, freed: int) -> None:
        self._proofs.forget(digest)
        with contextlib.suppress(StorageError):  # heard by the disk; the entry's reader finds out
            self._entries.remove(digest, freed=freed)

    def _gone(self, digest: bytes) -> None:
        leaving = self._leaving.pop(digest)
        self._leaving_cost -= leaving.cost
        leaving.gone.set_result(None)

    # --- damage -----------------------------------------------------------------------------------

    def expel(self, digest: bytes, cost: int, owner: int) -> None:
        """Set a damaged chunk that is not leaving yet aside, whoever holds it."""
        assert digest not in self._leaving
        self._meter.inc(VERIFY_FAILURES)
        log.warning("chunk %s is damaged on the disk: set aside", digest.hex())
        if digest not in self._dying:
            self.ask_holders(digest)
        self._dying.pop(digest, None)
        self._depart(digest, cost, owner)
        bytes_max = self._ledger.limit // LIMIT_SHARE
        job = self._threads.start(self._files.set_aside, digest, bytes_max)
        job.add_done_callback(lambda done: self._expelled(digest, done))

    def _expelled(self, digest: bytes, job: asyncio.Future[int]) -> None:
        error = job.exception()
        if error is not None:
            # The file is still there, and read and refused again whenever somebody asks for it.
            log.info("a damaged chunk cannot be set aside: %s", error)
        else:
            self._forget(digest, freed=0)  # it takes its room in quarantine
            self._ledger.adjust(quarantine=job.result() - self._ledger.quarantine)
        self._gone(digest)
