"""A file in the making, published whole and durable under its name, or not at all.

All calls block, and run one at a time, in this order:

    open → write* → publish → keep → close      the file is there
    open → write* → publish →        close      it is withdrawn, unless its name is another's now
    open → write* →                  close      nothing was ever there

Durability: the bytes are synced before the name exists, and the directory after it.  They are on
their way to the disk as they come, so that this waits for the last of them only.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from backends.errors import InvalidError
from backends.writeback import begin_writeback

_log = logging.getLogger(__name__)

_CLOSED = -1
_RANDOM_BYTES = 8  # in a temporary name, as hex
WRITEBACK_BYTES = 8 << 20  # between two times that the disk is given what came
THIN_BYTES = 64 << 10  # zeros from one multiple of that to the next become a hole
_ZEROS = bytes(THIN_BYTES)
_SHOWN_OF_NAME = 40  # characters; so that the temporary name stays below 255 bytes
# What open() says of O_TMPFILE where the file system (NFS, some FUSE) has no nameless files.
_NO_NAMELESS = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL})


class NewFile:
    """A temporary file in the directory where it will be published.

    It has no name until then, so that a crash leaves nothing; where the file system cannot do
    that, it is called `.NAME.RANDOM.part`.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        *,
        permissions: int | None,
        sync_bytes: int,
        thin: bool = False,
    ) -> None:
        self._path = directory
        self._name = name
        self._permissions = permissions
        self._sync_bytes = sync_bytes
        self._thin = thin
        self._written = 0
        self._unsynced = 0
        self._begun = 0  # up to where it is on its way to the disk
        self._directory = _CLOSED
        self._file = _CLOSED
        self._temporary: str | None = None
        self._published = False
        self._kept = False

    def open(self) -> None:
        """Create the file, and its directory where that is missing."""
        self._path.mkdir(parents=True, exist_ok=True)
        self._directory = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._let_through()
        try:
            flags = os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC
            self._file = os.open(".", flags, 0o666, dir_fd=self._directory)
        except OSError as error:
            if error.errno not in _NO_NAMELESS:
                raise
            self._open_named()

    def _open_named(self) -> None:
        random = secrets.token_hex(_RANDOM_BYTES)
        name = f".{self._name[:_SHOWN_OF_NAME]}.{random}.part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.open(name, flags, 0o666, dir_fd=self._directory)
        self._temporary = name

    def _let_through(self) -> None:
        """Let those into the directory who are to read the file, as Glance does."""
        wanted = 0
        if self._permissions is not None:
            wanted |= stat.S_IXOTH if self._permissions & stat.S_IRWXO else 0
            wanted |= stat.S_IXGRP if self._permissions & stat.S_IRWXG else 0
        mode = stat.S_IMODE(os.fstat(self._directory).st_mode)
        if wanted & ~mode:
            try:
                os.fchmod(self._directory, mode | wanted)
            except OSError as error:
                _log.warning(
                    "%s cannot be opened to readers of its files: %s", self._path, error.strerror
                )

    def write(self, data: memoryview) -> None:
        """Append all of `data`; dirty pages are written back before they become too many."""
        for start, stop in _not_zero(data, self._written) if self._thin else [(0, data.nbytes)]:
            part, position = data[start:stop], self._written + start
            while part:
                count = os.pwrite(self._file, part, position)
                part, position = part[count:], position + count
            self._unsynced += stop - start
        self._written += data.nbytes
        if self._written - self._begun >= WRITEBACK_BYTES:
            begin_writeback(self._file, self._begun, self._written - self._begun)
            self._begun = self._written
        if self._unsynced >= self._sync_bytes:
            os.fdatasync(self._file)
            self._unsynced = 0

    def publish(self, size: int) -> None:
        """Give the file its name; FileExistsError if that is taken, InvalidError if bytes lack."""
        if self._thin and self._written == size:
            os.ftruncate(self._file, size)  # it may end with a hole
        found = min(os.fstat(self._file).st_size, self._written)
        if found != size:  # an earlier write failed in the middle
            raise InvalidError(f"{self._name}: {found} of {size} bytes could be written")
        if self._permissions is not None:
            os.fchmod(self._file, self._permissions)
        os.fsync(self._file)
        if self._temporary is None:
            source = f"/proc/self/fd/{self._file}"
            os.link(source, self._name, dst_dir_fd=self._directory, follow_symlinks=True)
        else:
            os.link(
                self._temporary,
                self._name,
                src_dir_fd=self._directory,
                dst_dir_fd=self._directory,
            )
        self._published = True
        os.fsync(self._directory)

    def keep(self) -> None:
        """Let the file stay: it is noted that it is there.  Does not block."""
        self._kept = True

    def close(self) -> None:
        """Give everything back; idempotent."""
        try:
            if self._temporary is not None:
                with suppress(FileNotFoundError):  # it was taken for a dead one's
                    os.unlink(self._temporary, dir_fd=self._directory)
                self._temporary = None
            if self._published and not self._kept and self._is_ours():
                os.unlink(self._name, dir_fd=self._directory)
                os.fsync(self._directory)
                self._published = False
        finally:
            for descriptor in (self._file, self._directory):
                if descriptor != _CLOSED:
                    os.close(descriptor)
            self._file = self._directory = _CLOSED

    def _is_ours(self) -> bool:
        try:
            there = os.stat(self._name, dir_fd=self._directory, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(self._file))


def temporary_names(name: str) -> re.Pattern[str]:
    """Return what the temporary names of a file in the making match, all of them."""
    shown = re.escape(name[:_SHOWN_OF_NAME])
    return re.compile(rf"\.{shown}\.[0-9a-f]{{{2 * _RANDOM_BYTES}}}\.part")


def _not_zero(data: memoryview, position: int) -> Iterator[tuple[int, int]]:
    """Give the parts of `data`, at that position in the file, that are not zeros; as long as can be."""
    begin = 0  # of a part that is to be written
    start = 0
    while start < data.nbytes:
        stop = min(start + THIN_BYTES - (position + start) % THIN_BYTES, data.nbytes)
        # The first byte tells of most blocks.
        if not data[start] and data[start:stop].tobytes() == _ZEROS[: stop - start]:
            if begin < start:
                yield begin, start
            begin = stop
        start = stop
    if begin < data.nbytes:
        yield begin, data.nbytes
