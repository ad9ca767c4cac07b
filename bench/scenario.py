"""What a measurement is: a scenario that is run, and the report that it gives.

A scenario is a module in `bench/scenarios/` with `SCENARIO = Scenario(name, help, run)`.  `run` gets
the `Options` of the command line, measures, and returns a `Report`; printing and keeping it is the
command line's.  Scenarios that compare run both sides in turn, round by round, and report medians.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.bars import Verdict
from bench.rounds import Figures

Cell = str | int | float


class MissingError(Exception):
    """Something that a scenario needs is not on this machine; the message says how to get it."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says to every scenario."""

    directory: Path  # empty, for whatever the scenario writes; removed afterwards
    rounds: int
    quick: bool  # a small sample that shows that the scenario works
    peers: tuple[str, ...] | None = None  # whom to compare with; None: whom the scenario chooses


@dataclass(slots=True)
class Table:
    """Rows of figures under a title; `columns` carry their units."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[Cell]] = field(default_factory=list)

    def add(self, *cells: Cell) -> None:
        """Add a row."""
        assert len(cells) == len(self.columns), (self.columns, cells)
        self.rows.append(cells)

    def lines(self) -> Iterator[str]:
        """Give the table as Markdown, aligned to be read as it stands."""
        shown = [list(self.columns), *([_shown(cell) for cell in row] for row in self.rows)]
        widths = [max(len(row[i]) for row in shown) for i in range(len(self.columns))]
        numeric = [
            all(isinstance(row[i], (int, float)) for row in self.rows)
            for i in range(len(self.columns))
        ]

        def line(cells: Sequence[str]) -> str:
            padded = [
                cell.rjust(width) if number else cell.ljust(width)
                for cell, width, number in zip(cells, widths, numeric, strict=True)
            ]
            return f"| {' | '.join(padded)} |"

        yield line(shown[0])
        yield f"|{'|'.join('-' * (w + 1) + (':' if n else '-') for w, n in zip(widths, numeric, strict=True))}|"
        yield from (line(row) for row in shown[1:])


@dataclass(slots=True)
class Report:
    """What a scenario found."""

    tables: list[Table]
    notes: list[str] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)  # on the bars of `bench.bars`
    # What was measured in each round, by what it was of, and by side.
    rounds: dict[str, dict[str, list[Figures]]] = field(default_factory=dict)
    plot: Callable[[Path], None] | None = None  # draws into a file; needs the extra `bench`

    def text(self) -> str:
        """Return it as Markdown."""
        parts = [f"{table.title}\n\n" + "\n".join(table.lines()) for table in self.tables]
        lists = [each for each in (self.verdicts, self.notes) if each]
        parts += ["\n".join(f"- {line}" for line in lines) for lines in lists]
        return "\n\n".join(parts) + "\n"

    def plain(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "tables": [
                {"title": t.title, "columns": list(t.columns), "rows": [list(r) for r in t.rows]}
                for t in self.tables
            ],
            "verdicts": [asdict(verdict) for verdict in self.verdicts],
            "notes": self.notes,
            "rounds": self.rounds,
        }


@dataclass(frozen=True, slots=True)
class Scenario:
    """A measurement that has a name."""

    name: str
    help: str  # one line: what it measures, against what
    run: Callable[[Options], Report]
    rounds: int = 5  # unless the command line says another number


def scenarios() -> dict[str, Scenario]:
    """Find all scenarios, by name."""
    from bench import scenarios as package  # noqa: PLC0415  they import this module

    found: dict[str, Scenario] = {}
    for module in pkgutil.iter_modules(package.__path__):
        scenario: Scenario = importlib.import_module(f"bench.scenarios.{module.name}").SCENARIO
        found[scenario.name] = scenario
    return found


def machine() -> dict[str, Any]:
    """Describe where and when this runs, without naming the machine."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "python": f"{platform.python_version()}, {_python_builder()}",
        "steal_seconds": _steal_seconds(),  # since the boot: what neighbours took away
    }


def _python_builder() -> str:
    """Say whose Python this is: one that was built without a profile takes a tenth longer."""
    return "the distribution's" if sys.base_prefix == "/usr" else "built apart from it"


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _steal_seconds() -> float:
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return round(int(fields[8]) / os.sysconf("SC_CLK_TCK"), 1)


def _shown(cell: Cell) -> str:
    if isinstance(cell, float):
        return f"{cell:.4g}" if abs(cell) < 1000 else f"{cell:,.0f}"
    return f"{cell:,}" if isinstance(cell, int) else cell
