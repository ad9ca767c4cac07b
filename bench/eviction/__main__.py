"""Simulates eviction: `python -m bench.eviction TRACE...`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.eviction.boots import usual
from bench.eviction.plot import draw
from bench.eviction.simulation import NAMES, SHARES, Curve, Workload, run, summary
from bench.eviction.synthetic import KINDS, synthetic
from bench.eviction.traces import load
from bench.scenario import MissingError, Table, machine

USES_MADE = 200_000  # of a made trace
READS_MADE = 2000  # of the boot model

_EPILOG = f"""\
TRACE is a file, plain, gzip or xz: 32-bit little-endian block numbers, or one decimal number a line.
`boot` is a model of virtual machines that boot, from sources that can do ranges and others that
cannot; what counts there is what the sources send. `synthetic` is all made traces, or one of them:
{", ".join(KINDS)}.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command of these arguments; the exit code."""
    arguments = _parser().parse_args(argv)
    began = time.monotonic()
    curves: list[Curve] = []
    try:
        for name in arguments.trace:
            workloads = _workloads(name, arguments.uses)
            for curve in run(workloads, arguments.sizes, arguments.policies):
                curves.append(curve)
                _print(curve.table())
        if arguments.plot is not None:
            arguments.plot.mkdir(parents=True, exist_ok=True)
            for kind in ("png", "svg"):
                draw(curves, arguments.plot / f"eviction.{kind}")
    except MissingError as error:
        print(error, file=sys.stderr)
        return 1
    _print(summary(curves))
    print(f"({time.monotonic() - began:.0f} s)")
    if arguments.json is not None:
        plain = {"machine": machine(), "curves": [curve.plain() for curve in curves]}
        arguments.json.write_text(json.dumps(plain, indent=1) + "\n")
    return 0


def _workloads(name: str, uses: int | None) -> Sequence[Workload]:
    if name == "boot":
        return usual(READS_MADE)
    if name == "synthetic":
        return synthetic(uses or USES_MADE)
    if name in KINDS:
        return synthetic(uses or USES_MADE, [name])
    trace = load(Path(name))
    return [trace if uses is None else trace.first(uses)]


def _print(table: Table) -> None:
    print(f"{table.title}\n\n" + "\n".join(table.lines()) + "\n", flush=True)


def _shares(text: str) -> tuple[float, ...]:
    shares = tuple(float(each) / 100 for each in text.split(","))
    if not all(0 < share <= 1 for share in shares):
        raise argparse.ArgumentTypeError("sizes are percents of a trace's blocks")
    return shares


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := set(names) - set(NAMES):
        raise argparse.ArgumentTypeError(f"no policy {min(unknown)}; known: {', '.join(NAMES)}")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.eviction",
        description="Simulates eviction with the policies that the cache uses.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("trace", nargs="+", metavar="TRACE")
    parser.add_argument(
        "--sizes",
        type=_shares,
        default=SHARES,
        metavar="PERCENT,...",
        help="sizes of the cache, as percents of a trace's blocks (0.5 to 80)",
    )
    parser.add_argument(
        "--policies", type=_names, default=NAMES, metavar="NAME,...", help=", ".join(NAMES)
    )
    parser.add_argument("--uses", type=int, metavar="N", help="only the first N uses of a trace")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--plot", type=Path, metavar="DIR", help="draw eviction.png and .svg there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
