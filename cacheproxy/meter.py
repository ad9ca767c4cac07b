"""How the proxy counts: kinds of metrics, and the shared map of cells behind them.

All processes count into one shared anonymous map made before they are forked.  It holds one row of
float64 cells per process (supervisor, keeper, workers), and a row has one writer: the thread that
runs its process's loop.  Readers sum the rows, so any process can print the whole.  An aligned
float64 is written whole, so a reader sees the old value or the new one; integers stay exact up to
2**53.  A row outlives its process: counters go on where a dead child stopped, its gauges are zeroed.
"""

from __future__ import annotations

import itertools
import mmap
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

Unit = Literal["", "bytes", "seconds"]
Labels = tuple[str, ...]

_CELL_BYTES = 8


class Metric:
    """One metric: its name, help, unit (empty: a plain number) and at most one label.

    The texts are printed as they are: no quotes, backslashes or line ends.
    """

    kind: ClassVar[Literal["counter", "gauge", "histogram"]]
    cells_each = 1  # cells per label value
    sparse = False  # whether label values that never happened are left out of the print

    def __init__(
        self,
        name: str,
        text: str,
        *,
        unit: Unit = "",
        label: str | None = None,
        values: Iterable[str] = (),
    ) -> None:
        self.name = name
        self.help = text
        self.unit = unit
        self.label_names: Labels = () if label is None else (label,)
        each: list[Labels] = [()] if label is None else [(value,) for value in values]
        first = LAYOUT.take(self, len(each) * self.cells_each)
        self.cells = {labels: first + i * self.cells_each for i, labels in enumerate(each)}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name})"


class Counter(Metric):
    """Only ever grows, also across restarts of children."""

    kind = "counter"


class SparseCounter(Counter):
    """A counter with many possible label values, of which few ever happen."""

    sparse = True


class Gauge(Metric):
    """Goes up and down; zero for a process that is not there."""

    kind = "gauge"


class Histogram(Metric):
    """How long things took, in seconds: a count per bucket (not cumulated), then their sum."""

    kind = "histogram"
    # Up to the first one a cached range is answered, past the last one an image took an hour.
    bounds: Sequence[float] = (
        *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
        *(1, 2.5, 5, 10, 30, 60, 300, 900, 3600),
    )
    cells_each = len(bounds) + 2


class Layout:
    """Where in a row each metric's cells are; grows with the declarations below."""

    def __init__(self) -> None:
        self.width = 0
        self.metrics: list[Metric] = []

    def take(self, metric: Metric, cells: int) -> int:
        first = self.width
        self.width += cells
        self.metrics.append(metric)
        return first


LAYOUT = Layout()

# What one reads for (metric, labels): the sum over all processes; of all label values where labels
# are empty; the number of observations of a histogram.
Total = Callable[[Metric, Labels], float]


@dataclass(frozen=True, slots=True)
class Term:
    """A metric, or one label value of it, in an equation."""

    metric: Metric
    labels: Labels = ()


@dataclass(frozen=True, slots=True)
class Equation:
    """What the counted figures satisfy whenever nothing is in progress."""

    left: Sequence[Term]
    relation: Literal["=", "<="]
    right: Sequence[Term]  # empty: zero

    def holds(self, total: Total) -> bool:
        """Tell whether the figures that `total` gives satisfy this."""
        left = sum(total(term.metric, term.labels) for term in self.left)
        right = sum(total(term.metric, term.labels) for term in self.right)
        return left == right if self.relation == "=" else left <= right

    def __str__(self) -> str:
        def side(terms: Sequence[Term]) -> str:
            names = [term.metric.name + "".join(f"{{{v}}}" for v in term.labels) for term in terms]
            return " + ".join(names) or "0"

        return f"{side(self.left)} {self.relation} {side(self.right)}"


