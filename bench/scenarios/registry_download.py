"""An image out of our catalog and out of Glance 33, whole and by ranges, both with a file store."""

from __future__ import annotations

from functools import partial

from bench.bars import BARS
from bench.catalogs import (
    BUSY,
    CONNECTIONS,
    CPU_GB,
    GLANCE,
    LOAD_BUSY,
    MB_RATE,
    PEAK,
    RATE,
    Side,
    catalogs,
    compared,
)
from bench.catalogs import COLUMNS as CALL_COLUMNS
from bench.cost import costing
from bench.images import MIB, random_bytes
from bench.load import Target
from bench.load.whole import read_ranges, read_whole, sha512_of
from bench.rounds import Figures
from bench.scenario import Options, Report, Scenario
from bench.server import path_of
from bench.sides import OURS, Sides

IMAGE_BYTES = 256 * MIB
IMAGE_BYTES_QUICK = 32 * MIB
TIMES = 4  # it is read in each round
RANGES = {"64 KiB": 64 << 10, "1 MiB": MIB}
SECONDS = 3.0
COLUMNS = (MB_RATE, CPU_GB, BUSY, LOAD_BUSY, PEAK)
ROUNDS = 5


def run(options: Options) -> Report:
    """Read whole over one connection, and ranges at random places over a few."""
    data = random_bytes(IMAGE_BYTES_QUICK if options.quick else IMAGE_BYTES)
    report = Report([])
    with catalogs(options.directory) as sides:
        targets = {
            side.server.name: Target(path_of(side.api.add(data)), len(data), side.token)
            for side in sides
        }
        first, second = (sha512_of(side.server, targets[side.server.name]) for side in sides)
        assert first == second

        def whole(side: Side) -> Figures:
            read = partial(read_whole, side.server, [targets[side.server.name]], times=TIMES)
            found, cost = costing(side.server, read)
            return {
                MB_RATE: found.rate / 1e6,
                CPU_GB: cost.cpu_seconds / (found.bytes / 1e9),
                BUSY: 100 * cost.server_busy,
                LOAD_BUSY: 100 * cost.load_busy,
                PEAK: side.server.peak_bytes() / MIB,
            }

        def ranges(side: Side, size: int) -> Figures:
            read = partial(
                read_ranges,
                side.server,
                [targets[side.server.name]],
                size,
                seconds=0.5 if options.quick else SECONDS,
                connections=CONNECTIONS,
            )
            return side.figures(*costing(side.server, read))

        what = f"An image of {len(data) // MIB} MiB, whole"
        found = compared("registry-download, whole", sides, whole, options)
        _add(report, what, found, COLUMNS, MB_RATE, "registry-download")
        for name, size in RANGES.items():
            turn = partial(ranges, size=size)
            found = compared(f"registry-download, {name}", sides, turn, options)
            _add(report, f"Ranges of {name}", found, CALL_COLUMNS, RATE, "registry-range")
    return report


def _add(  # noqa: PLR0913, PLR0917  what was found, and what it is held to
    report: Report, what: str, found: Sides, columns: tuple[str, ...], figure: str, bar: str
) -> None:
    title = f"{what}, medians of {len(found.values(OURS, figure))} rounds"
    report.tables.append(found.table(title, columns, ratio=figure))
    report.notes.append(f"{what}: {found.rounds.note()}")
    report.verdicts.append(BARS[bar].judge(found.ratio(figure, OURS, GLANCE), what))
    report.rounds[what] = found.plain()


SCENARIO = Scenario(
    "registry-download", "an image, whole and by ranges, against Glance 33", run, ROUNDS
)
