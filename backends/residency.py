"""Whether a part of a file is in the page cache, asked without having it read.

Both ways tell the truth of a file only to its owner or root, which is who may open it `O_NOATIME`.
`preadv2(RWF_NOWAIT)` alone cannot tell: where pages are absent it says so, but has the kernel read
them ahead, and the next one finds them there, straight from the disk.  cachestat(2) (Linux 6.5) and
mincore(2) only look.  The first also counts pages that are still on their way from the disk: it is
for those who know that nobody is reading.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import sys
import threading

_SYS_CACHESTAT = 451  # on every architecture
# <linux/magic.h>: ext2 to 4, XFS, Btrfs, F2FS, tmpfs.
_LOCAL = frozenset({0xEF53, 0x58465342, 0x9123683E, 0xF2F52010, 0x01021994})
_STATFS_BYTES = 256  # more than any struct statfs has
_MAP_FAILED = ctypes.c_void_p(-1).value

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.argtypes = (
    *(ctypes.c_long, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint),
)
_libc.syscall.restype = ctypes.c_long
_libc.mmap.argtypes = (
    *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long),
)
_libc.mmap.restype = ctypes.c_void_p
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_libc.fstatfs.argtypes = (ctypes.c_int, ctypes.c_char_p)
_libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)


class _Question(threading.local):
    """What a thread asks cachestat with, made once: structures would cost more than the call."""

    def __init__(self) -> None:
        # struct cachestat_range: offset, length; struct cachestat: cached and four more.
        self.words = (ctypes.c_uint64 * 7)()
        self.range = ctypes.c_void_p(ctypes.addressof(self.words))
        self.counts = ctypes.c_void_p(ctypes.addressof(self.words) + 16)


_question = _Question()
_number = ctypes.c_long(_SYS_CACHESTAT)
# It looks and does not wait: the interpreter is kept meanwhile, since to get it back from busy threads
# takes longer.  Its errors are told in `errno`, which nobody asks for.
_cachestat = ctypes.PyDLL(None).syscall


def _pages(position: int, size: int) -> tuple[int, int]:
    """Return where the first page begins, and the number of pages."""
    start = position - position % mmap.PAGESIZE
    return start, -(-(position + size - start) // mmap.PAGESIZE)


def by_cachestat(fd: int, position: int, size: int) -> bool:
    """Ask how many pages there are; False if the file's owner is another user."""
    start, pages = _pages(position, size)
    question = _question
    words = question.words
    words[0], words[1] = start, pages * mmap.PAGESIZE
    failed = _cachestat(_number, fd, question.range, question.counts, 0)
    return not failed and words[2] >= pages


def by_mincore(fd: int, position: int, size: int) -> bool:
    """Map the part, without touching it, and ask for each page, whether it has come."""
    start, pages = _pages(position, size)
    length = position + size - start
    address = _libc.mmap(None, length, mmap.PROT_READ, mmap.MAP_SHARED, fd, start)
    if address == _MAP_FAILED:
        return False
    try:
        told = ctypes.create_string_buffer(pages)  # 1 where a page has come
        failed = _libc.mincore(address, length, told)
        return failed == 0 and not told.raw.count(0)
    finally:
        _libc.munmap(address, length)


def is_local(fd: int) -> bool:
    """Whether a file's pages in memory are given without a question to anybody.

    NFS and FUSE may ask their server first whether the pages still hold, and wait for it.
    """
    told = ctypes.create_string_buffer(_STATFS_BYTES)
    failed = _libc.fstatfs(fd, told)
    kind = int.from_bytes(told.raw[: ctypes.sizeof(ctypes.c_long)], sys.byteorder)
    return not failed and kind & 0xFFFFFFFF in _LOCAL


def _has_cachestat() -> bool:
    ctypes.set_errno(0)
    _libc.syscall(_SYS_CACHESTAT, 0xFFFFFFFF, None, None, 0)
    return ctypes.get_errno() == errno.EBADF


resident = by_cachestat if _has_cachestat() else by_mincore
