"""Sides measured in turn, round by round, and what can be said of their ratio afterwards.

Virtual machines lose time to their neighbours: a round in which a core of this one was not given
more than STEAL_MAX of its time is thrown away and repeated, as often as there are rounds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import comb
from pathlib import Path
from statistics import median

Figures = Mapping[str, float]  # what one side showed in one round, by name with unit

STEAL_MAX = 0.05  # share of a core's time
COVERAGE = 0.9
SHOWN = 3  # figures of each side, while it runs
_STEAL = 7  # the place in a line of /proc/stat (proc(5)); what follows is counted in what is before


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median of the ratios of pairs, and where the true one lies with a confidence of 90 %."""

    median: float
    low: float
    high: float
    least: float  # of all pairs
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Ratio:
        """Judge the ratios of all pairs."""
        ordered = sorted(values)
        skipped = outer(len(ordered))
        return cls(
            median(ordered), ordered[skipped], ordered[-1 - skipped], ordered[0], ordered[-1]
        )

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.low:.2f}, {self.high:.2f}]"


def outer(count: int) -> int:
    """Return how many of so many ordered values, at either end, lie outside of the median's interval.

    The interval between two order statistics holds the median of any distribution with a
    probability that is binomial; this is the narrowest that reaches COVERAGE.  Fewer than five
    values do not reach it: then the interval is all of them.
    """
    below, skipped = 1, 0  # of 2**count: the chance that the median is below the first value
    while skipped < (count - 1) // 2:
        below += comb(count, skipped + 1)
        if 1 - 2 * below / 2**count < COVERAGE:
            break
        skipped += 1
    return skipped


@dataclass(frozen=True, slots=True)
class Rounds:
    """What all sides showed, by side and round."""

    sides: Sequence[Sequence[Figures]]
    thrown_away: int = 0  # rounds that were repeated
    stolen: Sequence[float] = ()  # largest share, by round that was kept

    def values(self, side: int, name: str) -> list[float]:
        """Return a figure of a side, by round."""
        return [figures[name] for figures in self.sides[side]]

    def median(self, side: int, name: str) -> float:
        """Return the median of a figure of a side."""
        return median(self.values(side, name))

    def ratio(self, name: str, over: int = 0, under: int = 1) -> Ratio:
        """Compare a figure of two sides, round by round."""
        pairs = zip(self.values(over, name), self.values(under, name), strict=True)
        return Ratio.of([above / below if below else float("inf") for above, below in pairs])

    def note(self) -> str:
        """Say what was thrown away, and how much steal there is in what was kept."""
        spoilt = sum(share > STEAL_MAX for share in self.stolen)
        return (
            f"{len(self.stolen)} rounds, {self.thrown_away} more thrown away for steal; "
            f"of those kept {spoilt} have more than {STEAL_MAX:.0%}, the worst {max(self.stolen, default=0):.1%}"
        )


def alternated(
    sides: Sequence[Callable[[], Figures]],
    rounds: int,
    *,
    what: str = "",
    stolen: Callable[[], Sequence[tuple[int, int]]] | None = None,
) -> Rounds:
    """Measure all sides `rounds` times: A B, B A, A B…; `what` names it on standard error.

    `stolen` reads the clock of steal (/proc/stat): ticks taken away and ticks in all, by core.
    """
    clock = stolen or stolen_ticks
    found: tuple[list[Figures], ...] = tuple([] for _ in sides)
    thrown, kept = 0, list[float]()
    while len(kept) < rounds:
        first = len(kept) % len(sides)
        order = [*range(first, len(sides)), *range(first)]
        seen: dict[int, Figures] = {}
        worst = 0.0
        for side in order:
            before = clock()
            seen[side] = sides[side]()
            worst = max(worst, share_stolen(before, clock()))
        again = worst > STEAL_MAX and thrown < rounds
        told = "; ".join(shown(seen[side]) for side in sorted(seen))
        end = ", thrown away" if again else ""
        line = f"{what} {len(kept) + 1}/{rounds}: {told}; steal {worst:.1%}{end}"
        print(line, file=sys.stderr, flush=True)
        if again:
            thrown += 1
            continue
        kept.append(worst)
        for side, figures in seen.items():
            found[side].append(figures)
    return Rounds(found, thrown, kept)


def share_stolen(before: Sequence[tuple[int, int]], after: Sequence[tuple[int, int]]) -> float:
    """Return the share of time that was taken from the core that lost most."""
    spans = [
        (taken - then_taken, total - then_total)
        for (then_taken, then_total), (taken, total) in zip(before, after, strict=True)
    ]
    return max((taken / total for taken, total in spans if total > 0), default=0.0)


def stolen_ticks() -> list[tuple[int, int]]:
    """Read /proc/stat: of each core, the ticks that were taken from it, and all ticks."""
    lines = (line.split() for line in Path("/proc/stat").read_text().splitlines())
    cores = ([int(each) for each in line[1:]] for line in lines if line[0][3:].isdigit())
    return [(ticks[_STEAL], sum(ticks[: _STEAL + 1])) for ticks in cores]


def shown(figures: Figures) -> str:
    """Return the first figures, those that matter most, in a line."""
    return " ".join(f"{name} {value:.4g}" for name, value in islice(figures.items(), SHOWN))
