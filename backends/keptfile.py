"""A file that stays open behind its read, so that the next reads of it take no thread.

Whatever has left memory, and whatever else is not just as it was, is left to a read of the store.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from backends.residency import by_mincore
from backends.spans import Span
from backends.threads import Lane

SENDABLE_BYTES = 2 << 20  # looked for in memory at once


class KeptFile:
    """A descriptor of its own, of a plain file on a local file system, which this user owns.

    Nothing but `aclose` waits.  `on_read` hears of the bytes of each read, when it is over.
    """

    def __init__(self, descriptor: int, size: int, lane: Lane) -> None:
        """Take the descriptor over; `lane` has calls on it, and no other."""
        self.descriptor = descriptor
        self.size = size
        self.on_read: Callable[[int], None] = lambda _count: None
        self._lane = lane

    def is_there(self) -> bool:
        """Tell whether its name leads to it as it was: neither deleted, replaced nor cut."""
        status = os.fstat(self.descriptor)
        return status.st_nlink > 0 and status.st_size == self.size

    def read_into(self, buffer: memoryview, position: int) -> bool:
        """Fill a buffer from memory; False if not all of it is there."""
        try:
            return os.preadv(self.descriptor, [buffer], position, os.RWF_NOWAIT) == len(buffer)
        except OSError:  # it would have to wait, or the file cannot be read
            return False

    def near(self, span: Span) -> Span:
        """Return what of a span is in memory: as much as is looked for at once, or nothing."""
        near = Span(span.start, min(span.start + SENDABLE_BYTES, span.stop))
        if len(near) and by_mincore(self.descriptor, near.start, len(near)):
            return near
        return Span(span.start, span.start)

    async def aclose(self) -> None:
        """Close it, in a thread: the last one to close a deleted file waits for its blocks."""
        await self._lane.finish(self._close)

    def _close(self) -> None:
        os.close(self.descriptor)
