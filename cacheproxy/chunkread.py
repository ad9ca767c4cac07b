"""Gives the bytes of open chunk files, as sure of them as `[cache] verify` says.

    disk-read   pages in memory go out if the file is the one that was proven, its proof young; else
                the whole chunk is read and hashed, and sent from the buffer that was hashed
    always      always the latter: nothing that happens to the file meanwhile reaches a client
    never       nothing is hashed, if only the file is the one that the keeper opened

The loop never waits for a disk: reading and hashing is done in a few threads.  Their buffers are
shared by all who want the same chunk at the moment that it is read, and kept within a bound: a sender
that is so slow that its buffer had to go reads and hashes the chunk again.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from backends.spans import Span
from cacheproxy.config import CacheSettings
from cacheproxy.errors import ChunkLostError, StorageError
from cacheproxy.hotset import HotFile
from cacheproxy.store.proving import read_proven
from cacheproxy.store.residency import resident

PIECE_BYTES = 256 << 10
READS_MAX = 4  # chunks read and hashed at once
BUFFERS_BYTES_MAX = 16 << 20  # chunks kept for their senders, beside those being read
READ_SECONDS_MAX = 15.0  # the longest wait for the disk to give one chunk

T = TypeVar("T")
Read = asyncio.Future[T]
Piece = bytes | memoryview


class ChunkReader:
    """Reads leased chunk files; used on one loop."""

    def __init__(
        self, settings: CacheSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._verify = settings.verify
        self._proof_seconds = settings.proof_seconds
        self._clock = clock
        self._threads = ThreadPoolExecutor(READS_MAX, "chunk-read")
        self._senders: Counter[HotFile] = Counter()
        self._reading: dict[HotFile, Read[bytearray | None]] = {}
        self._late: set[Read[Any]] = set()  # a sender has given up waiting for them
        self._seconds_max = settings.disk_hang_seconds
        self._broken_off = asyncio.Event()
        self.on_hang: Callable[[], None] = lambda: None  # a read took too long
        self._buffers: OrderedDict[HotFile, bytearray] = OrderedDict()  # hashed, the oldest first
        self.buffered = 0  # bytes of `_buffers`

    def __repr__(self) -> str:
        return f"<ChunkReader {len(self._reading)} reading, {self.buffered} bytes buffered>"

    def close(self) -> None:
        """Start no more reads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def break_off(self) -> None:
        """End every wait for the disk at once: it is not to be used now."""
        self._broken_off.set()
        self._broken_off = asyncio.Event()  # for those who come later

    async def pieces(self, file: HotFile, part: Span) -> AsyncGenerator[Piece]:
        """Give a part of a chunk; the caller holds a lease of its file.

        Raises `ChunkLostError` if the chunk is damaged or the file is not what was proven,
        `StorageError` if the disk does not answer.
        """
        self._senders[file] += 1
        others = self._buffers.get(file)  # was hashed for those who came before
        try:
            position = part.start
            while position < part.stop:
                size = min(PIECE_BYTES, part.stop - position)
                piece = await self._piece(file, position, size, others)
                position += len(piece)
                yield piece
        finally:
            self._senders[file] -= 1
            if not self._senders[file]:
                del self._senders[file]
                self._forget(file)

    async def _piece(
        self, file: HotFile, position: int, size: int, others: bytearray | None
    ) -> Piece:
        if self._verify == "never":
            return await self._unproven(file, position, size)
        data = self._buffers.get(file)
        if data is None or data is others:
            if self._memory_counts(file):
                piece = read_resident(file.fd, position, size)
                # Looked at only now, so that a write before or while it was read is noticed.
                if piece is not None and not file.intact():
                    raise ChunkLostError("the chunk file is not what was proven")
                if piece is not None:
                    return piece
            data = await self._whole(file)
        # A copy: whoever sends slowly keeps a piece in memory, not the chunk.
        return bytes(memoryview(data)[position : position + size])

    def _memory_counts(self, file: HotFile) -> bool:
        """Whether pages in memory may be taken for what was proven."""
        return (
            self._verify == "disk-read"
            and file not in self._reading
            and self._clock() - file.proven_at <= self._proof_seconds
        )

    # --- reading and hashing ----------------------------------------------------------------------

    async def _whole(self, file: HotFile) -> bytearray:
        """Read and hash a chunk, together with all who want the same at the moment."""
        reading = self._reading.get(file)
        if reading is None:
            began = self._clock()
            reading = self._reading[file] = self._start(read_proven, file, file.digest, file.size)
            reading.add_done_callback(partial(self._was_read, file, began))
        data = await self._wait(reading)
        if data is None:
            raise ChunkLostError("the chunk is damaged")
        if not file.intact():
            raise ChunkLostError("the chunk file is not what was proven")
        return data

    def _was_read(self, file: HotFile, began: float, reading: Read[bytearray | None]) -> None:
        del self._reading[file]
        data = None if reading.cancelled() else reading.result()
        if data is None:
            return
        file.proven_at = began
        if file in self._senders:
            self._forget(file)
            self._buffers[file] = data
            self.buffered += len(data)
            while self.buffered > BUFFERS_BYTES_MAX:
                self._forget(next(iter(self._buffers)))

    def _forget(self, file: HotFile) -> None:
        self.buffered -= len(self._buffers.pop(file, b""))

    # --- without hashing --------------------------------------------------------------------------

    async def _unproven(self, file: HotFile, position: int, size: int) -> Piece:
        piece: Piece | None = read_now(file.fd, position, size)
        if piece is None:
            piece = await self._wait(self._start(_read_some, file, position, size))
        if len(piece) < size or not file.intact():
            raise ChunkLostError("the chunk file is not what the keeper opened")
        return piece

    # --- threads ----------------------------------------------------------------------------------

    def _start(self, work: Callable[..., T], file: HotFile, *args: object) -> Read[T]:
        """Have a thread work on a duplicate of the file, which nobody closes under it."""
        if len(self._late) >= READS_MAX:
            raise StorageError("the disk hangs")
        copy = os.dup(file.fd)
        loop = asyncio.get_running_loop()
        reading = loop.run_in_executor(self._threads, partial(work, copy, *args))
        reading.add_done_callback(lambda _: os.close(copy))
        reading.add_done_callback(self._late.discard)
        return reading

    async def _wait(self, reading: Read[T]) -> T:
        """Wait for a thread, which goes on if this is cancelled, broken off or too long."""
        broken_off = asyncio.ensure_future(self._broken_off.wait())
        waits: list[asyncio.Future[Any]] = [reading, broken_off]
        try:
            await asyncio.wait(
                waits,
                timeout=min(READ_SECONDS_MAX, self._seconds_max),
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            broken_off.cancel()
        if reading.done():
            return reading.result()
        self._late.add(reading)
        if not broken_off.done():
            self.on_hang()
        raise StorageError("the disk gives no chunk")


def _read_some(fd: int, position: int, size: int) -> bytes:
    try:
        return os.pread(fd, size, position)
    except OSError as error:
        raise ChunkLostError(f"reading a chunk: {error.strerror}") from error


def read_resident(fd: int, position: int, size: int) -> memoryview | None:
    """Return bytes that were hashed when they came into the page cache, None if some are not there.

    While somebody reads them from the disk he holds the file's lock, until they are hashed.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return None
    try:
        return read_now(fd, position, size) if resident(fd, position, size) else None
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)


def read_now(fd: int, position: int, size: int) -> memoryview | None:
    """Return bytes for which nobody has to wait, None if some are missing."""
    buffer = bytearray(size)
    try:
        count = os.preadv(fd, [buffer], position, os.RWF_NOWAIT)
    except OSError:
        return None  # not there, or the file system cannot tell, or damaged: a thread finds out
    return memoryview(buffer) if count == size else None
