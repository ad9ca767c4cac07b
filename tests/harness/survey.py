"""A thread that looks, again and again, at what a cache directory takes: as `du`, and beyond it."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

PAUSE_SECONDS = 0.05
BLOCK = 512


def held_bytes(directory: Path, processes: Iterable[int]) -> int:
    """Return the bytes on disk of a directory, files without a name that a process has open included."""
    seen: dict[tuple[int, int], int] = {}
    for process in processes:
        seen.update(_nameless(directory, process))
    _walk(directory, seen)
    return sum(seen.values())


def nameless_bytes(directory: Path, processes: Iterable[int]) -> int:
    """Return the bytes on disk of open files of a directory that have no name (any more)."""
    seen: dict[tuple[int, int], int] = {}
    for process in processes:
        seen.update(_nameless(directory, process))
    return sum(seen.values())


def _walk(path: Path | os.DirEntry[str], seen: dict[tuple[int, int], int]) -> None:
    try:
        status = os.lstat(path)
        below = list(os.scandir(path)) if stat.S_ISDIR(status.st_mode) else []
    except FileNotFoundError:  # gone since it was listed
        return
    seen[status.st_dev, status.st_ino] = status.st_blocks * BLOCK
    for entry in below:
        _walk(entry, seen)


def _nameless(directory: Path, process: int) -> dict[tuple[int, int], int]:
    found: dict[tuple[int, int], int] = {}
    try:
        for entry in Path(f"/proc/{process}/fd").iterdir():
            if not str(entry.readlink()).startswith(f"{directory}/"):
                continue
            status = entry.stat()
            if not status.st_nlink:
                found[status.st_dev, status.st_ino] = status.st_blocks * BLOCK
    except (FileNotFoundError, PermissionError, ProcessLookupError):  # it ends, or closes them
        pass
    return found


class Survey:
    """Keeps the most that it has seen, from its entry to its exit."""

    def __init__(self, directory: Path, processes: Callable[[], Iterable[int]]) -> None:
        self.most = 0
        self.parts: dict[str, int] = {}  # of the most: what each directory had
        self.looks = 0
        self._directory = directory
        self._processes = processes
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="survey")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(PAUSE_SECONDS):
            taken = held_bytes(self._directory, self._processes())
            if taken > self.most:
                self.most = taken
                self.parts = {path.name: held_bytes(path, ()) for path in self._directory.iterdir()}
            self.looks += 1

    def check(self, limit_bytes: int) -> None:
        """Fail if the directory has ever had more than this."""
        assert self.most <= limit_bytes, f"{self.most} bytes, soon after: {self.parts}"
