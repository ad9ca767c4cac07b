"""What disks and people do to chunk files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cacheproxy.store.residency import resident


def rot(path: Path, position: int | None = None) -> None:
    """Flip a bit as a disk does: size and mtime stay, though not the ctime."""
    before = path.stat()
    at = before.st_size // 2 if position is None else position
    fd = os.open(path, os.O_RDWR)
    try:
        (byte,) = os.pread(fd, 1, at)
        os.pwrite(fd, bytes([byte ^ 1]), at)
        os.fsync(fd)
    finally:
        os.close(fd)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def overwrite(path: Path) -> None:
    """Write zeros over all of a file."""
    fd = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(fd, bytes(os.fstat(fd).st_size), 0)
    finally:
        os.close(fd)


def make_cold(path: Path) -> None:
    """Take a file's pages out of memory."""
    fd = os.open(path, os.O_RDWR)
    try:
        os.fsync(fd)  # what is not on the disk yet stays
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        if resident(fd, 0, 1):
            pytest.skip("this file system keeps everything in memory: use one on a disk for /tmp")
    finally:
        os.close(fd)


def make_warm(path: Path, position: int, size: int) -> None:
    """Bring a part of a file into memory, and no more."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        os.pread(fd, size, position)
    finally:
        os.close(fd)
