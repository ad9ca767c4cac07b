"""Reads open chunk files without ever holding up the loop."""

from __future__ import annotations

import asyncio
import errno
import os

PIECE_BYTES = 256 << 10


class NotResidentError(Exception):
    """The bytes are not in the page cache: they must be read and hashed elsewhere."""


def read_resident(fd: int, size: int, position: int) -> memoryview:
    """Return up to `size` bytes that are in the page cache, at least one.

    NotResidentError where the disk would have to be asked, or a file system cannot tell.
    """
    buffer = bytearray(size)
    try:
        count = os.preadv(fd, [buffer], position, os.RWF_NOWAIT)
    except BlockingIOError:
        raise NotResidentError from None
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            raise NotResidentError from None
        raise
    if not count:
        raise NotResidentError  # shorter than proven: the keeper will find out
    return memoryview(buffer)[:count]


async def read_waiting(fd: int, size: int, position: int) -> bytes:
    """Return bytes in a thread, wherever they are; empty at the file's end."""
    # A duplicate, so that nobody closes the file under the thread if this wait is cancelled.
    copy = os.dup(fd)

    def read() -> bytes:
        try:
            return os.pread(copy, size, position)
        finally:
            os.close(copy)

    return await asyncio.to_thread(read)
