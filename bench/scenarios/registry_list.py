"""Pages of 25 records from our catalog and from Glance 33, of 10,000 and of 100,000 images."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import repeat
from pathlib import Path

from bench.bars import BARS
from bench.catalogs import COLUMNS, GLANCE, RATE, Side, catalogs, compared
from bench.load.calls import Call
from bench.records import NEEDLE, fill_ours, fill_theirs, page_marker
from bench.scenario import Options, Report, Scenario
from bench.sides import OURS

COUNTS = (10_000, 100_000)
COUNT_QUICK = 2_000
SECONDS = 2.0
ROUNDS = 5


def run(options: Options) -> Report:
    """List as a member of a project with one image in eight."""
    report = Report([])
    for count in (COUNT_QUICK,) if options.quick else COUNTS:
        _measure(report, options.directory / str(count), count, options)
    return report


def _measure(report: Report, home: Path, count: int, options: Options) -> None:
    with catalogs(home) as sides:
        for side, fill in zip(sides, (fill_ours, fill_theirs), strict=True):
            with side.connected() as database:
                fill(database, count, side.project)
            database.close()
        for what, query in _queries(count).items():
            title = f"{what} of {count:,} images"

            def calls(side: Side, _pick: random.Random, query: str = query) -> Iterator[Call]:
                path = f"/images?limit=25{query}"
                return repeat(side.caller.call("GET", path, 200, holds=b'"virtio"'))

            turn = partial(Side.turn, calls=calls, seconds=0.5 if options.quick else SECONDS)
            found = compared(f"registry-list, {title}", sides, turn, options)
            whole = f"{title}, medians of {options.rounds} rounds"
            report.tables.append(found.table(whole, COLUMNS, ratio=RATE))
            report.notes.append(f"{title}: {found.rounds.note()}")
            report.verdicts.append(
                BARS["registry-list"].judge(found.ratio(RATE, OURS, GLANCE), title)
            )
            report.rounds[title] = found.plain()


def _queries(count: int) -> Mapping[str, str]:
    return {
        "first page": "",
        "page behind a marker in the middle": f"&marker={page_marker(count)}",
        "page filtered by a property": f"&{NEEDLE[0]}={NEEDLE[1]}",
    }


SCENARIO = Scenario(
    "registry-list", "pages of 10,000 and 100,000 images, against Glance 33", run, ROUNDS
)
