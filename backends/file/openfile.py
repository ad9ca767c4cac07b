"""A file that is read: in threads, or sent from memory by whoever has a socket."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from functools import partial
from typing import Self

from backends.errors import DeniedError, InvalidError
from backends.file.errors import translated
from backends.keptfile import SENDABLE_BYTES, KeptFile
from backends.location import Location
from backends.residency import by_mincore, is_local
from backends.spans import Span
from backends.threads import Lane

_CLOSED = -1


class OpenFile:
    """A descriptor, and the lane that its calls take.  `open`, `read` and `close` block."""

    def __init__(self, location: Location, lane: Lane) -> None:
        self.location = location
        self.lane = lane
        self.size = 0
        self.descriptor = _CLOSED
        self._is_ours = False
        self._is_local = False

    def open(self, open_directory: Callable[[], int], name: str) -> None:
        """Open the file of that name in the directory whose descriptor `open_directory` returns."""
        directory = open_directory()
        try:
            self._open(directory, name)
        finally:
            os.close(directory)
        self.size = plain_size(self.location, os.fstat(self.descriptor))
        self._is_local = is_local(self.descriptor)

    def _open(self, directory: int, name: str) -> None:
        # O_NONBLOCK: a FIFO must not keep the thread until it is found not to be a file.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            # Noting the time of a read may wait for the disk's journal.
            self.descriptor = os.open(name, flags | os.O_NOATIME, dir_fd=directory)
            self._is_ours = True
        except PermissionError as error:
            if error.errno != errno.EPERM:
                raise
            self.descriptor = os.open(name, flags, dir_fd=directory)

    def read(self, count: int, position: int) -> bytes:
        """Read up to so many bytes."""
        return os.pread(self.descriptor, count, position)

    def in_memory(self, span: Span) -> bool:
        """Whether a part has come to memory, and is sent without a wait.  Does not block."""
        return (
            self._is_ours and self._is_local and by_mincore(self.descriptor, span.start, len(span))
        )

    def keep(self) -> KeptFile | None:
        """Return it with a descriptor of its own; None where memory does not tell what it has."""
        if not (self._is_ours and self._is_local):
            return None
        return KeptFile(os.dup(self.descriptor), self.size, self.lane.beside())

    def close(self) -> None:
        """Close it; idempotent."""
        if self.descriptor != _CLOSED:
            os.close(self.descriptor)
            self.descriptor = _CLOSED


class OpenFileStream:
    """A `FileStream` of one span of an open file."""

    version = None

    def __init__(self, file: OpenFile, span: Span, piece_bytes: int) -> None:
        self._file = file
        self._span = span
        self._piece_bytes = piece_bytes

    @property
    def size(self) -> int:
        """The file's size when it was opened."""
        return self._file.size

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not len(self._span):
            raise StopAsyncIteration
        count = min(len(self._span), self._piece_bytes)
        with translated(self._file.location):
            piece = await self._file.lane.run(partial(self._file.read, count, self._span.start))
        if not piece:
            raise InvalidError(f"{self._file.location}: became shorter while it was read")
        self.sent(len(piece))
        return piece

    def file(self) -> tuple[int, Span]:
        """Return the file, and what of it is in memory: as much as is looked for at once, or none."""
        start = self._span.start
        near = Span(start, min(start + SENDABLE_BYTES, self._span.stop))
        if not len(near) or not self._file.in_memory(near):
            near = Span(start, start)
        return self._file.descriptor, near

    def keep(self) -> KeptFile | None:
        """Return the file, to be kept open."""
        return self._file.keep()

    def sent(self, count: int) -> None:
        """Go on behind the next `count` bytes."""
        self._span = Span(self._span.start + count, self._span.stop)


def plain_size(location: Location, status: os.stat_result) -> int:
    """Return the size of a plain file; DeniedError for a link, directory, device or pipe."""
    if not stat.S_ISREG(status.st_mode):
        raise DeniedError(f"{location}: not a plain file")
    return status.st_size
