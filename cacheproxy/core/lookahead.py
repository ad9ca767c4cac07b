"""How far behind the chunk that is being sent the next ones are read from the disk.  Pure.

Not at all while all that a reader meets is in memory.  Each time that it has to wait for the disk
it looks twice as far as before, until it waits no more, or for no more than the disk itself: a
reader that is slower than the disk stays at one chunk.
"""

from __future__ import annotations


class Lookahead:
    """The window of one reader, which moves with what it sends."""

    __slots__ = ("_seen", "chunks")

    def __init__(self) -> None:
        self.chunks = 0  # how many behind the one that is being sent
        self._seen = 0  # all before were in memory, or are being read

    def __repr__(self) -> str:
        return f"<Lookahead {self.chunks} chunks, seen to {self._seen}>"

    def waited(self, chunks_max: int) -> None:
        """The reader has to wait for the disk."""
        self.chunks = min(max(1, chunks_max), max(1, 2 * self.chunks))

    def beyond(self, index: int, stop: int) -> range:
        """Return what is to be seen to, below `stop`, while this chunk is being sent."""
        return range(max(self._seen, index + 1), min(stop, index + 1 + self.chunks))

    def saw_to(self, index: int) -> None:
        """A chunk is in memory, or on its way there."""
        self._seen = index + 1
