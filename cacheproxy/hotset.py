"""The worker's bounded set of open, proven chunk files, and who is sending from them.

Lifetime of a file: *added* (its descriptor came from the keeper) → leased and released any number
of times → *closed*, because the set is full, the keeper said that the chunk is dying, or the file
is not what was proven.  A leased file is closed when its last lease ends.
Each descriptor that was added is reported closed exactly once, so that the keeper knows when an
evicted chunk's bytes are free.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from cacheproxy.core.proof import Identity
from cacheproxy.meter import Meter
from cacheproxy.metrics import HOT_FILES, LEASES


@dataclass(slots=True, eq=False)
class HotFile:
    """An open chunk file."""

    digest: bytes
    fd: int
    size: int
    identity: Identity
    proven_at: float  # time.monotonic(), which is the same in all processes
    leases: int = 0
    used: bool = False  # without a lease, since it was last looked at whether it may be closed
    dying: bool = False

    def intact(self) -> bool:
        """Whether it is still the file that the keeper proved (inode, size and times).

        Not if the disk cannot even tell.
        """
        try:
            now, then = os.fstat(self.fd), self.identity
        except OSError:
            return False
        return (
            now.st_ctime_ns == then.ctime_ns
            and now.st_mtime_ns == then.mtime_ns
            and now.st_size == then.size
            and now.st_ino == then.inode
            and now.st_dev == then.device
        )


class HotSet:
    """Open files by digest, the least recently used closed first."""

    def __init__(
        self,
        files_max: int,
        meter: Meter,
        on_closed: Callable[[bytes], None],
    ) -> None:
        self._files_max = files_max
        self._meter = meter
        self._on_closed = on_closed
        self._files: dict[bytes, HotFile] = {}
        self._idle: OrderedDict[bytes, None] = OrderedDict()  # without leases, oldest first
        self._leaving: set[HotFile] = set()  # dying, but still leased

    def __repr__(self) -> str:
        leases = sum(file.leases for file in (*self._files.values(), *self._leaving))
        return f"<HotSet {len(self._files)} files, {len(self._leaving)} leaving, {leases} leases>"

    def add(
        self, digest: bytes, fd: int, size: int, identity: Identity, proven_at: float
    ) -> HotFile:
        """Take over a proven descriptor and lease it; a file of the same digest gives way."""
        self.expel(digest)
        file = HotFile(digest, fd, size, identity, proven_at)
        self._files[digest] = file
        self._meter.add(HOT_FILES, 1)
        self.hold(file)
        self._shrink()
        return file

    def lease(self, digest: bytes) -> HotFile | None:
        """Lease a file for sending, if it is here."""
        file = self._files.get(digest)
        if file is not None:
            self.hold(file)
        return file

    def at_hand(self, digest: bytes) -> HotFile | None:
        """Return a file, without a lease: for what is done with it before anything else happens."""
        file = self._files.get(digest)
        if file is not None:
            file.used = True
        return file

    def has(self, digest: bytes) -> bool:
        """Whether `lease` would give a file."""
        return digest in self._files

    def release(self, file: HotFile) -> None:
        """End a lease."""
        file.leases -= 1
        self._meter.add(LEASES, -1)
        if not file.leases:
            if file.dying:
                self._leaving.discard(file)
                self._close(file)
            else:
                self._idle[file.digest] = None
                self._shrink()

    def expel(self, digest: bytes) -> None:
        """Close a file as soon as nobody sends from it; `lease` does not give it any more."""
        file = self._files.pop(digest, None)
        if file is None:
            return
        self._idle.pop(digest, None)
        file.dying = True
        if file.leases:
            self._leaving.add(file)
        else:
            self._close(file)

    def held(self) -> list[bytes]:
        """Return the digest of every open descriptor."""
        return [file.digest for file in (*self._files.values(), *self._leaving)]

    def clear(self) -> None:
        """Expel everything."""
        for digest in list(self._files):
            self.expel(digest)

    def hold(self, file: HotFile) -> None:
        """Lease a file that was just given."""
        self._idle.pop(file.digest, None)
        file.leases += 1
        self._meter.add(LEASES, 1)

    def _shrink(self) -> None:
        while len(self._files) > self._files_max and self._idle:
            digest = next(iter(self._idle))
            if self._files[digest].used:  # a second chance: cheaper than to move it at each use
                self._files[digest].used = False
                self._idle.move_to_end(digest)
            else:
                self.expel(digest)

    def _close(self, file: HotFile) -> None:
        os.close(file.fd)
        self._meter.add(HOT_FILES, -1)
        self._on_closed(file.digest)
