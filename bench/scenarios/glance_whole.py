"""A whole image from our cache and from Glance's own, both warm."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from bench.bars import BARS
from bench.cold import CPU, GB, MEMORY, RATE, settle
from bench.glance import glances
from bench.images import MIB
from bench.load import Target
from bench.load.whole import read_whole
from bench.origin import image
from bench.peers import PEERS
from bench.rounds import Figures
from bench.scenario import Options, Report, Scenario
from bench.server import Server
from bench.sides import OURS, Sides

IMAGE_BYTES = 256 * MIB
IMAGE_BYTES_QUICK = 32 * MIB
TIMES = 8  # it is read in each round


def run(options: Options) -> Report:
    """Read in turn, over one connection; ours is in front of a Glance without a cache."""
    wanted = image(options.directory / "store", IMAGE_BYTES_QUICK if options.quick else IMAGE_BYTES)
    with (
        glances(options.directory / "theirs") as theirs,
        PEERS[OURS].start(options.directory / "ours", theirs.plain.server.url) as ours,
    ):
        target, cached = theirs.plain.add(wanted), theirs.caching.add(wanted)
        theirs.caching.keep(cached)
        read_whole(ours, [target])
        settle(ours)
        sides: dict[str, Callable[[], Figures]] = {
            OURS: partial(_read, ours, target),
            "glance": partial(_read, theirs.caching.server, cached),
        }
        found = Sides.measured("glance-whole", sides, options)
    return Report(
        [
            found.table(
                f"One client, a warm image of {wanted.size // MIB} MiB, medians of {options.rounds} rounds",
                (RATE, CPU, MEMORY),
                ratio=RATE,
            )
        ],
        [
            found.rounds.note(),
            "Glance: one gunicorn worker, 16 threads, tokens checked by Keystone",
        ],
        [
            BARS["glance-whole"].judge(found.ratio(RATE, OURS, "glance")),
            BARS["glance-whole-cpu"].judge(found.ratio(CPU, OURS, "glance")),
        ],
        {"glance-whole": found.plain()},
    )


def _read(server: Server, target: Target) -> Figures:
    cpu = server.cpu_seconds()
    read = read_whole(server, [target], times=TIMES)
    return {
        RATE: read.rate / 1e6,
        CPU: (server.cpu_seconds() - cpu) / (read.bytes / GB),
        MEMORY: server.peak_bytes() / MIB,
    }


SCENARIO = Scenario(
    "glance-whole", "a whole image, warm, against Glance's own cache", run, rounds=9
)
