"""Random ranges from our cache and from Glance, which goes round its own cache for them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from bench.bars import BARS
from bench.cold import settle
from bench.glance import glances
from bench.images import MIB
from bench.load import Target
from bench.load.whole import read_ranges, read_whole
from bench.origin import image
from bench.peers import PEERS
from bench.ready import MEMORY, RANGED, REQUESTS, peak_mib, ranged
from bench.rounds import Figures
from bench.scenario import Options, Report, Scenario
from bench.server import Server
from bench.sides import OURS, Sides

IMAGE_BYTES = 256 * MIB
IMAGE_BYTES_QUICK = 32 * MIB
SIZES = {"64k": 64 << 10, "1m": MIB}
SECONDS = 3.0
SECONDS_QUICK = 1.0


def run(options: Options) -> Report:
    """Read in turn, over 16 connections; ours is in front of a Glance without a cache."""
    wanted = image(options.directory / "store", IMAGE_BYTES_QUICK if options.quick else IMAGE_BYTES)
    seconds = SECONDS_QUICK if options.quick else SECONDS
    found: dict[str, Sides] = {}
    with (
        glances(options.directory / "theirs") as theirs,
        PEERS[OURS].start(options.directory / "ours", theirs.plain.server.url) as ours,
    ):
        target, cached = theirs.plain.add(wanted), theirs.caching.add(wanted)
        theirs.caching.keep(cached)
        read_whole(ours, [target])
        settle(ours)
        for name, size in SIZES.items():
            sides: dict[str, Callable[[], Figures]] = {
                OURS: partial(_read, ours, target, size, seconds),
                "glance": partial(_read, theirs.caching.server, cached, size, seconds),
            }
            found[name] = Sides.measured(f"glance-range-{name}", sides, options)
    return Report(
        [
            sides_found.table(
                f"Ranges of {SIZES[name] >> 10} KiB, 16 connections, medians of {options.rounds} rounds",
                (*RANGED, MEMORY),
                ratio=REQUESTS,
            )
            for name, sides_found in found.items()
        ],
        [each.rounds.note() for each in found.values()],
        [
            BARS[f"glance-range-{name}"].judge(each.ratio(REQUESTS, OURS, "glance"))
            for name, each in found.items()
        ],
        {f"glance-range-{name}": each.plain() for name, each in found.items()},
    )


def _read(server: Server, target: Target, size: int, seconds: float) -> Figures:
    found = ranged(server, lambda: read_ranges(server, [target], size, seconds=seconds))
    return {**found, MEMORY: peak_mib(server)}


SCENARIO = Scenario(
    "glance-ranges", "random ranges of 64 KiB and 1 MiB, against Glance", run, rounds=9
)
