"""What disks and people do to chunk files, through the file system and below it.

    async with rotting_disk(tmp_path) as disk:
        path = disk.path / "file"
        disk.damage(path, random.Random(1))     # the file system does not notice

Everything random comes from the caller, so that it can be repeated.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import shutil
import struct
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from backends.residency import resident
from harness.images import run
from harness.waiting import until

BLOCK = 4096
FIBMAP = 1  # <linux/fs.h>: the block of the device that holds a block of the file
DISK_BYTES = 3 << 30  # most of it sparse: a cache leaves room to others


def rot(path: Path, position: int | None = None) -> None:
    """Flip a bit as a disk does: size and mtime stay, though not the ctime."""
    path.chmod(0o640)
    before = path.stat()
    at = before.st_size // 2 if position is None else position
    fd = os.open(path, os.O_RDWR)
    try:
        (byte,) = os.pread(fd, 1, at)
        os.pwrite(fd, bytes([byte ^ 1]), at)
        os.fsync(fd)
        os.utime(fd, ns=(before.st_atime_ns, before.st_mtime_ns))
    finally:
        os.close(fd)


def overwrite(path: Path) -> None:
    """Write zeros over all of a file."""
    path.chmod(0o640)
    fd = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(fd, bytes(os.fstat(fd).st_size), 0)
    finally:
        os.close(fd)


def make_cold(path: Path) -> None:
    """Take a file's pages out of memory."""
    fd = os.open(path, os.O_RDONLY)
    try:
        if not _forget(fd):
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


def _forget(fd: int) -> bool:
    """Take a file's pages out of memory; False if the first one stays."""
    os.fsync(fd)  # what is not on the disk yet stays
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    return not resident(fd, 0, 1)


# --- through the file system ----------------------------------------------------------------------


def _flip(path: Path, choice: random.Random) -> None:
    rot(path, choice.randrange(path.stat().st_size))


def _cut(path: Path, choice: random.Random) -> None:
    os.truncate(path, choice.randrange(path.stat().st_size))


def _extend(path: Path, choice: random.Random) -> None:
    os.truncate(path, path.stat().st_size + choice.randint(1, 100_000))


def _garble(path: Path, choice: random.Random) -> None:
    size = path.stat().st_size
    length = choice.randint(16, size)
    with path.open("r+b") as file:
        file.seek(choice.randint(0, size - length))
        file.write(choice.randbytes(length))


def _blank(path: Path, choice: random.Random) -> None:
    size = path.stat().st_size
    length = choice.randint(16, size)
    with path.open("r+b") as file:
        file.seek(choice.randint(0, size - length))
        file.write(bytes(length))


def _replace(path: Path, choice: random.Random) -> None:
    other = path.with_name("other")
    other.write_bytes(choice.randbytes(path.stat().st_size))
    other.rename(path)  # in one step: in between it might be healed, and be damaged twice


def _delete(path: Path, _: random.Random) -> None:
    path.unlink()


THROUGH: Sequence[Callable[[Path, random.Random], None]] = (
    *(_flip, _cut, _extend, _garble, _blank, _replace, _delete),
)


def damage(path: Path, choice: random.Random) -> str:
    """Do something to a file; returns what."""
    path.chmod(0o640)
    kind = choice.choice(THROUGH)
    kind(path, choice)
    return kind.__name__.strip("_")


# --- below it -------------------------------------------------------------------------------------


class RottingDisk:
    """A mounted ext4 whose disk is a file that can be written to behind its back."""

    def __init__(self, path: Path, image: int) -> None:
        self.path = path
        self._image = image

    def damage(self, path: Path, choice: random.Random) -> str:
        """Change a file's bytes on the disk only, and have the page cache forget the file."""
        fd = os.open(path, os.O_RDONLY)  # so that its blocks stay its own
        try:
            os.fsync(fd)
            size = os.fstat(fd).st_size
            kind = choice.choice(("flip", "garble", "blank", "torn"))
            count = -(-size // BLOCK)
            first = choice.randrange(count)
            blocks = range(first, count) if kind == "torn" else range(first, first + 1)
            for block in blocks:
                self._write(fd, block, min(BLOCK, size - block * BLOCK), kind, choice)
            # A reader may have some of its pages at hand, which then stay for the moment.
            until("the pages to be forgotten", lambda: _forget(fd))
        finally:
            os.close(fd)
        return kind

    def _write(self, fd: int, block: int, length: int, kind: str, choice: random.Random) -> None:
        (place,) = struct.unpack("I", fcntl.ioctl(fd, FIBMAP, struct.pack("I", block)))
        assert place, "a hole"
        before = os.pread(self._image, length, place * BLOCK)
        assert before == os.pread(fd, length, block * BLOCK), "not the block that it should be"
        if kind == "flip":
            at = choice.randrange(length)
            after = (
                before[:at] + bytes([before[at] ^ (1 << choice.randrange(8))]) + before[at + 1 :]
            )
        else:
            after = choice.randbytes(length) if kind == "garble" else bytes(length)
        os.pwrite(self._image, after, place * BLOCK)


@asynccontextmanager
async def rotting_disk(directory: Path) -> AsyncIterator[RottingDisk]:
    """Make and mount one below `directory`; at the end nothing of it is left."""
    context = _rotting_disk(directory)
    disk = await asyncio.to_thread(context.__enter__)
    try:
        yield disk
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)


@contextmanager
def _rotting_disk(directory: Path) -> Iterator[RottingDisk]:
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    if shutil.which("mkfs.ext4", path="/usr/sbin:/sbin:/usr/bin") is None:
        pytest.skip("there is no mkfs.ext4: install e2fsprogs")
    image, path = directory / "disk.img", directory / "disk"
    path.mkdir()
    with image.open("wb") as file:
        file.truncate(DISK_BYTES)
    run("mkfs.ext4", "-q", "-b", str(BLOCK), "-m", "0", image)
    try:
        run("mount", "-o", "loop", image, path)
    except AssertionError as error:
        pytest.skip(f"nothing can be mounted here: {error}")
    fd = os.open(image, os.O_RDWR)
    try:
        yield RottingDisk(path, fd)
    finally:
        os.close(fd)
        run("umount", path)
