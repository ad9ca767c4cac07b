"""Which chunks a span of an object touches, and which bytes a chunk holds.  Pure."""

from __future__ import annotations

from dataclasses import dataclass

from backends.spans import Span


@dataclass(frozen=True, slots=True)
class Grid:
    """An object of `size` bytes cut in chunks of `chunk_bytes`; only the last may be shorter."""

    size: int
    chunk_bytes: int

    @property
    def count(self) -> int:
        """How many chunks there are; none in an empty object."""
        return -(-self.size // self.chunk_bytes)

    @property
    def whole(self) -> Span:
        """All of the object."""
        return Span(0, self.size)

    def chunk(self, index: int) -> Span:
        """Return the bytes of one chunk."""
        return self.run(index, index + 1)

    def run(self, first: int, stop: int) -> Span:
        """Return the bytes of the chunks `first <= index < stop`."""
        if not 0 <= first < stop <= self.count:
            raise IndexError(f"chunks {first}..{stop} of {self.count}")
        return Span(first * self.chunk_bytes, min(stop * self.chunk_bytes, self.size))

    def covering(self, span: Span) -> range:
        """Return the indexes of the chunks that hold any byte of `span`."""
        if not len(span):
            return range(0)
        return range(span.start // self.chunk_bytes, -(-span.stop // self.chunk_bytes))

    def ends_whole(self, span: Span) -> bool:
        """Whether a reader of `span` could take it for the proven end of the object.

        True for what runs to the end and began no later than the last chunk: a whole download, or
        a resume of one.  Who was reset because the proof failed has everything but the last chunk,
        and resumes exactly there.  A look at the tail inside the last chunk is not that.
        """
        if span.stop != self.size or not len(span):
            return False
        return span.start <= (self.count - 1) * self.chunk_bytes
