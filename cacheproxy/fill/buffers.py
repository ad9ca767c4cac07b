"""Memory for chunks between the upstream's socket and their files: bounded, and used again.

A fresh buffer costs the system a fault for every page of it, and the processor its cache: the last
one given back is taken next.  When no fill is left all of it goes back to the system.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from weakref import WeakSet

# Not shared with anybody, and there at once: each page would cost a fault when it is first written.
FLAGS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE


class Buffers:
    """The buffers of all fills; `bytes_max` for all together."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._free: dict[int, list[memoryview]] = {}  # by size
        self._kept = 0  # bytes of all of those
        self._shares: WeakSet[Share] = WeakSet()  # of the fills in progress
        self._waiting: dict[Callable[[], None], None] = {}
        self.lent = 0  # bytes

    def __repr__(self) -> str:
        return f"<Buffers {self.lent} lent, {self._kept} kept of {self._bytes_max}>"

    def share(self, bytes_max: int) -> Share:
        """Return what one fill takes its buffers from, of its own at most `bytes_max`; close it."""
        share = Share(self, bytes_max)
        self._shares.add(share)
        return share

    def fits(self, size: int) -> bool:
        """Whether so much more may be lent."""
        return self.lent + size <= self._bytes_max

    def wait(self, on_room: Callable[[], None]) -> None:
        """Call this, once, when something was given back."""
        self._waiting[on_room] = None

    def leave(self, on_room: Callable[[], None]) -> None:
        """Call it no more."""
        self._waiting.pop(on_room, None)

    def take(self, size: int) -> memoryview:
        """Lend a buffer, whatever is in it."""
        self.lent += size
        if free := self._free.get(size):
            self._kept -= size
            return free.pop()
        while self._kept and self.lent + self._kept > self._bytes_max:
            self._drop_one()
        return memoryview(mmap.mmap(-1, size, flags=FLAGS))

    def give(self, buffer: memoryview) -> None:
        """Take a buffer back, which nobody uses any more."""
        size = len(buffer)
        self.lent -= size
        if self._shares and self.lent + self._kept + size <= self._bytes_max:
            self._free.setdefault(size, []).append(buffer)
            self._kept += size
        waiting, self._waiting = self._waiting, {}
        for on_room in waiting:
            on_room()

    def close(self, share: Share) -> None:
        """A fill has ended."""
        self._shares.discard(share)
        if not self._shares:
            self._free.clear()
            self._kept = 0

    def _drop_one(self) -> None:
        size = next(size for size, free in self._free.items() if free)
        self._free[size].pop()
        self._kept -= size


class Share:
    """One fill's part of them."""

    def __init__(self, buffers: Buffers, bytes_max: int) -> None:
        self._buffers = buffers
        self._bytes_max = bytes_max
        self.lent = 0  # bytes

    def __repr__(self) -> str:
        return f"<Share {self.lent} of {self._bytes_max}>"

    def take(self, size: int, *, must: bool) -> memoryview | None:
        """Lend a buffer; None: none is free.

        Whoever has none gets one all the same (`must`), or upstreams that stall could keep all the
        others waiting: the bounds are exceeded by at most one chunk for each read in progress.
        """
        fits = self.lent + size <= self._bytes_max and self._buffers.fits(size)
        if not (fits or must):
            return None
        self.lent += size
        return self._buffers.take(size)

    def give(self, buffer: memoryview) -> None:
        """Take it back, as `take` has given it."""
        self.lent -= len(buffer)
        self._buffers.give(buffer)

    def wait(self, on_room: Callable[[], None]) -> None:
        """Call this, once, when there may be one."""
        self._buffers.wait(on_room)

    def leave(self, on_room: Callable[[], None]) -> None:
        """Call it no more."""
        self._buffers.leave(on_room)

    def close(self) -> None:
        """No more will be taken; what is lent is given back all the same."""
        self._buffers.close(self)