class Meter:
    """One process's row: the only way to count.  Call it from the loop's thread only."""

    def __init__(self, board: Board, row: memoryview[float]) -> None:
        self._board = board
        self._row = row

    def inc(self, metric: Counter, amount: float = 1.0, *labels: str) -> None:
        """Add to a counter; KeyError for a label value that is not declared."""
        assert amount >= 0, f"{metric} cannot shrink"
        self._row[metric.cells[labels]] += amount

    def counting(self, *terms: Term) -> Callable[[float], None]:
        """Return what adds the same amount to several counters, for where each call counts."""
        row, cells = self._row, [term.metric.cells[term.labels] for term in terms]

        def add(amount: float) -> None:
            for cell in cells:
                row[cell] += amount

        return add

    def observing(self, histogram: Histogram, *labels: str) -> Callable[[float], None]:
        """Return what counts durations, likewise."""
        row, first = self._row, histogram.cells[labels]
        bounds, total = histogram.bounds, first + histogram.cells_each - 1

        def observe(seconds: float) -> None:
            row[first + bisect_left(bounds, seconds)] += 1
            row[total] += seconds

        return observe

    def set(self, gauge: Gauge, value: float, *labels: str) -> None:
        """Set this process's part of a gauge."""
        self._row[gauge.cells[labels]] = value

    def add(self, gauge: Gauge, delta: float, *labels: str) -> None:
        """Move this process's part of a gauge."""
        self._row[gauge.cells[labels]] += delta

    def observe(self, histogram: Histogram, seconds: float, *labels: str) -> None:
        """Count one duration."""
        first = histogram.cells[labels]
        self._row[first + bisect_left(histogram.bounds, seconds)] += 1
        self._row[first + histogram.cells_each - 1] += seconds

    def total(self, metric: Metric, *labels: str) -> float:
        """Return the figure of all processes together; of all label values where none is told."""
        return self._board.total(metric, labels)

    def render(self) -> bytes:
        """Print the figures of all processes together."""
        return self._board.render()


class Board:
    """The shared map: create it before forking, give each process the meter of its own row."""

    def __init__(self, cells: memoryview[float], rows: int) -> None:
        self._cells = cells
        self._rows = rows

    @classmethod
    def create(cls, rows: int) -> Board:
        """Return a board of `rows` processes, all zero."""
        memory = mmap.mmap(-1, rows * LAYOUT.width * _CELL_BYTES)  # anonymous and shared
        return cls(memoryview(memory).cast("d"), rows)

    def meter(self, row: int) -> Meter:
        """Return the meter of a row; two processes must not write to the same."""
        return Meter(self, self._row(row))

    def zero_gauges(self, row: int) -> None:
        """Forget what a dead process held; call it only while nobody writes to the row."""
        cells = self._row(row)
        for metric in LAYOUT.metrics:
            if isinstance(metric, Gauge):
                for cell in metric.cells.values():
                    cells[cell] = 0.0

    def total(self, metric: Metric, labels: Labels = ()) -> float:
        """Return the figure of all processes, as `Total` says."""
        chosen = [metric.cells[labels]] if labels else list(metric.cells.values())
        counts = len(Histogram.bounds) + 1 if isinstance(metric, Histogram) else 1
        return sum(self._sum(first + i) for first in chosen for i in range(counts))

    def render(self) -> bytes:
        """Print all metrics in the Prometheus text format (version 0.0.4)."""
        return "".join(f"{line}\n" for line in self._lines()).encode()

    def _lines(self) -> Iterator[str]:
        for metric in LAYOUT.metrics:
            yield f"# HELP {metric.name} {metric.help}"
            yield f"# TYPE {metric.name} {metric.kind}"
            for labels, cell in metric.cells.items():
                pairs = zip(metric.label_names, labels, strict=True)
                named = ",".join(f'{name}="{value}"' for name, value in pairs)
                if isinstance(metric, Histogram):
                    yield from self._histogram(metric, cell, named)
                elif (value := self._sum(cell)) or not metric.sparse:
                    yield f"{metric.name}{_braced(named)} {value}"

    def _histogram(self, metric: Histogram, first: int, named: str) -> Iterator[str]:
        bounds = [*map(str, map(float, metric.bounds)), "+Inf"]
        counts = list(itertools.accumulate(self._sum(first + i) for i in range(len(bounds))))
        for bound, count in zip(bounds, counts, strict=True):
            bounded = ",".join(filter(None, (f'le="{bound}"', named)))
            yield f"{metric.name}_bucket{_braced(bounded)} {count}"
        yield f"{metric.name}_count{_braced(named)} {counts[-1]}"
        yield f"{metric.name}_sum{_braced(named)} {self._sum(first + metric.cells_each - 1)}"

    def _row(self, row: int) -> memoryview[float]:
        if not 0 <= row < self._rows:
            raise IndexError(f"the board has {self._rows} rows, not {row + 1}")
        return self._cells[row * LAYOUT.width : (row + 1) * LAYOUT.width]

    def _sum(self, cell: int) -> float:
        return sum(self._cells[cell :: LAYOUT.width])


def _braced(named: str) -> str:
    return f"{{{named}}}" if named else ""
