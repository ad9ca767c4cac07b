"""The bytes of a segment on a local disk, as `swift_buffer_on_upload` has them: to be sent again."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from backends.errors import UnavailableError


class Spool:
    """A file without a name, from its first piece on: gone with `aclose`, or with the process."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file: FileIO | None = None
        self._is_closed = False
        self._lock = threading.Lock()  # a call whose waiter was cancelled goes on
        self._starts = [0]  # of the pieces, and of what comes next

    @property
    def pieces(self) -> int:
        """How many are there."""
        return len(self._starts) - 1

    async def append(self, piece: bytes) -> None:
        """Keep the next piece."""
        await asyncio.to_thread(self._append, piece)

    async def read(self, position: int) -> bytes:
        """Return a piece."""
        return await asyncio.to_thread(self._read, position)

    async def aclose(self) -> None:
        """Let go of the room on the disk, also if cancelled meanwhile."""
        await asyncio.to_thread(self._close)

    def _append(self, piece: bytes) -> None:
        with self._opened() as file:
            left, place = memoryview(piece), self._starts[-1]
            while left:
                written = os.pwrite(file, left, place)
                left, place = left[written:], place + written
            self._starts.append(place)

    def _read(self, position: int) -> bytes:
        start, stop = self._starts[position : position + 2]
        with self._opened() as file:
            piece = os.pread(file, stop - start, start)
        if len(piece) != stop - start:
            raise UnavailableError(f"{self._directory}: a piece of a segment was cut")
        return piece

    def _close(self) -> None:
        with self._lock:
            self._is_closed = True
            if self._file is not None:
                self._file.close()

    @contextmanager
    def _opened(self) -> Iterator[int]:
        try:
            with self._lock:
                if self._is_closed:
                    raise UnavailableError(f"{self._directory}: nobody waits for this segment")
                if self._file is None:
                    self._file = tempfile.TemporaryFile(dir=self._directory, buffering=0)  # noqa: SIM115  # see _close
                yield self._file.fileno()
        except OSError as error:
            raise UnavailableError(f"{self._directory}: {error.strerror or error}") from None
