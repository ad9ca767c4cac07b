"""Watches over a store's disk: looks at it each second, and at what hangs.

While the disk is normal a look costs a few system calls; otherwise it is a trial, whose results lead
back.  A look has a thread of its own, and there is never more than one: on a disk that hangs it
hangs too, and that is its result.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from cacheproxy.core.health import Fault
from cacheproxy.errors import StorageError
from cacheproxy.metrics import DISK_FREE_BYTES, DISK_FREE_INODES
from cacheproxy.store.disk import Loss, fault_of
from cacheproxy.store.place import Place, Sight, Space
from cacheproxy.store.stock import Stock

LOOK_SECONDS = 1.0  # between two looks, and how long one is waited for
COMMIT_HANG_SECONDS = 60.0  # it syncs, behind all else that is on its way to a busy disk
LET_GO_SECONDS = 10.0  # a disk that is bad for so long is let go of, so that it can be repaired
REPLACED_LOOKS = 2  # looks in a row that have to find another cache there


class Watch:
    """Looks for as long as `run` runs."""

    def __init__(
        self,
        stock: Stock,
        place: Place,
        on_space: Callable[[Space], Fault | None],
        hang_seconds: float,
    ) -> None:
        """`on_space` learns what is free, and says if that is too little."""
        self._disk = stock.disk
        self._threads = stock.threads
        self._writer = stock.writer
        self._meter = stock.meter
        self._place = place
        self._on_space = on_space
        self._hang_seconds = hang_seconds
        self._loop = asyncio.get_running_loop()
        self._pool = ThreadPoolExecutor(1, "disk-watch")
        self._looking: asyncio.Future[Sight] | None = None
        self._looking_since = 0.0
        self._tried = False
        self._bad_since: float | None = None
        self._replaced = 0

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self._look()
            await asyncio.sleep(LOOK_SECONDS)

    async def close(self) -> None:
        """Give the thread up; one that hangs ends by itself, if ever."""
        if self._looking is not None:
            await asyncio.wait([self._looking], timeout=LOOK_SECONDS)
        self._pool.shutdown(wait=False)

    async def _look(self) -> None:
        if self._looking is None:
            # The first look is a trial too: a start on a sick disk shows at once.
            trial = not (self._tried and self._disk.writable)
            self._looking_since = time.monotonic()
            self._looking = self._loop.run_in_executor(self._pool, self._see, trial)
        await asyncio.wait([self._looking], timeout=LOOK_SECONDS)
        if not self._looking.done():
            if time.monotonic() - self._looking_since > self._hang_seconds:
                self._note(Fault.HUNG)
            return
        sight, self._looking, self._tried = self._looking.result(), None, True
        fault = sight.fault
        if sight.space is not None:
            self._meter.set(DISK_FREE_BYTES, sight.space.free_bytes)
            self._meter.set(DISK_FREE_INODES, sight.space.free_inodes or 0)
            # An index that cannot be read has told of itself.
            with contextlib.suppress(StorageError):
                fault = fault or self._on_space(sight.space)
        self._replaced = self._replaced + 1 if sight.replaced else 0
        if sight.cut:
            self._disk.lose(Loss.REBUILD, "its file was cut short")
        elif self._replaced >= REPLACED_LOOKS:
            self._disk.lose(Loss.REOPEN, "there is another one in its place")
        self._note(fault or self._hanging() or self._index_fault())

    def _see(self, trial: bool) -> Sight:
        return self._place.look(trial=trial)

    def _hanging(self) -> Fault | None:
        """Whether anything else hangs."""
        now = time.monotonic()
        since = self._threads.running_since()
        if since is not None and now - since > self._hang_seconds:
            return Fault.HUNG
        since = self._writer.flying_since
        return Fault.HUNG if since is not None and now - since > COMMIT_HANG_SECONDS else None

    def _index_fault(self) -> Fault | None:
        failing = self._writer.failing
        return None if failing is None else fault_of(failing)

    def _note(self, fault: Fault | None) -> None:
        self._disk.probed(fault)
        now = time.monotonic()
        if fault is None:
            self._bad_since = None
        elif self._bad_since is None:
            self._bad_since = now
        elif not self._disk.usable and now - self._bad_since > LET_GO_SECONDS:
            self._disk.lose(Loss.REOPEN, "its disk is let go of until it works")
