"""One upstream read: bytes in, whole chunks out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from backends.spans import Span
from cacheproxy.core.arrivals import Arrived
from cacheproxy.core.geometry import Grid
from cacheproxy.errors import UpstreamLiesError, UpstreamUnreachableError
from cacheproxy.fill.demand import Credential
from cacheproxy.fill.source import Body


@dataclass(slots=True)
class Torn:
    """The beginning of a chunk whose read was cut: a source with ranges goes on behind it."""

    buffer: bytearray
    filled: int


@dataclass(slots=True, eq=False)
class Leg:
    """An upstream read of the chunks `first <= index < stop`, in order."""

    first: int
    stop: int
    landed: Arrived = field(init=False)
    torn: tuple[int, Torn] | None = None  # left behind by a read that was cut
    wrong: int = 0  # chunks that were not what a proven manifest names
    claims: set[bytes] = field(default_factory=set)  # what other fills leave to this leg
    credential: Credential | None = None  # with which it reads
    ranged: bool = False  # whether it asked for a range

    def __post_init__(self) -> None:
        self.landed = Arrived(self.first)

    def widen(self, stop: int) -> None:
        """The source sends everything from its first byte, whatever it was asked for."""
        self.first, self.stop, self.landed = 0, stop, Arrived()

    def expects(self, index: int) -> bool:
        """Whether this leg will still bring a chunk."""
        return self.first <= index < self.stop and index not in self.landed

    def span(self, grid: Grid, torn: Torn | None) -> Span:
        """Return the bytes to ask for, behind what is there of the first chunk."""
        whole = grid.run(self.first, self.stop)
        return Span(whole.start + (torn.filled if torn else 0), whole.stop)

    async def assemble(
        self,
        body: Body,
        grid: Grid,
        torn: Torn | None,
        land: Callable[[int, bytearray], Awaitable[None]],
    ) -> None:
        """Cut the body into chunks and hand each to `land`.

        The leg's last chunk is handed over only when the body ended where it had to, so that a
        source that sends more than the image has is found out before its last chunk is used.
        """
        index = self.first
        chunk = torn or Torn(bytearray(len(grid.chunk(index))), 0)
        try:
            async for piece in body.pieces():
                view = memoryview(piece)
                while view:
                    if chunk.filled == len(chunk.buffer):
                        if index + 1 == self.stop:
                            if not body.ranged and self.stop < grid.count:
                                break  # the rest of a whole body that nobody needs
                            raise UpstreamLiesError("the image's data is longer than its size")  # noqa: TRY301  saved as torn like any other end
                        await land(index, chunk.buffer)
                        index += 1
                        chunk = Torn(bytearray(len(grid.chunk(index))), 0)
                    count = min(len(view), len(chunk.buffer) - chunk.filled)
                    chunk.buffer[chunk.filled : chunk.filled + count] = view[:count]
                    chunk.filled += count
                    view = view[count:]
                else:
                    continue
                break
        except BaseException:
            if chunk.filled < len(chunk.buffer):
                self.torn = (index, chunk)
            raise
        if index + 1 != self.stop or chunk.filled != len(chunk.buffer):
            if not body.bounded:
                raise UpstreamUnreachableError("the connection ended before the image's data")
            raise UpstreamLiesError("the image's data is shorter than its size")
        await land(index, chunk.buffer)
