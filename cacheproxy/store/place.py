"""Looks at the place of a cache: whether it is still there, what is free, whether it works.

Blocking, and perhaps for ever: called in a thread that nothing else needs.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from cacheproxy.core.health import Fault
from cacheproxy.errors import NO_SPACE
from cacheproxy.store.tree import Tree, temporary_name

TRIAL_BYTES = 1 << 20  # written and read back; as much as a usual chunk

_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ENODEV, errno.ENOTCONN)


@dataclass(frozen=True, slots=True)
class Space:
    """What a file system has left for us."""

    free_bytes: int
    free_inodes: int | None  # None: it does not count them


@dataclass(frozen=True, slots=True)
class Sight:
    """What a look has found; `fault` None: all is well."""

    fault: Fault | None
    space: Space | None = None
    replaced: bool = False  # another cache could be opened there
    cut: bool = False  # the index is shorter than it was


@dataclass(frozen=True, slots=True)
class _Identity:
    device: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> _Identity:
        status = path.stat()
        return cls(status.st_dev, status.st_ino)


class Place:
    """The paths of one open cache directory, and what they led to when it was opened."""

    def __init__(self, tree: Tree) -> None:
        """Remember; OSError if something is not there."""
        self._tree = tree
        self._index = tree.index / "data.mdb"
        self._index_bytes = 0
        self._top = _Identity.of(tree.directory)
        self._parts = {
            path: _Identity.of(path)
            for path in (tree.marker, tree.chunks, tree.staging, self._index)
        }

    def look(self, *, trial: bool) -> Sight:
        """Look; with a trial also write something and read it back.  Raises nothing."""
        try:
            moved = self._look_for_it()
            if moved is not None:
                return moved
            size = self._index.stat().st_size
            cut, self._index_bytes = size < self._index_bytes, size
            space = self._space()
            return Sight(self._try() if trial else None, space, cut=cut)
        except OSError as error:
            return Sight(_fault(error))

    def _look_for_it(self) -> Sight | None:
        """Tell what is wrong with the directory itself; None: it is the one that was opened."""
        try:
            top = _Identity.of(self._tree.directory)
        except (FileNotFoundError, NotADirectoryError):
            return Sight(Fault.GONE)
        if top != self._top:
            # On another device without a cache: most likely its file system is not mounted.
            ours = top.device == self._top.device or self._tree.marker.exists()
            return Sight(Fault.GONE, replaced=ours)
        for path, identity in self._parts.items():
            try:
                same = _Identity.of(path) == identity
            except (FileNotFoundError, NotADirectoryError):
                same = False
            if not same:
                return Sight(Fault.GONE, replaced=True)
        return None

    def _space(self) -> Space:
        status = os.statvfs(self._tree.directory)
        # 0 inodes in all: a file system that makes them as it needs them (btrfs).
        inodes = status.f_favail if status.f_files else None
        return Space(status.f_bavail * status.f_frsize, inodes)

    def _try(self) -> Fault | None:
        """Write as much as a chunk to the disk itself and read it back from there."""
        data = os.urandom(TRIAL_BYTES)
        try:
            fd = self._open_nameless()
            try:
                written = 0
                while written < len(data):
                    written += os.write(fd, memoryview(data)[written:])
                os.fsync(fd)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                return None if os.pread(fd, len(data), 0) == data else Fault.ERROR
            finally:
                os.close(fd)
        except OSError as error:
            return _fault(error)

    def _open_nameless(self) -> int:
        staging = self._tree.staging
        if self._tree.unnamed_files:
            return os.open(staging, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
        path = staging / temporary_name()
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        path.unlink()
        return fd


def _fault(error: OSError) -> Fault:
    if error.errno in NO_SPACE:
        return Fault.FULL
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return Fault.READ_ONLY
    return Fault.GONE if error.errno in _GONE else Fault.ERROR
