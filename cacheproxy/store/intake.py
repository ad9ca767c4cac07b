"""How a chunk comes into the store: once, under its digest, with room that was reserved.

    absent → storing    its file is being written by a thread
    storing → stored    the file has its name, and its entry is written
    storing → absent    the disk failed, or whoever asked was cancelled

A second writer of the same chunk waits for the first, or until the chunk has gone, and looks again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from cacheproxy.core.ledger import Claim, Reservation
from cacheproxy.errors import InvalidChunkError, NoRoomError, StorageError
from cacheproxy.metrics import CHUNKS_STORED, VERIFY_FAILURES
from cacheproxy.store.departures import Departures
from cacheproxy.store.digest import digest_of, zero_digest
from cacheproxy.store.entries import Newcomer
from cacheproxy.store.files import CHUNK_BYTES_MAX, Written
from cacheproxy.store.promise import Promise
from cacheproxy.store.stock import Stock
from cacheproxy.store.zeros import Zeros

ABANDON_SECONDS = 5.0  # a cancelled put's longest wait for the thread that has its buffer
WRONG = "a chunk's bytes do not match its digest"
BUSY_SECONDS = 30.0  # a put's longest wait for another one of the same chunk, or for its removal


@dataclass(frozen=True, slots=True)
class Stored:
    """The outcome of a put."""

    digest: bytes
    size: int
    new: bool  # a file was made; False: it was there, or is all zeros
    zero: bool


@dataclass(slots=True)
class _Abandoned:
    """Whether nobody wants a file any more; set on the loop, read in a thread."""

    now: bool = False

    def is_set(self) -> bool:
        return self.now


class Intake:
    """Puts chunks; all methods are of the loop."""

    def __init__(
        self, stock: Stock, zeros: Zeros, departures: Departures, promise: Promise
    ) -> None:
        self._meter = stock.meter
        self._files = stock.files
        self._writer = stock.writer
        self._disk = stock.disk
        self._ledger = stock.ledger
        self._entries = stock.entries
        self._proofs = stock.proofs
        self._open_files = stock.open_files
        self._threads = stock.threads
        self._zeros = zeros
        self._departures = departures
        self._promise = promise
        self._directories = stock.files.directories  # bytes of them in the ledger
        self._storing: dict[bytes, asyncio.Future[None]] = {}
        self._closed = False

    def __repr__(self) -> str:
        return f"<Intake {len(self._storing)} storing>"

    def __len__(self) -> int:
        """How many chunks are being stored."""
        return len(self._storing)

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._storing

    def close(self) -> None:
        """Store nothing more; what a thread has begun is brought to its end."""
        self._closed = True

    async def put(
        self,
        data: bytes | memoryview,
        *,
        reservation: Reservation,
        sealed_by: bytes | None,
        pinned: bool,
    ) -> Stored:
        """Store a chunk; see `ChunkStore.put`."""
        size = len(data)
        if not 0 < size <= CHUNK_BYTES_MAX:
            raise ValueError(f"a chunk of {size} bytes")
        self._check_open()
        if sealed_by is not None and self._nowhere(sealed_by, size):
            new = Newcomer(size, reservation.owner, pinned)
            await self._store(sealed_by, new, data, reservation, check=True)
            return Stored(sealed_by, size, new=True, zero=False)
        digest, zero = await self._threads.run(_digest, data)
        if sealed_by is not None and sealed_by != digest:
            self._meter.inc(VERIFY_FAILURES)
            raise InvalidChunkError(WRONG)
        if zero and self._zeros.learn(digest, size):
            return Stored(digest, size, new=False, zero=True)
        while True:
            if self._there(digest) or self._departures.revive(digest):
                self._entries.touch([digest])
                if pinned:
                    _ = self._entries.pin(digest)
                return Stored(digest, size, new=False, zero=False)
            other = self._storing.get(digest) or self._departures.leaving(digest)
            if other is None:
                break
            done, _ = await asyncio.wait([other], timeout=BUSY_SECONDS)
            if not done:
                raise StorageError("another writer of the same chunk hangs")
        # No `await` since the look: this is the only one that stores the chunk now.
        new = Newcomer(size, reservation.owner, pinned)
        await self._store(digest, new, data, reservation, check=False)
        return Stored(digest, size, new=True, zero=False)

    def _nowhere(self, digest: bytes, size: int) -> bool:
        """Whether a chunk is neither there, nor coming or going, nor all zeros."""
        return (
            digest not in self._storing
            and not self._departures.going(digest)
            and self._entries.get(digest) is None
            and digest != zero_digest(size)
        )

    def _there(self, digest: bytes) -> bool:
        return not self._departures.going(digest) and self._entries.get(digest) is not None

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError("the cache is closed")
        self._disk.check_usable()

    async def _store(
        self,
        digest: bytes,
        new: Newcomer,
        data: bytes | memoryview,
        reservation: Reservation,
        *,
        check: bool,
    ) -> None:
        """Write a chunk; with `check` its bytes are hashed first, by the same thread."""
        self._check_open()
        self._disk.check_writable()
        if self._writer.full:
            raise StorageError("the index does not take changes")
        claim = reservation.claim(len(data))
        if claim is None:
            raise NoRoomError("the reservation is used up")
        ended = self._storing[digest] = asyncio.get_running_loop().create_future()
        abandoned = _Abandoned()
        try:
            await self._promise.cover()
            write = self._hash_and_write if check else self._files.write
            job = self._threads.start(write, digest, data, abandoned.is_set)
        except BaseException:
            claim.give_back()
            del self._storing[digest]
            ended.set_result(None)
            raise
        job.add_done_callback(partial(self._stored, digest, new, claim))
        try:
            written = await asyncio.shield(job)
        except asyncio.CancelledError:
            # The thread still reads the caller's buffer; it ends before giving the file its name.
            abandoned.now = True
            await asyncio.wait([job], timeout=ABANDON_SECONDS)
            raise
        if written is None:
            self._meter.inc(VERIFY_FAILURES)
            raise InvalidChunkError(WRONG)

    def _hash_and_write(
        self, digest: bytes, data: bytes | memoryview, abandoned: Callable[[], bool]
    ) -> Written | None:
        """In a thread: write a chunk if it has this digest."""
        return self._files.write(digest, data, abandoned) if digest_of(data) == digest else None

    def _stored(
        self, digest: bytes, new: Newcomer, claim: Claim, job: asyncio.Future[Written | None]
    ) -> None:
        """The thread has ended, whether or not anybody still waits for it."""
        written = job.result() if job.exception() is None else None
        if written is None:
            claim.give_back()
        else:
            self._entries.note_written(digest, new, written.cost)
            self._proofs.remember(digest, written.identity, time.monotonic())
            if written.fd is not None:
                self._open_files.keep(digest, written.fd)
            self._meter.inc(CHUNKS_STORED)
            claim.settle(written.cost)
        growth, self._directories = (
            self._files.directories - self._directories,
            self._files.directories,
        )
        self._ledger.adjust(overhead=growth)
        self._storing.pop(digest).set_result(None)


def _digest(data: bytes | memoryview) -> tuple[bytes, bool]:
    """In a thread: hash a chunk, and tell whether it is all zeros."""
    digest = digest_of(data)
    return digest, digest == zero_digest(len(data))
