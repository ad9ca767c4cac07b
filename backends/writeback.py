"""Having what was written to a file go to its disk soon, so that syncing it later finds little to do."""

from __future__ import annotations

import ctypes

_SYNC_FILE_RANGE_WRITE = 2  # <linux/fs.h>: begin, and wait for nothing

_begin = ctypes.CDLL(None).sync_file_range
_begin.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


def begin_writeback(fd: int, position: int, size: int) -> None:
    """Begin to write a part of a file to its disk: sync_file_range(2).

    No promise, and no error: a file system that cannot leaves all to fsync(2), and a disk that
    fails tells it there.  May block while the disk's queue is full.
    """
    _begin(fd, position, size, _SYNC_FILE_RANGE_WRITE)
