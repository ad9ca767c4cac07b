"""The tree of a cache directory, and whose it is.  Blocking: called in threads only.

    <directory>/
        cacheproxy.store          "cacheproxy chunk store 1": whose tree this is, in which version;
                                  its flock is held by the one keeper that uses it
        chunks/ab/<64 hex>        a chunk, named by its BLAKE3-256; never written once it has its name
        quarantine/<64 hex>.<n>   chunks found damaged, oldest removed first; nobody reads them
        index/                    LMDB (see index.py)
        pins                      the images that an operator wants kept (see pintext.py)
        staging/<32 hex>.part     pins being written, and chunks where there is no O_TMPFILE

Version 1.  Anything else in the directory belongs to others (it may be Glance's old cache) and is
neither read, counted nor touched.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from cacheproxy.errors import NO_SPACE, ConfigError, DiskFullError, StorageError

TREE_VERSION = 1
PINS = "pins"
PREFIXES = 256  # directories under chunks/, each made with its first chunk

_MARKER = "cacheproxy.store"
_MARKER_TEXT = re.compile(rb"cacheproxy chunk store ([0-9]{1,9})\n")
_FOLDERS = ("chunks", "quarantine", "index", "staging")
_STAGING_NAME = re.compile(r"[0-9a-f]{32}\.part")


def temporary_name() -> str:
    """Return a name for a file in staging."""
    return f"{secrets.token_hex(16)}.part"


class Tree:
    """A locked cache directory, complete; `release` unlocks it."""

    def __init__(self, directory: Path, marker: int, *, fresh: bool, as_it_is: bool) -> None:
        self.fresh = fresh  # made just now
        self.directory = directory
        self.marker = directory / _MARKER
        self.pins = directory / PINS
        self._marker = marker
        self.chunks, self.quarantine, self.index, self.staging = (
            directory / name for name in _FOLDERS
        )
        self.unnamed_files = False
        if as_it_is:
            return
        for name in _FOLDERS:
            (directory / name).mkdir(mode=0o750, exist_ok=True)
        for path in self.staging.iterdir():  # what an earlier keeper was writing when it ended
            if _STAGING_NAME.fullmatch(path.name):
                path.unlink(missing_ok=True)
        self.unnamed_files = _has_unnamed_files(self.staging)

    @classmethod
    def take(cls, directory: Path, device: int | None = None) -> Tree:
        """Lock the directory and make what is missing.

        With a `device` the directory itself must be there, and on that device unless it holds a
        cache already: else its file system is most likely not mounted, and another one would be
        filled.
        Raises `ConfigError` if it cannot be written, is in use, is of another version, or holds
        somebody else's files under our names; `StorageError` if the disk fails at the moment.
        """
        try:
            if device is None:
                directory.mkdir(mode=0o750, parents=True, exist_ok=True)
            elif directory.stat().st_dev != device and not (directory / _MARKER).exists():
                raise StorageError(f"[cache] directory {directory} is on another file system now")
            marker = os.open(directory / _MARKER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise cls.translated(directory, error) from error
        try:
            return cls(directory, marker, fresh=_claim(directory, marker), as_it_is=False)
        except OSError as error:
            os.close(marker)
            raise cls.translated(directory, error) from error
        except BaseException:
            os.close(marker)
            raise

    @classmethod
    def examine(cls, directory: Path) -> Tree:
        """Lock a tree that is there already, and change nothing in it; raises what `take` does."""
        try:
            marker = os.open(directory / _MARKER, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise ConfigError(f"[cache] directory {directory} holds no chunk store") from error
        except OSError as error:
            raise cls.translated(directory, error) from error
        try:
            _check_version(directory, _lock(directory, marker))
            return cls(directory, marker, fresh=False, as_it_is=True)
        except BaseException:
            os.close(marker)
            raise

    def release(self) -> None:
        """Unlock the directory."""
        os.close(self._marker)

    @staticmethod
    def translated(directory: Path, error: OSError) -> ConfigError | StorageError:
        """Tell what only the operator can mend from what a disk may mend by itself."""
        told = f"[cache] directory {directory} cannot be used ({error.strerror})"
        if error.errno in NO_SPACE:
            return DiskFullError(told)
        if error.errno in (errno.EIO, errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.ETIMEDOUT):
            return StorageError(told)
        return ConfigError(f"{told}: make it writable for this user, or name another directory")

    @property
    def fixed(self) -> Iterator[Path]:
        """What takes space beside chunks, their directories, the quarantine, index and pins."""
        yield self.directory
        for name in (_MARKER, *_FOLDERS, "index/lock.mdb"):
            yield self.directory / name


def _lock(directory: Path, marker: int) -> bytes:
    """Lock the tree; returns what the marker says."""
    try:
        fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigError(
            f"[cache] directory {directory} is in use by another cacheproxy:"
            " stop that one, or name another directory"
        ) from error
    return os.pread(marker, 64, 0)


def _claim(directory: Path, marker: int) -> bool:
    """Lock the tree and check its version; True if it is to be made."""
    text = _lock(directory, marker)
    if not text:
        taken = [name for name in (*_FOLDERS, PINS) if os.path.lexists(directory / name)]
        if taken:
            raise ConfigError(
                f"[cache] directory {directory} holds {taken[0]!r}, which is not of cacheproxy:"
                " name another directory"
            )
        os.pwrite(marker, f"cacheproxy chunk store {TREE_VERSION}\n".encode(), 0)
        # The one thing that is synced: without it the tree would be a stranger's after a power cut.
        os.fsync(marker)
        folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return True
    _check_version(directory, text)
    return False


def _check_version(directory: Path, text: bytes) -> None:
    match = _MARKER_TEXT.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"[cache] directory {directory}: {_MARKER} is not of cacheproxy: name another directory"
        )
    if int(match[1]) != TREE_VERSION:
        raise ConfigError(
            f"[cache] directory {directory} is of version {int(match[1])}, this program knows"
            f" {TREE_VERSION}: empty the directory, or name another one"
        )


def _has_unnamed_files(staging: Path) -> bool:
    """Whether the file system makes files without a name and names them later; tried for real.

    Raises `OSError` if the directory cannot be written at all.
    """
    name = temporary_name()
    try:
        fd = os.open(staging, os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in NO_SPACE:
            return True  # as on any common one; what is stored already can be served meanwhile
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        (staging / name).touch(0o600)
        (staging / name).unlink()
        return False
    folder = os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Only with a directory's descriptor does os.link follow the link to the open file.
        os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=folder, follow_symlinks=True)
    except OSError:
        return False
    else:
        os.unlink(name, dir_fd=folder)
        return True
    finally:
        os.close(folder)
        os.close(fd)
