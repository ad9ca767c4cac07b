"""Glance's `file` store: one file per object, `DATADIR/NAME`, `file:///DATADIR/NAME`.

Nothing outside of the data directories is ever opened: a location's directory must *be* one of
them (however it is spelled), and its last part must be a plain file, not a link.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

from backends.base import Stat, Writer, WriteResult
from backends.file.directories import DataDirectories, OpenDirectory
from backends.file.errors import translated
from backends.file.newfile import NewFile, temporary_names
from backends.file.openfile import OpenFile, OpenFileStream, plain_size
from backends.location import Location, checked_name
from backends.options import FilesystemOptions
from backends.spans import Span
from backends.tally import Tally
from backends.threads import Lane


class FilesystemStore:
    """A `PruneStore` in one or several data directories."""

    def __init__(self, options: FilesystemOptions) -> None:
        self._options = options
        self._directories = DataDirectories(options)

    def __repr__(self) -> str:
        return f"FilesystemStore({self._directories})"

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
        directory = await self._directories.choose(name, size or 0)
        lane = directory.lane()
        path = directory.path / name
        file = NewFile(
            directory.path,
            name,
            permissions=self._options.permissions,
            sync_bytes=self._options.sync_bytes,
            thin=self._options.thin,
        )
        try:
            with translated(directory.path):
                await lane.run(file.open)
            yield _FileWriter(lane, file, path, Tally(name, size), self._metadata(path))
        finally:
            with translated(path):
                await lane.finish(file.close)

    async def require_unused(self, location: Location) -> None:
        """Let it go: nothing is told of who uses an object."""

    async def delete(self, location: Location) -> None:
        """Delete a file; it is gone for good, also after a power cut."""
        directory, name = await self._directories.find(location)
        with translated(location):
            await directory.lane().run(partial(_unlink, location, directory, name))

    async def clear(self, name: str) -> int:
        """Delete a file and the unfinished ones of that name, in whichever directory they are."""
        checked_name(name)
        removed = 0
        for directory in self._directories.all:
            with translated(directory.path):
                removed += await directory.lane().run(partial(_clear, directory.path, name))
        return removed

    async def aclose(self) -> None:
        """End the threads; calls that hang are left alone."""
        self._directories.close()

    @asynccontextmanager
    async def _opened(self, location: Location) -> AsyncIterator[OpenFile]:
        directory, name = await self._directories.find(location)
        file = OpenFile(location, directory.lane())
        try:
            with translated(location):
                await file.lane.run(partial(file.open, directory.descriptor, name))
            yield file
        finally:
            with translated(location):
                await file.lane.finish(file.close)

    def _metadata(self, path: Path) -> dict[str, str]:
        """Return what Glance tells Nova of a path: the first of the mount points that it is in."""
        for each in self._options.metadata:
            if str(path).startswith(each["mountpoint"]):
                return dict(each)
        return {}


def _unlink(location: Location, directory: OpenDirectory, name: str) -> None:
    """Delete a plain file, durably.  Blocks."""
    opened = directory.descriptor()
    try:
        plain_size(location, os.stat(name, dir_fd=opened, follow_symlinks=False))
        os.unlink(name, dir_fd=opened)
        os.fsync(opened)
    finally:
        os.close(opened)


def _clear(path: Path, name: str) -> int:
    """Delete plain files of a name, finished or not, durably; say how many.  Blocks."""
    try:
        opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    unfinished = temporary_names(name)
    try:
        with os.scandir(opened) as entries:
            found = [
                entry.name
                for entry in entries
                if (entry.name == name or unfinished.fullmatch(entry.name))
                and entry.is_file(follow_symlinks=False)
            ]
        for each in found:
            with suppress(FileNotFoundError):
                os.unlink(each, dir_fd=opened)
        if found:
            os.fsync(opened)
    finally:
        os.close(opened)
    return len(found)


class _FileWriter(Writer):
    def __init__(
        self, lane: Lane, file: NewFile, path: Path, tally: Tally, metadata: dict[str, str]
    ) -> None:
        self._lane = lane
        self._file = file
        self._path = path
        self._tally = tally
        self._metadata = metadata

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data).cast("B")
        self._tally.add(view.nbytes)
        with translated(self._path):
            await self._lane.run(partial(self._file.write, view))

    async def publish(self) -> WriteResult:
        self._tally.finish()
        with translated(self._path):
            await self._lane.run(partial(self._file.publish, self._tally.written))
        return WriteResult(Location(f"file://{self._path}"), self._tally.written, self._metadata)

    def keep(self) -> None:
        self._file.keep()
