"""Sides of a comparison by their names: measured in turn, compared, and written down."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.peers import PEERS
from bench.peers.peer import Peer
from bench.rounds import Figures, Ratio, Rounds, alternated
from bench.scenario import MissingError, Options, Table

OURS = "cacheproxy"


@dataclass(frozen=True, slots=True)
class Sides:
    """What all sides showed."""

    names: Sequence[str]
    rounds: Rounds

    @classmethod
    def measured(
        cls, what: str, sides: Mapping[str, Callable[[], Figures]], options: Options
    ) -> Sides:
        """Measure all of them, in turn, as often as the options say; `what` is told meanwhile."""
        return cls(list(sides), alternated(list(sides.values()), options.rounds, what=what))

    def values(self, name: str, figure: str) -> list[float]:
        """Return a figure of a side, by round."""
        return self.rounds.values(self.names.index(name), figure)

    def median(self, name: str, figure: str) -> float:
        """Return the median of a figure of a side."""
        return self.rounds.median(self.names.index(name), figure)

    def ratio(self, figure: str, over: str, under: str) -> Ratio:
        """Compare a figure of two sides, round by round."""
        return self.rounds.ratio(figure, self.names.index(over), self.names.index(under))

    def spread(self, name: str, figure: str) -> Ratio:
        """Return a figure of one side with its interval, where it is itself held to a bar."""
        return Ratio.of(self.values(name, figure))

    def table(self, title: str, figures: Sequence[str], *, ratio: str) -> Table:
        """Return medians of figures by side, and how ours compares in the figure `ratio`."""
        table = Table(title, ("server", *figures, f"ours / theirs, {ratio}"))
        ours = next(name for name in self.names if name.startswith(OURS))
        for name in self.names:
            compared = "" if name == ours else str(self.ratio(ratio, ours, name))
            table.add(name, *(_rounded(self.median(name, each)) for each in figures), compared)
        return table

    def plain(self) -> dict[str, list[Figures]]:
        """Return what was measured in each round, by side."""
        return {name: list(seen) for name, seen in zip(self.names, self.rounds.sides, strict=True)}


def chosen(options: Options, default: Sequence[str]) -> list[Peer]:
    """Return ourselves, and the peers that the command line names, or else these."""
    names = options.peers if options.peers is not None else default
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise MissingError(f"no peer {unknown[0]!r} in this scenario; known: {', '.join(PEERS)}")
    return [PEERS[OURS], *(PEERS[name] for name in names if name != OURS)]


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
