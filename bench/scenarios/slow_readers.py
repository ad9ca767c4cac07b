"""Fast readers beside 500 that hardly read: what becomes of their rate and of their worst waits."""

from __future__ import annotations

from bench.beside import CRAWL_BYTES, crawling
from bench.hits import saturated
from bench.images import MIB
from bench.load import CONNECTIONS, Target
from bench.origin import image
from bench.ready import MICROSECONDS, ready
from bench.rounds import Figures
from bench.scenario import Options, Report, Scenario
from bench.server import Server

SLOW = 500
SLOW_QUICK = 100
IMAGE_BYTES = 256 * MIB
IMAGE_BYTES_QUICK = 32 * MIB
RANGE_BYTES = 64 << 10
SECONDS = 3.0
SECONDS_QUICK = 1.0
ALONE, BESIDE, KEPT = "alone requests/s", "beside requests/s", "beside / alone"
ALONE_P99, BESIDE_P99, ANONYMOUS = "alone p99 ms", "beside p99 ms", "anonymous MiB"


def run(options: Options) -> Report:
    """Read ranges in turn, first alone, then beside slow readers of whole images."""
    size = IMAGE_BYTES_QUICK if options.quick else IMAGE_BYTES
    wanted = image(options.directory / "store", size)
    slow = SLOW_QUICK if options.quick else SLOW
    seconds = SECONDS_QUICK if options.quick else SECONDS
    with ready(options, ("nginx",), [wanted]) as all_of_them:
        found = all_of_them.measured("slow-readers", _turn, options, wanted.target, slow, seconds)
    return Report(
        [
            found.table(
                f"Ranges of {RANGE_BYTES >> 10} KiB over {CONNECTIONS} fast connections, alone and beside {slow} slow ones, medians of {options.rounds} rounds",
                (ALONE, ALONE_P99, BESIDE, BESIDE_P99, KEPT, MICROSECONDS, ANONYMOUS),
                ratio=BESIDE,
            )
        ],
        [
            found.rounds.note(),
            f"each slow one takes {CRAWL_BYTES >> 10} KiB/s of a whole image; who makes them shares the load's core, so that both servers' rates fall",
            f"{MICROSECONDS}: beside the slow ones, what those cost included",
        ],
        rounds={"slow-readers": found.plain()},
    )


def _turn(server: Server, target: Target, slow: int, seconds: float) -> Figures:
    alone = saturated(server, [target], RANGE_BYTES, seconds)
    with crawling(server, target, slow):
        cpu = server.cpu_seconds()
        beside = saturated(server, [target], RANGE_BYTES, seconds)
        used = server.cpu_seconds() - cpu
        anonymous = server.anonymous_bytes()
    return {
        ALONE: alone.rate,
        ALONE_P99: alone.latencies.p99 * 1e3,
        BESIDE: beside.rate,
        BESIDE_P99: beside.latencies.p99 * 1e3,
        KEPT: beside.rate / alone.rate,
        MICROSECONDS: used / beside.requests * 1e6,
        ANONYMOUS: anonymous / MIB,
    }


SCENARIO = Scenario(
    "slow-readers", "500 slow connections beside 16 fast ones, against nginx", run, rounds=9
)
