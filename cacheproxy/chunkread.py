"""Gives the bytes of open chunk files, as sure of them as `[cache] verify` says.

    disk-read   pages in memory go out if the file is the one that was proven, its proof young; else
                the whole chunk is read and hashed, and sent from the buffer that was hashed
    always      always the latter: nothing that happens to the file meanwhile reaches a client
    never       nothing is hashed, if only the file is the one that the keeper opened

Pages in memory are given as an `OpenPart`, which sends itself without a copy.  The loop never waits
for a disk: reading and hashing is done in a few threads.  What they have hashed is in memory then,
and goes out from there; where it is not to be believed, or has gone again, from their buffers.
These are shared by all who want the same chunk at the moment that it is read, and kept within a
bound: a sender that is so slow that its buffer had to go reads and hashes the chunk again.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from backends.residency import resident
from backends.spans import Span
from cacheproxy.config import CacheSettings
from cacheproxy.errors import ChunkLostError, StorageError
from cacheproxy.hotset import HotFile
from cacheproxy.store.proving import prove, read_proven

PIECE_BYTES = 256 << 10
# What goes out behind its head in one segment, if it fits into one (64 KiB at most, offloaded or on
# a loopback).  Longer parts are faster behind a head of its own: 28 instead of 45 µs for 64 KiB.
JOINED_BYTES_MAX = 60 << 10
READS_MAX = 4  # chunks read and hashed at once
AHEAD_READS_MAX = READS_MAX - 1  # of them while nobody waits for it: a thread is left for who does
BUFFERS_BYTES_MAX = 16 << 20  # chunks kept for their senders, beside those being read
READ_SECONDS_MAX = 15.0  # the longest wait for the disk to give one chunk

T = TypeVar("T")
Read = asyncio.Future[T]
Found = bytearray | bool | None  # of a chunk: its bytes, or only that it is right and in memory


class OpenPart:
    """A part of an open chunk file that may be sent from the page cache; gone through once.

    Whatever is read or sent moves `position` on.  Short of `stop` it may end at any time, because
    pages have left memory or may not be believed any more: then the disk has to be asked, and tells
    which it is.
    """

    __slots__ = ("_believed", "_read", "file", "position", "stop")

    def __init__(self, reader: ChunkReader, file: HotFile, position: int, stop: int) -> None:
        self.file = file
        self.position = position
        self.stop = stop
        self._believed = reader.believes
        self._read = reader.read

    def __repr__(self) -> str:
        return f"<OpenPart {self.position}..{self.stop} of {self.file.digest.hex()[:12]}>"

    def __len__(self) -> int:
        return self.stop - self.position

    def __bytes__(self) -> bytes:
        return self.read(len(self)) or b""

    def hold(self, size: int) -> bool:
        """Whether the next `size` bytes are in memory and were hashed; if so, until `let_go`.

        While somebody reads a chunk from the disk he holds its file's lock, until it is hashed.
        """
        fd = self.file.fd
        if not self._believed(self.file):
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return False
        if resident(fd, self.position, size):
            return True
        self.let_go()
        return False

    def let_go(self) -> None:
        """End a `hold`."""
        fcntl.flock(self.file.fd, fcntl.LOCK_UN)

    def read(self, size_max: int) -> bytes | None:
        """Return the next bytes; None if memory does not have them, or may not be believed."""
        data = self._read(self.file, self.position, min(size_max, self.stop - self.position))
        if data is not None:
            self.position += len(data)
        return data

    def send(self, sock: socket.socket, head: bytes = b"") -> int | None:
        """Send `head`, and of the part what the socket takes behind it; the number of bytes sent.

        Less than all: it takes no more now.  None if memory does not have the bytes, or may not be
        believed: then nothing was sent.  ConnectionError if the peer is gone.
        What is being sent are the pages themselves: who writes to the file before the peer has
        them changes them.
        """
        size = self.stop - self.position
        if not self.hold(size):
            return None
        taken = 0
        try:
            if not self.file.intact():
                return None
            if head:
                taken = sock.send(head, socket.MSG_MORE if size <= JOINED_BYTES_MAX else 0)
                if taken < len(head):
                    return taken
            pages = self._send_pages(sock.fileno())
            return (taken or None) if pages is None else taken + pages
        except BlockingIOError:  # it did not even take the head
            return 0
        finally:
            self.let_go()

    def _send_pages(self, sock: int) -> int | None:
        """Send what the socket takes; the number of bytes, None if the file cannot be read at all."""
        before = self.position
        try:
            while self.position < self.stop:
                left = self.stop - self.position
                count = os.sendfile(sock, self.file.fd, self.position, left)
                if not count:  # it has been cut
                    break
                self.position += count
        except BlockingIOError:
            return self.position - before
        except ConnectionError:
            raise
        except OSError:  # of the file: what is in memory cannot be had from a sick disk
            pass
        return self.position - before or None


Piece = bytes | OpenPart


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
        self._reading: dict[HotFile, Read[Found]] = {}
        self._late: set[Read[Any]] = set()  # a sender has given up waiting for them
        self._seconds_max = settings.disk_hang_seconds
        self._waiters: set[asyncio.Future[bool]] = set()
        self.on_hang: Callable[[], None] = lambda: None  # a read took too long
        # A file stays open, and counted, while a thread reads it, whoever has left meanwhile.
        self.hold: Callable[[HotFile], None] = lambda _: None
        self.release: Callable[[HotFile], None] = lambda _: None
        self._buffers: OrderedDict[HotFile, bytearray] = OrderedDict()  # hashed, the oldest first
        self.buffered = 0  # bytes of `_buffers`

    def __repr__(self) -> str:
        return f"<ChunkReader {len(self._reading)} reading, {self.buffered} bytes buffered>"

    def close(self) -> None:
        """Start no more reads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def break_off(self) -> None:
        """End every wait for the disk at once: it is not to be used now."""
        for waiter in self._waiters:
            _wake(waiter, False)

    def part(self, file: HotFile, position: int, stop: int) -> OpenPart:
        """Give a part of a chunk as far as it is in memory; the caller holds a lease of its file."""
        return OpenPart(self, file, position, stop)

    def read(self, file: HotFile, position: int, size: int) -> bytes | None:
        """Return bytes of a chunk; None if memory does not have them, or may not be believed."""
        if not self.believes(file):
            return None
        fd = file.fd
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)  # as in `OpenPart.hold`
        except OSError:
            return None
        try:
            data = os.pread(fd, size, position) if resident(fd, position, size) else b""
        except OSError:
            return None
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)
        # Looked at only now, so that a write before or while it was read is noticed.
        return data if len(data) == size and file.intact() else None

    async def pieces(
        self, file: HotFile, part: Span, on_wait: Callable[[], None] = lambda: None
    ) -> AsyncGenerator[Piece]:
        """Give a part of a chunk; the caller holds a lease of its file.

        Who gets an `OpenPart` takes from it what he can before he asks for the next piece.
        `on_wait` is called each time that the disk is waited for.
        Raises `ChunkLostError` if the chunk is damaged or the file is not what was proven,
        `StorageError` if the disk does not answer.
        """
        self._senders[file] += 1
        others = self._buffers.get(file)  # was hashed for those who came before
        position, read_at = part.start, -1
        try:
            while position < part.stop:
                here = self.part(file, position, part.stop)
                if here.hold(len(here)):
                    here.let_go()
                    yield here
                    if here.position > position:
                        position = here.position
                        continue
                size = min(PIECE_BYTES, part.stop - position)
                if self._verify == "never":
                    piece = await self._unproven(file, position, size, on_wait)
                else:
                    data = self._buffers.get(file)
                    if data is None or data is others:
                        # What was hashed is in memory then; but not for ever.
                        wants = self._verify == "always" or read_at == position
                        read_at = position
                        data = await self._proven(file, on_wait, data=wants)
                        if data is None:
                            continue
                    # A copy: whoever sends slowly keeps a piece in memory, not the chunk.
                    piece = bytes(memoryview(data)[position : position + size])
                position += len(piece)
                yield piece
        finally:
            self._senders[file] -= 1
            if not self._senders[file]:
                del self._senders[file]
                self._forget(file)

    def ahead(self, file: HotFile, part: Span) -> bool:
        """Have a part of a chunk in memory, proven, for a sender who is not there yet.

        False if that cannot begin now: the threads have enough to do for those who wait.
        Damage is nobody's yet: whoever comes to the chunk finds it anew.
        """
        if self._verify != "disk-read" or file in self._reading:
            return True
        if self.believes(file) and resident(file.fd, part.start, len(part)):
            return True  # or another process is reading it, which the sender will see
        if len(self._reading) >= AHEAD_READS_MAX or self._late:
            return False
        _ = self._prove(file, prove)
        return True

    def believes(self, file: HotFile) -> bool:
        """Whether a file's pages in memory may be taken for what was proven."""
        if self._verify == "disk-read":
            return (
                file not in self._reading and self._clock() - file.proven_at <= self._proof_seconds
            )
        return self._verify == "never"

    # --- reading and hashing ----------------------------------------------------------------------

    async def _proven(
        self, file: HotFile, on_wait: Callable[[], None], *, data: bool
    ) -> bytearray | None:
        """Read and hash a chunk, together with all who want the same at the moment.

        Return its bytes, if that is wanted and nobody else has begun without; else it is in memory.
        """
        reading = self._reading.get(file) or self._prove(file, read_proven if data else prove)
        on_wait()
        found = await self._wait(reading)
        if not found:
            raise ChunkLostError("the chunk is damaged")
        if not file.intact():
            raise ChunkLostError("the chunk file is not what was proven")
        return None if found is True else found

    def _prove(self, file: HotFile, work: Callable[[int, bytes, int], Found]) -> Read[Found]:
        began = self._clock()
        reading = self._reading[file] = self._start(work, file, file.digest, file.size)
        reading.add_done_callback(partial(self._was_read, file, began))
        return reading

    def _was_read(self, file: HotFile, began: float, reading: Read[Found]) -> None:
        del self._reading[file]
        found = None if reading.cancelled() else reading.result()
        if not found:
            return
        file.proven_at = began
        if found is not True and file in self._senders:
            self._forget(file)
            self._buffers[file] = found
            self.buffered += len(found)
            while self.buffered > BUFFERS_BYTES_MAX:
                self._forget(next(iter(self._buffers)))

    def _forget(self, file: HotFile) -> None:
        self.buffered -= len(self._buffers.pop(file, b""))

    # --- without hashing --------------------------------------------------------------------------

    async def _unproven(
        self, file: HotFile, position: int, size: int, on_wait: Callable[[], None]
    ) -> bytes:
        reading = self._start(_read_some, file, position, size)
        on_wait()
        piece = await self._wait(reading)
        if len(piece) < size or not file.intact():
            raise ChunkLostError("the chunk file is not what the keeper opened")
        return piece

    # --- threads ----------------------------------------------------------------------------------

    def _start(self, work: Callable[..., T], file: HotFile, *args: object) -> Read[T]:
        """Have a thread work on a file, which is leased as long as it does."""
        if len(self._late) >= READS_MAX:
            raise StorageError("the disk hangs")
        loop = asyncio.get_running_loop()
        reading = loop.run_in_executor(self._threads, partial(work, file.fd, *args))
        self.hold(file)
        reading.add_done_callback(lambda _: self.release(file))
        reading.add_done_callback(self._late.discard)
        return reading

    async def _wait(self, reading: Read[T]) -> T:
        """Wait for a thread, which goes on if this is cancelled, broken off or too long."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()  # whether it took too long
        seconds = min(READ_SECONDS_MAX, self._seconds_max)
        timer = loop.call_later(seconds, _wake, waiter, True)
        came = partial(_wake, waiter, False)
        reading.add_done_callback(came)
        self._waiters.add(waiter)
        try:
            too_long = await waiter
        finally:
            self._waiters.discard(waiter)
            reading.remove_done_callback(came)
            timer.cancel()
        if reading.done():
            return reading.result()
        self._late.add(reading)
        if too_long:
            self.on_hang()
        raise StorageError("the disk gives no chunk")


def _wake(waiter: asyncio.Future[bool], too_long: bool, *_: object) -> None:
    if not waiter.done():
        waiter.set_result(too_long)


def _read_some(fd: int, position: int, size: int) -> bytes:
    try:
        return os.pread(fd, size, position)
    except OSError as error:
        raise ChunkLostError(f"reading a chunk: {error.strerror}") from error
