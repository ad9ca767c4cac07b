"""One upstream read: which chunks it brings, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from backends.spans import Span
from cacheproxy.core.arrivals import Arrived
from cacheproxy.core.geometry import Grid
from cacheproxy.fill.demand import Credential
from cacheproxy.fill.source import Shortcut


@dataclass(slots=True, eq=False)
class Leg:
    """An upstream read of the chunks `first <= index < stop`, in order."""

    first: int
    stop: int
    landed: Arrived = field(init=False)
    torn: tuple[int, bytes] | None = None  # the beginning of a chunk, of a read that was cut
    wrong: int = 0  # chunks that were not what a proven manifest names
    claims: set[bytes] = field(default_factory=set)  # what other fills leave to this leg
    credential: Credential | None = None  # with which it reads
    shortcut: Shortcut | None = None  # the store that it reads instead of the upstream
    ranged: bool = False  # whether it asked for a range; then, whether it got one
    streaming: bool = False  # whether its data have begun to come

    def __post_init__(self) -> None:
        self.landed = Arrived(self.first)

    def widen(self, stop: int) -> None:
        """The source sends everything from its first byte, whatever it was asked for."""
        self.first, self.stop, self.landed = 0, stop, Arrived()

    def expects(self, index: int) -> bool:
        """Whether this leg will still bring a chunk."""
        return self.first <= index < self.stop and index not in self.landed

    def span(self, grid: Grid, torn: bytes) -> Span:
        """Return the bytes to ask for, behind what is there of the first chunk."""
        whole = grid.run(self.first, self.stop)
        return Span(whole.start + len(torn), whole.stop)
