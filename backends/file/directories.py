"""The data directories of a file store, each with threads of its own: one that hangs stops no other."""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from backends.errors import (
    DeniedError,
    DuplicateError,
    InvalidError,
    NoSpaceError,
    StoreError,
    UnavailableError,
)
from backends.file.errors import translated
from backends.location import Location, checked_name
from backends.options import DataDirectory, FilesystemOptions
from backends.threads import Lane, Threads

_log = logging.getLogger(__name__)

_SCHEMES = ("file", "filesystem")


class OpenDirectory:
    """One data directory, and the threads of all calls in it."""

    def __init__(self, directory: DataDirectory, options: FilesystemOptions) -> None:
        self.path = directory.path
        self.priority = directory.priority
        self.threads = Threads(
            f"file-store-{directory.path.name}", options.threads, options.hang_seconds
        )

    def lane(self) -> Lane:
        """Return the lane of one file."""
        return self.threads.lane()

    def descriptor(self) -> int:
        """Open the directory.  Blocks."""
        return os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


@dataclass(frozen=True, slots=True)
class _Look:
    """What a directory says to a new name; `free_bytes` below 0: nothing can be written there."""

    directory: OpenDirectory
    is_taken: bool
    free_bytes: int


class DataDirectories:
    """Finds what is in them, and chooses among them."""

    def __init__(self, options: FilesystemOptions) -> None:
        if not options.directories:
            raise ValueError("a file store needs a data directory")
        for directory in options.directories:
            if not directory.path.is_absolute():
                raise ValueError(f"a data directory must be an absolute path: {directory.path}")
        self._directories = tuple(OpenDirectory(each, options) for each in options.directories)
        # For paths of locations, which may lead anywhere.
        self._elsewhere = Threads("file-store", 2, options.hang_seconds)

    def __str__(self) -> str:
        return ", ".join(str(directory.path) for directory in self._directories)

    @property
    def all(self) -> tuple[OpenDirectory, ...]:
        """Every one of them."""
        return self._directories

    def close(self) -> None:
        """End the threads; calls that hang are left alone."""
        for threads in (self._elsewhere, *(each.threads for each in self._directories)):
            threads.close()

    async def find(self, location: Location) -> tuple[OpenDirectory, str]:
        """Return the directory that a location is in, however that is spelled, and the file's name.

        Glance puts the path into the URI as it is, without quoting.  Only a directory that is not
        spelled as in the options is looked for in the file system.
        """
        scheme, _, path = location.uri.partition("://")
        parent, _, name = path.rpartition("/")
        if scheme.lower() not in _SCHEMES or not path.startswith("/"):
            raise InvalidError(f"{location}: not a location of a file store")
        if "\0" in parent:
            raise InvalidError(f"{location}: not a path")
        checked_name(name)
        for directory in self._directories:
            if _is_spelled(parent, directory.path):
                return directory, name
        return await self._resolved(location, parent), name

    async def _resolved(self, location: Location, parent: str) -> OpenDirectory:
        with translated(location):
            found = await self._elsewhere.lane().run(partial(os.path.realpath, parent))
        failure: StoreError = DeniedError(f"{location}: not in a data directory")
        for directory in self._directories:
            try:
                if found == await directory.lane().run(partial(os.path.realpath, directory.path)):
                    return directory
            except UnavailableError as error:
                failure = error
        raise failure

    async def choose(self, name: str, size: int) -> OpenDirectory:
        """Return where a new file of `size` bytes goes: the highest priority, then the emptiest.

        Directories that hang, fail or are read-only are passed over as long as there is another.
        """
        if len(self._directories) == 1:
            look = await self._look(self._directories[0], name)
            _require_new(name, look)
            return look.directory
        answering = [each for each in self._directories if not each.threads.hangs]
        looks: list[_Look] = []
        failure: StoreError | None = None
        for told in await asyncio.gather(
            *(self._look(each, name) for each in answering), return_exceptions=True
        ):
            match told:
                case _Look():
                    _require_new(name, told)
                    looks.append(told)
                case StoreError():
                    _log.warning("a data directory is passed over: %s", told)
                    failure = told
                case _:
                    raise told
        if not looks:
            raise failure or UnavailableError(f"all data directories hang: {self}")
        writable = [look for look in looks if look.free_bytes >= 0]
        if not writable:
            raise DeniedError(f"all data directories are read-only: {self}")
        roomy = [look for look in writable if look.free_bytes >= size]
        if not roomy:
            raise NoSpaceError(f"no data directory has room for {size} bytes")
        return max(roomy, key=lambda look: (look.directory.priority, look.free_bytes)).directory

    async def _look(self, directory: OpenDirectory, name: str) -> _Look:
        with translated(directory.path / name):
            return await directory.lane().run(partial(_look, directory, name))


def _is_spelled(parent: str, path: Path) -> bool:
    """Whether a path is the directory's own, without a look at the file system."""
    return ".." not in parent.split("/") and os.path.normpath(parent) == os.path.normpath(path)


def _look(directory: OpenDirectory, name: str) -> _Look:
    """Look at a directory, which is made where it is missing.  Blocks."""
    directory.path.mkdir(parents=True, exist_ok=True)
    status = os.statvfs(directory.path)
    free_bytes = -1 if status.f_flag & os.ST_RDONLY else status.f_bavail * status.f_frsize
    return _Look(directory, os.path.lexists(directory.path / name), free_bytes)


def _require_new(name: str, look: _Look) -> None:
    if look.is_taken:
        raise DuplicateError(f"{look.directory.path / name}: is there already")
