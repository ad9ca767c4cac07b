"""Whether a part of a file is in the page cache, asked without having it read.

`preadv2(RWF_NOWAIT)` alone cannot tell: where pages are absent it says so, but has the kernel read
them ahead, and the next one finds them there, straight from the disk.  cachestat(2) (Linux 6.5) and
mincore(2) only look.
"""

from __future__ import annotations

import ctypes
import errno
import mmap

_SYS_CACHESTAT = 451  # on every architecture
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
_libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)


class _Range(ctypes.Structure):
    _fields_ = (("offset", ctypes.c_uint64), ("length", ctypes.c_uint64))


class _Counts(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in ("cached", "dirty", "writeback", "evicted", "recently_evicted")
    )


def _pages(position: int, size: int) -> tuple[int, int]:
    """Return where the first page begins, and the number of pages."""
    start = position - position % mmap.PAGESIZE
    return start, -(-(position + size - start) // mmap.PAGESIZE)


def by_cachestat(fd: int, position: int, size: int) -> bool:
    """Ask how many pages there are; False if the file's owner is another user."""
    start, pages = _pages(position, size)
    wanted, counts = _Range(start, pages * mmap.PAGESIZE), _Counts()
    failed = _libc.syscall(
        _SYS_CACHESTAT, fd, ctypes.addressof(wanted), ctypes.addressof(counts), 0
    )
    return bool(failed == 0 and counts.cached >= pages)


def by_mincore(fd: int, position: int, size: int) -> bool:
    """Map the part, without touching it, and ask for each page."""
    start, pages = _pages(position, size)
    length = position + size - start
    address = _libc.mmap(None, length, mmap.PROT_READ, mmap.MAP_SHARED, fd, start)
    if address == _MAP_FAILED:
        return False
    try:
        told = ctypes.create_string_buffer(pages)
        failed = _libc.mincore(address, length, told)
        return failed == 0 and all(page & 1 for page in told.raw)
    finally:
        _libc.munmap(address, length)


def _has_cachestat() -> bool:
    ctypes.set_errno(0)
    _libc.syscall(_SYS_CACHESTAT, 0xFFFFFFFF, None, None, 0)
    return ctypes.get_errno() == errno.EBADF


resident = by_cachestat if _has_cachestat() else by_mincore
