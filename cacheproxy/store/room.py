"""Room for what is to be stored: who waits for it, in order, and the one task that makes it.

Whoever's project keeps to its share is served before those whose does not, otherwise who came first.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass

from cacheproxy.core.ledger import Reservation, allocated
from cacheproxy.errors import NeverFitsError, NoRoomError, StorageError
from cacheproxy.store.departures import PATIENCE_SECONDS, Departures
from cacheproxy.store.layout import NOBODY
from cacheproxy.store.shares import Shares
from cacheproxy.store.stock import Stock
from cacheproxy.store.victims import Victims

log = logging.getLogger(__name__)

WAIT_SECONDS = 5.0  # a reservation's longest wait
AHEAD_BYTES = 256 << 20  # on their way out at once, whatever is wanted
PAUSE_SECONDS = 0.1  # between two searches of which the first found too little


@dataclass(slots=True, eq=False)
class _Waiter:
    size: int
    owner: int
    granted: asyncio.Future[Reservation]


class Room:
    """Reservations in order of arrival; evicts for all who wait together."""

    def __init__(self, stock: Stock, departures: Departures, shares: Shares) -> None:
        self._ledger = stock.ledger
        self._writer = stock.writer
        self._disk = stock.disk
        self._departures = departures
        self._shares = shares
        self._victims = Victims(stock, departures)
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
                waiter = self._next()
                if self._ledger.fits(waiter.size):
                    granted = self._ledger.reserve(waiter.size, waiter.owner)
                    waiter.granted.set_result(granted)
                elif self._ledger.ever_fits(waiter.size):
                    break
                else:  # any more: pins have grown, or the limit has shrunk
                    waiter.granted.set_exception(_never_fits(waiter.size))
                self._waiters.remove(waiter)
        finally:
            self._granting = False
        if self._waiters or self._ledger.excess:
            self._wake.set()

    def _next(self) -> _Waiter:
        """Choose whose turn it is: the first whose project keeps to its share, else the first."""
        for waiter in self._waiters:
            if not self._shares.overrun(waiter.owner, allocated(waiter.size)):
                return waiter
        return self._waiters[0]

    def _wanted(self) -> int:
        """Return the bytes that have to go, beside those that are going."""
        if self._departures.crowded:
            return 0  # each that is gone has this looked at again
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
            return
        if self._wanted() > 0 and not await self._search():
            # Candidates are those committed; what was stored just now may be all there is.
            await self._writer.sync()
            if not await self._search():
                await asyncio.sleep(PAUSE_SECONDS)

    async def _search(self) -> bool:
        """Retire chunks until enough is going; False if not enough was found."""
        for owner, over in self._shares.overruns(self._waiting()):

            def wanted(owner: int = owner, over: int = over) -> int:
                return min(over - self._departures.expected(owner), self._wanted())

            if not await self._victims.retire(wanted, owner) and self._victims.left(owner):
                await self._writer.sync()
                await self._victims.retire(wanted, owner)
        return await self._victims.retire(self._wanted)

    def _waiting(self) -> dict[int, int]:
        """Return how many bytes each project waits for."""
        waiting: dict[int, int] = {}
        for waiter in self._waiters:
            waiting[waiter.owner] = waiting.get(waiter.owner, 0) + allocated(waiter.size)
        return waiting


def _never_fits(size: int) -> NeverFitsError:
    return NeverFitsError(f"{size} bytes do not fit in the cache beside what is pinned")
