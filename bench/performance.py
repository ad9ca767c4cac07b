"""Puts the newest results into docs/performance.md: `python -m bench.performance`.

Everything between `<!-- measured: NAME -->` and `<!-- end -->` there is made here from the files of
bench/results that hold rounds; the rest is written by people and left alone.  NAME is a scenario,
`bars` or `machines`.  Plots of all rounds go to docs/performance/NAME.svg.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.bars import BARS, Verdict
from bench.plots import draw
from bench.scenario import MissingError, Table

REPOSITORY = Path(__file__).parents[1]
DOCUMENT = REPOSITORY / "docs/performance.md"
PLOTS = REPOSITORY / "docs/performance"
RESULTS = REPOSITORY / "bench/results"

_MEASURED = re.compile(r"(<!-- measured: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
_NOT_YET = "Not measured yet."


@dataclass(frozen=True, slots=True)
class Result:
    """What a scenario found, with where and when."""

    name: str
    file: str  # in bench/results
    machine: Mapping[str, Any]
    found: Mapping[str, Any]  # `Report.plain()`

    @property
    def rounds(self) -> dict[str, dict[str, list[dict[str, float]]]]:
        """What was measured in each round, by what it was of, and by side."""
        rounds: dict[str, dict[str, list[dict[str, float]]]] = self.found.get("rounds", {})
        return rounds

    @property
    def verdicts(self) -> list[Verdict]:
        """What it means for the bars."""
        return [Verdict(**each) for each in self.found.get("verdicts", [])]

    @property
    def digest(self) -> str:
        """What its plot is recognised by."""
        return hashlib.sha256(json.dumps(self.rounds).encode()).hexdigest()


def results(directory: Path = RESULTS) -> dict[str, Result]:
    """Read all results that have rounds or verdicts, by scenario.

    ValueError for those of a quick run, and for a scenario that is in two files.
    """
    found: dict[str, Result] = {}
    for path in sorted(directory.glob("*.json")):
        content = json.loads(path.read_text())
        if "quick" not in content:  # not what `python -m bench run --json` writes
            continue
        for name, report in content.items():
            if name in {"machine", "quick"} or not (report.get("rounds") or report.get("verdicts")):
                continue
            if content["quick"]:
                raise ValueError(f"{path.name}: the figures of a quick run mean nothing")
            if name in found:
                raise ValueError(f"{name} is in {found[name].file} and in {path.name}")
            found[name] = Result(name, path.name, content["machine"], report)
    return found


def document(text: str, found: Mapping[str, Result]) -> str:
    """Return the document with what was measured put in; ValueError if it has no place for a result."""
    places = {match[2] for match in _MEASURED.finditer(text)}
    if homeless := sorted(set(found) - places):
        raise ValueError(f"docs/performance.md has no place for {', '.join(homeless)}")

    def filled(match: re.Match[str]) -> str:
        if match[2] == "bars":
            made = "\n".join(_bars(found))
        elif match[2] == "machines":
            made = "\n".join(_machines(found))
        else:
            made = _section(found[match[2]]) if match[2] in found else _NOT_YET
        return f"{match[1]}\n{made}\n\n{match[3]}"

    return _MEASURED.sub(filled, text)


def _bars(found: Mapping[str, Result]) -> Iterator[str]:
    verdicts: dict[str, list[tuple[str, Verdict]]] = {}
    for result in found.values():
        for verdict in result.verdicts:
            verdicts.setdefault(verdict.name, []).append((result.name, verdict))
    table = Table("", ("scenario", "what", "bar", "median", "90 % interval", "against", "met"))
    for name, bar in BARS.items():
        if name not in verdicts:
            table.add("", bar.what, str(bar), "", "", "", "not measured yet")
        for scenario, each in verdicts.get(name, ()):
            met = "no" if not each.met else "yes"
            if each.met and bar.beyond(each.median):
                met = f"yes, and the aim of {bar.aim:g}"
            interval = f"{_short(each.low)} to {_short(each.high)}"
            table.add(
                f"`{scenario}`",
                *(bar.what, str(bar), _short(each.median), interval, each.against, met),
            )
    yield from table.lines()


def _machines(found: Mapping[str, Result]) -> Iterator[str]:
    table = Table(
        "", ("scenario", "file", "date", "processor", "cores", "memory", "kernel", "Python")
    )
    for result in found.values():
        where = result.machine
        table.add(
            *(f"`{result.name}`", f"`bench/results/{result.file}`", where["date"], where["cpu"]),
            *(where["cores"], f"{where['memory_bytes'] / 2**30:.0f} GiB", where["kernel"]),
            where["python"],
        )
    if table.rows:
        yield from table.lines()
    else:
        yield _NOT_YET


def _section(result: Result) -> str:
    """Return a scenario's tables, plot and notes."""
    parts = []
    for plain in result.found["tables"]:
        table = Table(plain["title"], plain["columns"], plain["rows"])
        parts.append(f"{table.title}\n\n" + "\n".join(table.lines()))
    if result.rounds:
        parts.append(f"![{result.name}: every round](performance/{result.name}.svg)")
    if notes := result.found["notes"]:
        parts.append("\n".join(f"- {note}" for note in notes))
    return "\n\n".join(parts)


def _short(value: float) -> str:
    """Return a figure with three digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def main(argv: Sequence[str] | None = None) -> int:
    """Write the document and the plots; the exit code."""
    if list(sys.argv[1:] if argv is None else argv):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        found = results()
        text = document(DOCUMENT.read_text(), found)
        PLOTS.mkdir(exist_ok=True)
        for result in found.values():
            if result.rounds:
                draw(result.name, result.rounds, result.digest, PLOTS / f"{result.name}.svg")
    except (ValueError, MissingError) as error:
        print(error, file=sys.stderr)
        return 1
    DOCUMENT.write_text(text)
    print(f"{len(found)} scenarios, {sum(len(each.verdicts) for each in found.values())} bars")
    return 0


if __name__ == "__main__":
    sys.exit(main())
