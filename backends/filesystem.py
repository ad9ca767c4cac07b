"""Glance's `file` store: one file per object, `DATADIR/NAME`, `file:///DATADIR/NAME`.

Nothing outside of the data directories is ever opened: a location's directory must *be* one of
them (however it is spelled), and its last part must be a plain file, not a link.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from backends.base import Stat, WriteResult
from backends.errors import DeniedError, DuplicateError, InvalidError, NoSpaceError
from backends.filesystem_errors import translated
from backends.location import Location, checked_name
from backends.newfile import NewFile
from backends.openfile import OpenFile, OpenFileStream, plain_size
from backends.options import DataDirectory, FilesystemOptions
from backends.spans import Span
from backends.tally import Tally
from backends.threads import Lane, Threads

_SCHEMES = ("file", "filesystem")


class FilesystemStore:
    """A `PruneStore` in one or several data directories."""

    def __init__(self, options: FilesystemOptions) -> None:
        if not options.directories:
            raise ValueError("a file store needs a data directory")
        for directory in options.directories:
            if not directory.path.is_absolute():
                raise ValueError(f"a data directory must be an absolute path: {directory.path}")
        self._options = options
        self._threads = Threads("file-store", options.threads, options.hang_seconds)

    def __repr__(self) -> str:
        shown = ", ".join(str(directory.path) for directory in self._options.directories)
        return f"FilesystemStore({shown})"

    async def stat(self, location: Location) -> Stat:
        """Look at a file."""
        async with self._opened(location) as file:
            return Stat(file.size)

    @asynccontextmanager
    async def read(
        self, location: Location, span: Span | None = None
    ) -> AsyncIterator[OpenFileStream]:
        """Read a file as it was when it was opened, also if it is deleted meanwhile."""
        async with self._opened(location) as file:
            whole = Span(0, file.size)
            clipped = whole if span is None else span.clip(whole)
            yield OpenFileStream(file, clipped, self._options.piece_bytes)

    @asynccontextmanager
    async def create(self, name: str, size: int | None = None) -> AsyncIterator[_FileWriter]:
        """Begin a file; the directory is chosen now."""
        checked_name(name)
        lane = self._threads.lane()
        with translated(name):
            directory = await lane.run(partial(self._choose, name, size or 0))
        file = NewFile(
            directory.path,
            name,
            permissions=self._options.permissions,
            sync_bytes=self._options.sync_bytes,
        )
        try:
            with translated(directory.path):
                await lane.run(file.open)
            yield _FileWriter(lane, file, directory.path / name, Tally(name, size))
        finally:
            with translated(directory.path / name):
                await lane.finish(file.close)

    async def delete(self, location: Location) -> None:
        """Delete a file; it is gone for good, also after a power cut."""
        with translated(location):
            await self._threads.lane().run(partial(self._unlink, location))

    async def aclose(self) -> None:
        """End the threads; calls that hang are left alone."""
        self._threads.close()

    @asynccontextmanager
    async def _opened(self, location: Location) -> AsyncIterator[OpenFile]:
        file = OpenFile(location, self._threads.lane())
        try:
            with translated(location):
                await file.lane.run(partial(file.open, self._locate))
            yield file
        finally:
            await file.lane.finish(file.close)

    # The rest blocks, and runs in threads.

    def _locate(self, location: Location) -> tuple[int, str]:
        """Return a descriptor of the location's data directory, and the file's name in it.

        Glance puts the path into the URI as it is, without quoting.
        """
        scheme, _, path = location.uri.partition("://")
        parent, _, name = path.rpartition("/")
        if scheme.lower() not in _SCHEMES or not path.startswith("/"):
            raise InvalidError(f"{location}: not a location of a file store")
        if "\0" in parent:
            raise InvalidError(f"{location}: not a path")
        checked_name(name)
        found = os.path.realpath(parent)
        for directory in self._options.directories:
            if os.path.realpath(directory.path) == found:
                return os.open(found, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), name
        raise DeniedError(f"{location}: not in a data directory")

    def _choose(self, name: str, size: int) -> DataDirectory:
        """Return where a new file goes: the highest priority with room, then the emptiest."""
        directories = self._options.directories
        for directory in directories:
            if os.path.lexists(directory.path / name):
                raise DuplicateError(f"{directory.path / name}: is there already")
        return directories[0] if len(directories) == 1 else _roomiest(directories, size)

    def _unlink(self, location: Location) -> None:
        directory, name = self._locate(location)
        try:
            plain_size(location, os.stat(name, dir_fd=directory, follow_symlinks=False))
            os.unlink(name, dir_fd=directory)
            os.fsync(directory)
        finally:
            os.close(directory)


class _FileWriter:
    def __init__(self, lane: Lane, file: NewFile, path: Path, tally: Tally) -> None:
        self._lane = lane
        self._file = file
        self._path = path
        self._tally = tally

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data).cast("B")
        self._tally.add(view.nbytes)
        with translated(self._path):
            await self._lane.run(partial(self._file.write, view))

    async def commit(self) -> WriteResult:
        self._tally.finish()
        with translated(self._path):
            await self._lane.run(partial(self._file.publish, self._tally.written))
        self._file.keep()
        return WriteResult(Location(f"file://{self._path}"), self._tally.written)


def _roomiest(directories: Sequence[DataDirectory], size: int) -> DataDirectory:
    """Return the directory with the highest priority, then the most room, for `size` bytes."""
    rooms: list[tuple[int, int, DataDirectory]] = []
    for directory in directories:
        directory.path.mkdir(parents=True, exist_ok=True)
        status = os.statvfs(directory.path)
        free_bytes = status.f_bavail * status.f_frsize
        if free_bytes >= size:
            rooms.append((directory.priority, free_bytes, directory))
    if not rooms:
        raise NoSpaceError(f"no data directory has room for {size} bytes")
    return max(rooms, key=lambda room: room[:2])[2]
