"""What a response has sent of an earlier fill that never came to its proof.

Nobody has compared those chunks with the image's hash.  Together with the upstream's own last bytes
they would pass for the whole; so before these are sent, the upstream is asked for those again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from backends.spans import Span
from cacheproxy.core.geometry import Grid
from cacheproxy.errors import ProofFailedError
from cacheproxy.store.digest import Hashing

Stream = Callable[[Span], AsyncGenerator[bytes | memoryview]]


class Leftovers:
    """The digests of such chunks, by index."""

    def __init__(self) -> None:
        self._digests: dict[int, bytes] = {}

    def add(self, index: int, digest: bytes) -> None:
        """This one was, or is being, sent."""
        self._digests[index] = digest

    async def compare(self, grid: Grid, stream: Stream) -> None:
        """Raise `ProofFailedError` unless the upstream has the very same bytes.

        Each run of adjacent chunks is read once: a source without ranges gives them from byte 0.
        """
        indexes = sorted(self._digests)
        while indexes:
            count = 1
            while count < len(indexes) and indexes[count] == indexes[0] + count:
                count += 1
            await self._compare_run(grid, range(indexes[0], indexes[0] + count), stream)
            del indexes[:count]
        self._digests.clear()

    async def _compare_run(self, grid: Grid, run: range, stream: Stream) -> None:
        index, hashing = run.start, Hashing()
        left = len(grid.chunk(index))
        async with aclosing(stream(grid.run(run.start, run.stop))) as pieces:
            async for piece in pieces:
                view = memoryview(piece)
                while view:
                    part, view = view[:left], view[left:]
                    hashing.update(part)
                    left -= len(part)
                    if left:
                        continue
                    if hashing.digest() != self._digests[index]:
                        raise ProofFailedError("the rest cannot be proven")
                    index, hashing = index + 1, Hashing()
                    left = len(grid.chunk(index)) if index < run.stop else 0
        if index < run.stop:
            raise ProofFailedError("the rest cannot be proven")
