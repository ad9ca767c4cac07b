"""Random ranges among many cached images: more files than a worker keeps open."""

from __future__ import annotations

from collections.abc import Sequence

from bench.hits import saturated
from bench.images import MIB
from bench.load import CONNECTIONS, Target
from bench.origin import image
from bench.ready import MEMORY, RANGED, REQUESTS, peak_mib, ranged, ready
from bench.rounds import Figures
from bench.scenario import Options, Report, Scenario
from bench.server import Server

IMAGES = 200
IMAGES_QUICK = 40
IMAGE_BYTES = 4 * MIB
RANGE_BYTES = 64 << 10
SECONDS = 2.0
SECONDS_QUICK = 1.0


def run(options: Options) -> Report:
    """Read ranges of all of them in turn."""
    count = IMAGES_QUICK if options.quick else IMAGES
    images = [image(options.directory / "store", IMAGE_BYTES, seed=seed) for seed in range(count)]
    seconds = SECONDS_QUICK if options.quick else SECONDS
    default = ("nginx", "varnish", "squid", "trafficserver")
    with ready(options, default, images) as all_of_them:
        targets = [each.target for each in images]
        found = all_of_them.measured("many-images", _turn, options, targets, seconds)
    return Report(
        [
            found.table(
                f"{count} images of {IMAGE_BYTES // MIB} MiB, ranges of {RANGE_BYTES >> 10} KiB, {CONNECTIONS} connections, medians of {options.rounds} rounds",
                (*RANGED, MEMORY),
                ratio=REQUESTS,
            )
        ],
        [found.rounds.note()],
        rounds={"many-images": found.plain()},
    )


def _turn(server: Server, targets: Sequence[Target], seconds: float) -> Figures:
    found = ranged(server, lambda: saturated(server, targets, RANGE_BYTES, seconds))
    return {**found, MEMORY: peak_mib(server)}


SCENARIO = Scenario("many-images", "random ranges among 200 images, all peers", run, rounds=9)
