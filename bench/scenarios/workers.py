"""Two workers on two cores: how many requests they answer, and how evenly connections spread."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from bench.bars import BARS
from bench.images import MIB
from bench.load import CONNECTIONS, Answered, Target
from bench.load.ranges import random_ranges
from bench.origin import image
from bench.ready import MEMORY, RANGED, REQUESTS, peak_mib, ranged, ready
from bench.rounds import Figures
from bench.scenario import MissingError, Options, Report, Scenario
from bench.server import CORES, Server
from bench.sides import OURS

WORKERS = 2
IMAGE_BYTES = 256 * MIB
IMAGE_BYTES_QUICK = 32 * MIB
RANGE_BYTES = 64 << 10
SECONDS = 4.0
SECONDS_QUICK = 1.0
SHARE = "largest share of connections"


def run(options: Options) -> Report:
    """Read ranges in turn; in the middle of each turn look who has how many connections."""
    if len(CORES) < WORKERS:
        raise MissingError(f"{len(CORES)} processor cores: {WORKERS} are needed")
    size = IMAGE_BYTES_QUICK if options.quick else IMAGE_BYTES
    wanted = image(options.directory / "store", size)
    seconds = SECONDS_QUICK if options.quick else SECONDS
    with ready(options, ("nginx",), [wanted], workers=WORKERS) as all_of_them:
        found = all_of_them.measured("workers", _turn, options, wanted.target, seconds)
    return Report(
        [
            found.table(
                f"{WORKERS} workers, ranges of {RANGE_BYTES >> 10} KiB, {CONNECTIONS} connections, medians of {options.rounds} rounds",
                (*RANGED, SHARE, MEMORY),
                ratio=REQUESTS,
            )
        ],
        [
            found.rounds.note(),
            "the load shares the second core with the servers, whosever they are",
        ],
        [
            BARS["workers-balance"].judge(found.spread(OURS, SHARE)),
            *(
                BARS["workers"].judge(found.ratio(REQUESTS, OURS, name), name)
                for name in found.names[1:]
            ),
        ],
        {"workers": found.plain()},
    )


def _turn(server: Server, target: Target, seconds: float) -> Figures:
    spread: Counter[int] = Counter()

    def load() -> Answered:
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(random_ranges, server, [target], RANGE_BYTES, seconds=seconds)
            time.sleep(seconds / 2)
            spread.update(_connections(server))
            return reading.result()

    found = ranged(server, load)
    share = max(spread.values()) / spread.total()
    return {**found, SHARE: share, MEMORY: peak_mib(server)}


def _connections(server: Server) -> Counter[int]:
    """Return how many connections of clients each of its processes has."""
    port = urlsplit(server.url).port
    return Counter(
        process.pid
        for process in server.processes()
        for connection in process.net_connections("tcp")
        if connection.laddr.port == port and connection.status == "ESTABLISHED"
    )


SCENARIO = Scenario(
    "workers",
    "two workers on two cores, against two of nginx; who has the connections",
    run,
    rounds=9,
)
