"""Reading a chunk file so that what was read is what its digest says.  Blocking: in threads only.

Who reads from the disk through the page cache holds the file's lock until the bytes are hashed, and
takes damaged pages out of memory again before letting it go.  So whoever gets the lock knows that the
pages that he finds in memory were hashed when they came there, unless a stranger had them read.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import threading
from collections.abc import Callable

from backends.residency import resident
from cacheproxy.store.digest import digest_of

# A chunk is read in two steps: its first page, and the rest.  The kernel takes the second for that of
# a reader who goes on, and reads ahead for him in large folios; asked for all at once, it takes page
# after page.  That costs 0.39 s of CPU per GB instead of 0.20, and to read it from memory afterwards
# 0.20 each time instead of 0.06.
FIRST_BYTES = mmap.PAGESIZE


class _Scratch(threading.local):
    """A thread's own memory for bytes that are hashed only: new memory would cost as much as to read."""

    def __init__(self) -> None:
        self.memory = bytearray()

    def of(self, size: int) -> memoryview:
        if len(self.memory) < size:
            self.memory = bytearray(size)
        return memoryview(self.memory)[:size]


_scratch = _Scratch()


def prove(fd: int, digest: bytes, size: int) -> bool:
    """Whether a chunk's bytes have this digest, which are in memory then; False if the disk fails."""
    try:
        return _read(fd, digest, _scratch.of(size))
    except OSError:
        return False


def read_proven(
    fd: int, digest: bytes, size: int, on_error: Callable[[OSError], None] = lambda _: None
) -> bytearray | None:
    """Return the `size` bytes of a chunk, None if they do not have this digest.

    None as well if the disk cannot give them: damaged, whatever the reason, which `on_error` is told.
    """
    data = bytearray(size)
    try:
        return data if _read(fd, digest, memoryview(data)) else None
    except OSError as error:
        on_error(error)
        return None


def _read(fd: int, digest: bytes, buffer: memoryview) -> bool:
    """Read a chunk through the page cache; whether it has this digest."""
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        if _fill(fd, buffer, FIRST_BYTES) == len(buffer) and digest_of(buffer) == digest:
            return True
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)
    return False


def disk_holds(fd: int, digest: bytes, size: int) -> bool:
    """Whether the disk itself holds a chunk's bytes, whatever is in memory; False if it fails.

    Read round the page cache, which is neither believed nor disturbed.  A file system without such
    reads is believed what it has in memory, and what it has not is taken out again.
    """
    try:
        # Another open file: the flag belongs to it, and not to the descriptor.
        direct = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
    except OSError:
        return _memory_holds(fd, digest, size)
    try:
        # O_DIRECT asks for whole pages; anonymous memory begins at one.
        # One byte more, so that a file that is too long shows.
        pages = -(-(size + 1) // mmap.PAGESIZE)
        with mmap.mmap(-1, pages * mmap.PAGESIZE) as buffer, memoryview(buffer) as view:
            return _fill(direct, view) == size and digest_of(view[:size]) == digest
    except OSError:
        return False
    finally:
        os.close(direct)


def _memory_holds(fd: int, digest: bytes, size: int) -> bool:
    was_there = resident(fd, 0, size)
    held = prove(fd, digest, size)
    if not was_there:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    return held


def _fill(fd: int, buffer: memoryview, first_bytes: int | None = None) -> int:
    """Read from a file's start until the buffer is full or the file ends; return the bytes read."""
    position, stop = 0, first_bytes
    while position < len(buffer) and (count := os.preadv(fd, [buffer[position:stop]], position)):
        position, stop = position + count, None
    return position
