"""A chunk store in a temporary directory, with what a test wants to know of it."""

from __future__ import annotations

import asyncio
import os
import random
import stat
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cacheproxy.config import CacheSettings
from cacheproxy.core.health import State
from cacheproxy.meter import Board, Counter, Gauge
from cacheproxy.metrics import CACHE_BYTES, CACHE_LIMIT_BYTES, RESERVED_BYTES
from cacheproxy.store.chunkstore import ChunkStore, Stored

KIB = 1 << 10
CHUNK = 256 * KIB
LIMIT = 12 << 20  # room for some two dozen chunks

OURS = ("cacheproxy.store", "chunks", "quarantine", "index", "staging", "pins")


def chunk(seed: int, size: int = CHUNK) -> bytes:
    """Return bytes that no other seed gives."""
    return random.Random(seed).randbytes(size)


def chunk_path(directory: Path, digest: bytes) -> Path:
    """Return where a chunk's file is."""
    return directory / "chunks" / digest.hex()[:2] / digest.hex()


def planted(directory: Path, digest: bytes) -> Path:
    """Return where a test may put a chunk's file behind the store's back."""
    path = chunk_path(directory, digest)
    path.parent.mkdir(exist_ok=True)
    return path


def allocated_by_us(directory: Path) -> int:
    """Return what `du` says of the store: the directory, and all in it that is the store's."""
    return sum(_allocated(directory / name) for name in OURS) + directory.lstat().st_blocks * 512


def _allocated(path: Path | os.DirEntry[str]) -> int:
    try:
        status = os.lstat(path)
        below = sum(map(_allocated, os.scandir(path))) if stat.S_ISDIR(status.st_mode) else 0
    except FileNotFoundError:  # evicted since it was listed
        return 0
    return status.st_blocks * 512 + below


def open_descriptors() -> int:
    """Count this process's open descriptors."""
    return len(list(Path("/proc/self/fd").iterdir()))


@dataclass
class StoreCase:
    """An open store; `dying` notes each question to a holder."""

    store: ChunkStore
    directory: Path
    board: Board
    dying: list[tuple[bytes, Hashable]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, probe: Callable[[], bool]) -> None:
        """Wait until the ledger has changed, or holders were asked, such that this is true."""
        while not probe():
            self.changed.clear()
            await self.changed.wait()

    async def becomes(self, state: State = State.NORMAL) -> None:
        """Wait until the disk is in this state."""
        changed = asyncio.Event()
        self.store.disk.listen(changed.set)
        while self.store.disk.state is not state:
            changed.clear()
            await changed.wait()

    async def put(self, data: bytes) -> Stored:
        """Reserve and put one chunk."""
        reservation = await self.store.reserve(len(data))
        try:
            return await self.store.put(data, reservation=reservation)
        finally:
            reservation.close()

    async def fill(self, seeds: range, size: int = CHUNK) -> list[bytes]:
        """Put a chunk for each seed; returns their digests."""
        return [(await self.put(chunk(seed, size))).digest for seed in seeds]

    async def read(self, digest: bytes, size: int = CHUNK) -> bytes:
        """Return a chunk's bytes as a reader gets them."""
        opened = await self.store.open_proven(digest, size)
        try:
            return os.pread(opened.fd, size, 0)
        finally:
            os.close(opened.fd)

    def path(self, digest: bytes) -> Path:
        """Return where a chunk's file is."""
        return chunk_path(self.directory, digest)

    def files(self) -> set[bytes]:
        """Return the digests of all chunk files."""
        return {bytes.fromhex(path.name) for path in self.directory.glob("chunks/??/*")}

    def quarantined(self) -> list[str]:
        """Return the names in quarantine."""
        return sorted(path.name for path in (self.directory / "quarantine").iterdir())

    def total(self, metric: Counter | Gauge) -> float:
        """Return what the metrics say."""
        return self.board.total(metric)

    def some_time_later(self) -> None:
        """Have what was stored so long ago that its files are not open any more."""
        self.store._open_files.close()

    async def reconciled(self) -> None:
        """Wait until files and index say the same."""
        (task,) = [task for task in self.store._tasks if task.get_name() == "reconcile"]
        await task

    async def settled(self) -> None:
        """Wait for threads and removals, and for the index, to be done with all they have."""
        await self.store._threads.idle()
        while leaving := self.store._departures.all_leaving():
            await asyncio.wait(leaving)
        await self.store.sync()

    async def check(self, reserved: int = 0) -> None:
        """Check what is always true when nothing is in progress but open reservations."""
        await self.settled()
        ledger, entries = self.store._ledger, self.store._entries
        files = await asyncio.to_thread(self.files)
        listed = [entries.get(digest) for digest in files]
        assert all(listed), "a file without an entry"
        assert sum(entry.cost for entry in listed if entry) == ledger.chunks
        census, committed = entries.census, entries._file.census()
        assert (census.queues, census.owners) == (committed.queues, committed.owners)
        assert census.total == (len(files), ledger.chunks)
        assert (ledger.reserved, ledger.claimed) == (reserved, 0)
        assert len(self.store._intake) == 0
        assert not list((self.directory / "staging").iterdir())
        assert ledger.used == await asyncio.to_thread(allocated_by_us, self.directory)
        assert ledger.used <= ledger.limit or ledger.excess
        assert ledger.files <= ledger.promised
        assert self.total(CACHE_BYTES) == ledger.used
        assert self.total(CACHE_LIMIT_BYTES) == ledger.limit
        assert self.total(RESERVED_BYTES) == reserved

    async def crash(self) -> None:
        """Let go of everything as a killed process does: nothing more is committed."""
        store = self.store
        store._closed = True
        store._intake.close()
        for task in store._tasks:
            task.cancel()
        await asyncio.gather(*store._tasks, return_exceptions=True)
        await store._watch.close()
        await store._threads.idle()
        store._entries._touched.clear()
        await store._entries.flush()
        await store._writer.close()
        await store._threads.close()
        store._open_files.close()
        store._zeros.close()
        store._files.close()


async def open_case(directory: Path, *, limit: int = LIMIT, **more: Any) -> StoreCase:
    """Open a store; the caller closes or crashes it."""
    board = Board.create(1)
    dying: list[tuple[bytes, Hashable]] = []
    changed = asyncio.Event()
    more.setdefault("scrub_rate", 0)  # nothing happens by itself
    settings = CacheSettings(directory=directory, limit_bytes=limit, chunk_bytes=CHUNK, **more)

    def on_dying(digest: bytes, holder: Hashable) -> None:
        dying.append((digest, holder))
        changed.set()

    def on_change() -> None:
        told()
        changed.set()

    store = await ChunkStore.open(settings, board.meter(0), on_dying=on_dying)
    told = store._ledger._changed
    store._ledger._changed = on_change
    return StoreCase(store, directory, board, dying, changed)


@asynccontextmanager
async def opened(directory: Path, *, limit: int = LIMIT, **more: Any) -> AsyncIterator[StoreCase]:
    """Open a store, and close it at the end."""
    case = await open_case(directory, limit=limit, **more)
    try:
        yield case
    finally:
        await case.store.close()


@pytest.fixture
async def case(tmp_path: Path) -> AsyncIterator[StoreCase]:
    """Give an empty store, reconciled; what is always true is checked at the end."""
    async with opened(tmp_path / "cache") as made:
        await made.reconciled()
        yield made
        await made.check()
