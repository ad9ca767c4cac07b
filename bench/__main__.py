"""The command line of the measurements: `python -m bench list`, `python -m bench run SCENARIO…`."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.scenario import MissingError, Options, Report, Scenario, machine, scenarios

_DESCRIPTION = "Measures what is claimed of speed, memory and hit ratios, on this machine."
_HARNESS = Path(__file__).parents[1] / "tests"  # what tests start, measurements can start too
_EPILOG = """\
Examples:

  python -m bench list
  python -m bench run eviction --quick
  python -m bench run million-chunks --json bench/results/million-chunks.json
  python -m bench run hit-whole --peers nginx,varnish --rounds 9

Others' servers are Debian's: `make bench-deps` installs them; Glance comes with `make services`.
A quick run shows that a scenario works; its figures mean nothing.  Nothing is installed: what is
missing is told, with the command that brings it.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command of these arguments; the exit code."""
    arguments = _parser().parse_args(argv)
    sys.path.append(str(_HARNESS))
    known = scenarios()
    if arguments.command == "list":
        width = max(map(len, known), default=0)
        for scenario in known.values():
            print(f"{scenario.name:<{width}}  {scenario.help}")
        return 0
    unknown = [name for name in arguments.scenario if name not in known]
    if unknown:
        print(f"no scenario {unknown[0]!r}; known: {', '.join(known)}", file=sys.stderr)
        return 2
    found: dict[str, Any] = {"machine": machine(), "quick": arguments.quick}
    for name in arguments.scenario:
        try:
            found[name] = _run(known[name], arguments).plain()
        except MissingError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
        if arguments.json is not None:  # after each: a later one may fail
            arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def _run(scenario: Scenario, arguments: argparse.Namespace) -> Report:
    print(f"## {scenario.name}: {scenario.help}\n", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=arguments.directory) as directory:
        report = scenario.run(
            Options(
                Path(directory),
                arguments.rounds or scenario.rounds,
                arguments.quick,
                arguments.peers,
            )
        )
    print(report.text())
    print(f"({time.monotonic() - began:.0f} s)\n", flush=True)
    if arguments.plot is not None:
        if report.plot is None:
            print(f"{scenario.name} has nothing to plot", file=sys.stderr)
        else:
            report.plot(arguments.plot)
    return report


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands.add_parser("list", help="name every scenario")
    run = commands.add_parser("run", help="run scenarios and print what they found")
    run.add_argument("scenario", nargs="+", metavar="SCENARIO")
    run.add_argument(
        "--rounds",
        type=int,
        metavar="N",
        help="times each side is measured (5, or 9 where it counts)",
    )
    run.add_argument(
        "--peers",
        type=lambda text: tuple(text.split(",")),
        metavar="PEER,…",
        help="whom to compare with: nginx, varnish, squid, trafficserver, glance"
        " (default: whom the scenario's bars name)",
    )
    run.add_argument("--quick", action="store_true", help="a small sample, to see that it works")
    run.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    run.add_argument("--plot", type=Path, metavar="FILE", help="draw the figures (.png, .svg)")
    run.add_argument(
        "--directory",
        type=Path,
        metavar="DIR",
        help="where scenarios write; its file system is measured (default: the temporary one)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
