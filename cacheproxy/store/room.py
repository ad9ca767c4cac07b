"""Room for what is to be stored: who waits for it, in order, and the one task that makes it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from itertools import islice

from cacheproxy.core.eviction import Candidate, choose
from cacheproxy.core.ledger import Reservation, allocated
from cacheproxy.errors import NeverFitsError, NoRoomError, StorageError
from cacheproxy.store.departures import PATIENCE_SECONDS, Departures
from cacheproxy.store.layout import NOBODY
from cacheproxy.store.stock import Stock

log = logging.getLogger(__name__)

WAIT_SECONDS = 5.0  # a reservation's longest wait
AHEAD_BYTES = 256 << 20  # on their way out at once, whatever is wanted
PAUSE_SECONDS = 0.1  # between two searches of which the first found too little
SCAN_SLICE = 64  # candidates looked at before the loop gets its turn
SCAN_MAX = 8192  # candidates looked at in one search for victims


@dataclass(slots=True, eq=False)
class _Waiter:
    size: int
    owner: int
    granted: asyncio.Future[Reservation]


class Room:
    """Reservations in order of arrival; evicts for all who wait together."""

    def __init__(self, stock: Stock, departures: Departures, *, project_share: int) -> None:
        """`project_share`: percent of the limit above which a project's own chunks go first."""
        self._ledger = stock.ledger
        self._entries = stock.entries
        self._holds = stock.holds
        self._policy = stock.policy
        self._writer = stock.writer
        self._disk = stock.disk
        self._departures = departures
        self.project_share = project_share
        self._waiters: deque[_Waiter] = deque()
        self._wake = asyncio.Event()
        self._granting = False

    def __repr__(self) -> str:
        return f"<Room {len(self._waiters)} waiting for {self._wanted()} bytes>"

    async def reserve(self, size: int, owner: int = NOBODY) -> Reservation:
        """Set room for `size` bytes aside, for an owner, evicting what has to go.

        Raises `NeverFitsError`, or `NoRoomError` after `WAIT_SECONDS`.
        """
        if not self._ledger.ever_fits(size):
            raise _never_fits(size)
        if not self._waiters and self._ledger.fits(size):
            return self._ledger.reserve(size, owner)
        waiter = _Waiter(size, owner, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        self._wake.set()
        try:
            await asyncio.wait([waiter.granted], timeout=WAIT_SECONDS)
        except asyncio.CancelledError:
            if waiter.granted.done() and waiter.granted.exception() is None:
                waiter.granted.result().close()
            raise
        finally:
            if not waiter.granted.done():
                waiter.granted.cancel()
                self._waiters.remove(waiter)
                self.grant()  # one behind it may fit
        if waiter.granted.cancelled():
            raise NoRoomError("all that could be evicted is in use")
        return waiter.granted.result()

    def grant(self) -> None:
        """The ledger has changed: give room to those whose turn it is, or have more made."""
        if self._granting:  # called by the very reservation that it makes
            return
        self._granting = True
        try:
            while self._waiters:
                waiter = self._waiters[0]
                if self._ledger.fits(waiter.size):
                    granted = self._ledger.reserve(waiter.size, waiter.owner)
                    waiter.granted.set_result(granted)
                elif self._ledger.ever_fits(waiter.size):
                    break
                else:  # any more: pins have grown, or the limit has shrunk
                    waiter.granted.set_exception(_never_fits(waiter.size))
                self._waiters.popleft()
        finally:
            self._granting = False
        if self._waiters or self._ledger.excess:
            self._wake.set()

    def _wanted(self) -> int:
        """Return the bytes that have to go, beside those that are going."""
        wanted = self._ledger.excess
        if self._waiters:
            waiting = 0
            for waiter in self._waiters:
                waiting += allocated(waiter.size)
                if waiting >= AHEAD_BYTES:
                    break
            wanted = waiting - self._ledger.free
        return max(0, min(wanted, AHEAD_BYTES) - self._departures.expected())

    async def run(self) -> None:
        """Evict whenever somebody waits, or more is used than allowed; runs until cancelled."""
        while True:
            # Looks again after a while although nothing happened: a dying chunk's time may be up.
            pressed = bool(self._waiters) or self._ledger.excess > 0
            try:
                async with asyncio.timeout(PATIENCE_SECONDS if pressed else None):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                await self._evict()
            except StorageError as error:
                # The waiters get their NoRoomError; the index is looked at again for the next.
                log.info("cannot evict: %s", error)

    async def _evict(self) -> None:
        if not self._disk.removable:
            return  # each victim in turn would only fail to go
        if self._wanted() > 0 and not await self._search():
            # Candidates are those committed; what was stored just now may be all there is.
            await self._writer.sync()
            if not await self._search():
                await asyncio.sleep(PAUSE_SECONDS)

    async def _search(self) -> bool:
        """Retire the oldest until enough is going; False if not enough was found."""
        candidates = islice(self._entries.oldest(), SCAN_MAX)
        while (wanted := self._wanted()) > 0:
            some: list[Candidate] = list(islice(candidates, SCAN_SLICE))
            if not some:
                return False
            verdict = choose(
                some,
                self._policy,
                wanted,
                evictable=self._evictable,
                next_stamp=self._entries.next_stamp,
            )
            for digest, place in verdict.moved:
                self._entries.place(digest, place)
            for victim in verdict.victims:
                self._departures.retire(victim.digest)
            await asyncio.sleep(0)
        return True

    def _evictable(self, digest: bytes) -> bool:
        return not self._holds.protected(digest) and not self._departures.going(digest)


def _never_fits(size: int) -> NeverFitsError:
    return NeverFitsError(f"{size} bytes do not fit in the cache beside what is pinned")
