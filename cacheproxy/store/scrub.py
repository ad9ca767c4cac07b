"""Reads all chunks again from the disk, round after round, so that damage is found before it is wanted.

In the order of their digests, which are evenly spread: how far the last one is tells how far the round
is.  The place is kept in the index, and a round goes on there after a restart.

It stands back: in a thread of the lowest priority, within a budget of bytes per second, at rest for
several times as long as each read took (a disk that others keep busy answers late), and for a while
whenever the keeper itself reads or writes.
"""

from __future__ import annotations

import asyncio
import logging
import struct
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

from cacheproxy.core.budget import Budget
from cacheproxy.errors import StorageError
from cacheproxy.meter import Meter
from cacheproxy.metrics import (
    SCRUB_DAMAGED,
    SCRUB_FINISHED,
    SCRUB_PROGRESS,
    SCRUBBED_BYTES,
    SCRUBBED_CHUNKS,
)
from cacheproxy.store.layout import Key, Table
from cacheproxy.store.priority import work_last
from cacheproxy.store.provenchunks import Checked, Verdict
from cacheproxy.store.threads import Threads
from cacheproxy.store.writer import Writer

log = logging.getLogger(__name__)

SLICE = 64  # digests taken from the index at once
REST_SHARE = 3.0  # rests three times as long as it reads: a quarter of the disk's time at most
YIELD_SECONDS = 1.0  # the longest it stands back for reads and writes of the keeper
SAVE_SECONDS = 10.0  # a crash makes it do so much again
PAUSE_SECONDS = 60.0  # between two rounds, however short the interval is
RETRY_SECONDS = 60.0  # after the disk failed in a way that is not one chunk's
DAY_SECONDS = 86_400.0

_ROUND = Key(Table.META, b"scrub")
_PACKED = struct.Struct("<B32s?ddQQQ")
_FIRST = bytes(32)

Check = Callable[[bytes, Threads], Awaitable[Checked]]


@dataclass(frozen=True, slots=True)
class ScrubStatus:
    """How far the background check is; times in seconds since 1970, 0: never."""

    state: Literal["off", "waiting", "running"]
    progress: float  # of this round, 0 to 1; 1 of one that has ended
    chunks: int  # read in this round, or the last one
    read_bytes: int
    damaged: int  # or missing
    begun_at: float
    finished_at: float  # the last one that came to its end


class _Round(NamedTuple):
    """What is kept of a round."""

    after: bytes = _FIRST  # the last digest that was checked
    running: bool = False
    begun_at: float = 0.0
    finished_at: float = 0.0  # of the last one that came to its end
    chunks: int = 0
    read_bytes: int = 0
    damaged: int = 0

    def pack(self) -> bytes:
        return _PACKED.pack(1, *self)

    @classmethod
    def unpack(cls, packed: bytes | None) -> Self:
        """Read what `pack` wrote; anything else is no round at all."""
        if packed is None or len(packed) != _PACKED.size or packed[0] != 1:
            return cls()
        return cls(*_PACKED.unpack(packed)[1:])

    @property
    def progress(self) -> float:
        if not self.running:
            return 1.0 if self.finished_at else 0.0
        return int.from_bytes(self.after[:4]) / 2**32


class Scrubber:
    """The background check of one store; `check` reads a chunk and sets a damaged one aside."""

    def __init__(
        self,
        writer: Writer,
        busy: Threads,
        meter: Meter,
        check: Check,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`busy` are the threads that it stands back for."""
        self._writer = writer
        self._busy = busy
        self._meter = meter
        self._check = check
        self._wall = wall
        self._round = _Round()
        self._saved_at = 0.0
        self._on = False

    def status(self) -> ScrubStatus:
        """Return how far it is."""
        state: Literal["off", "waiting", "running"] = (
            "running" if self._round.running else "waiting"
        )
        now = self._round
        return ScrubStatus(
            state=state if self._on else "off",
            progress=now.progress,
            chunks=now.chunks,
            read_bytes=now.read_bytes,
            damaged=now.damaged,
            begun_at=now.begun_at,
            finished_at=now.finished_at,
        )

    async def run(self, rate: int, interval_days: int) -> None:
        """Check at `rate` bytes per second, until cancelled."""
        budget = Budget(rate)
        threads = Threads(1, "scrub", work_last)
        self._on = True
        try:
            self._round = _Round.unpack(self._writer.read(_ROUND))
            self._tell()
            while True:
                try:
                    await self._wait(interval_days * DAY_SECONDS)
                    await self._whole(threads, budget)
                    await asyncio.sleep(PAUSE_SECONDS)
                except StorageError as error:
                    log.warning("the check of all chunks pauses: %s", error)
                    await asyncio.sleep(RETRY_SECONDS)
        finally:
            self._on = False
            with suppress(StorageError):
                self._save()
            await threads.close()

    async def _wait(self, interval: float) -> None:
        """Wait until a round is to begin, or go on."""
        if self._round.running:
            return
        # A clock that was set back delays it by one interval at most.
        left = min(interval, self._round.begun_at + interval - self._wall())
        if left > 0:
            await asyncio.sleep(left)
        self._round = _Round(
            running=True, begun_at=self._wall(), finished_at=self._round.finished_at
        )
        self._save()

    async def _whole(self, threads: Threads, budget: Budget) -> None:
        """Bring the round to its end."""
        loop = asyncio.get_running_loop()
        while digests := self._writer.names_after(Table.CHUNKS, self._round.after, SLICE):
            for digest in digests:
                with suppress(TimeoutError):
                    async with asyncio.timeout(YIELD_SECONDS):
                        await self._busy.idle()
                began = loop.time()
                checked = await self._check(digest, threads)
                now = loop.time()
                self._count(digest, checked)
                if now - self._saved_at > SAVE_SECONDS:
                    self._saved_at = now
                    self._save()
                rest = max(budget.spend(checked.size, now), (now - began) * REST_SHARE)
                if checked.verdict is Verdict.UNREADABLE:
                    rest = (
                        RETRY_SECONDS  # there is little use in asking a failing disk for the next
                    )
                await asyncio.sleep(rest)
        self._round = self._round._replace(running=False, finished_at=self._wall())
        self._save()
        self._tell()
        log.info(
            "all chunks were checked: %d, %d of them damaged",
            self._round.chunks,
            self._round.damaged,
        )

    def _count(self, digest: bytes, checked: Checked) -> None:
        bad = checked.verdict in (Verdict.DAMAGED, Verdict.MISSING)
        looked = checked.verdict is not Verdict.GONE
        self._round = self._round._replace(
            after=digest,
            chunks=self._round.chunks + looked,
            read_bytes=self._round.read_bytes + checked.size,
            damaged=self._round.damaged + bad,
        )
        self._meter.inc(SCRUBBED_CHUNKS, looked)
        self._meter.inc(SCRUBBED_BYTES, checked.size)
        self._meter.inc(SCRUB_DAMAGED, bad)
        self._tell()

    def _tell(self) -> None:
        self._meter.set(SCRUB_PROGRESS, self._round.progress if self._round.running else 0.0)
        self._meter.set(SCRUB_FINISHED, self._round.finished_at)

    def _save(self) -> None:
        self._writer.write(_ROUND, self._round.pack())
