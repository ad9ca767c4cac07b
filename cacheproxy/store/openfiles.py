"""The files of chunks that were stored a moment ago, still open: whoever waits for them gets them at once.

Each reader gets an open file of his own, as if he had opened it by its name: the lock that guards
reading from the disk belongs to the open file (see proving.py).
"""

from __future__ import annotations

import os
from collections import OrderedDict

from cacheproxy.core.proof import Identity

FILES_MAX = 64


class OpenFiles:
    """Open chunk files by digest, the latest; all methods are of the loop."""

    def __init__(self) -> None:
        self._files: OrderedDict[bytes, int] = OrderedDict()

    def __repr__(self) -> str:
        return f"<OpenFiles {len(self._files)}>"

    def __contains__(self, digest: bytes) -> bool:
        """Whether the chunk's file is here."""
        return digest in self._files

    def keep(self, digest: bytes, fd: int) -> None:
        """Take over the open file of a chunk."""
        self.drop(digest)
        self._files[digest] = fd
        if len(self._files) > FILES_MAX:
            os.close(self._files.popitem(last=False)[1])

    def open(self, digest: bytes, identity: Identity) -> int | None:
        """Open a chunk's file again, if it is here and nobody has touched it; never waits."""
        fd = self._files.get(digest)
        if fd is None:
            return None
        try:
            if Identity.of(os.fstat(fd)) == identity:
                return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            pass  # it is opened by its name, in a thread, which finds out more
        self.drop(digest)
        return None

    def drop(self, digest: bytes) -> None:
        """Close a chunk's file: it is to go, and would take its room as long as it is open."""
        fd = self._files.pop(digest, None)
        if fd is not None:
            os.close(fd)

    def close(self) -> None:
        """Close all of them."""
        while self._files:
            os.close(self._files.popitem()[1])
