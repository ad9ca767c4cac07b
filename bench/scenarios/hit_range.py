"""Random ranges of a cached image, of three sizes: requests per second, and what each costs."""

from __future__ import annotations

from functools import partial

from bench.hits import (
    ANONYMOUS,
    CPU,
    FETCHED,
    LOAD_BUSY,
    P50,
    P99,
    P999,
    PEAK,
    RATE,
    ROUNDS,
    SERVER_BUSY,
    SIZES,
    Warm,
    add,
    against_nginx,
    costed,
    milliseconds,
    saturated,
    warm,
)
from bench.load import CONNECTIONS
from bench.peers.nginx import NGINX
from bench.rounds import Figures
from bench.scenario import Options, Report, Scenario, Table
from bench.server import Server

SECONDS = 3.0
COLUMNS = (RATE, CPU, P50, P99, P999, SERVER_BUSY, LOAD_BUSY, PEAK, ANONYMOUS, FETCHED)


def run(options: Options) -> Report:
    """Measure each size, all servers in turn."""
    table = Table(
        f"Random ranges of a cached image, {CONNECTIONS} connections,"
        f" medians of {options.rounds} rounds; ratio: requests/s, ours / theirs",
        ("range", "server", "ratio [90 %]", *COLUMNS),
    )
    report = Report([table])
    with warm(options, (NGINX.name,)) as ready:
        for size, (name, range_bytes) in SIZES.items():
            turn = partial(_turn, ready, range_bytes, quick=options.quick)
            found = ready.measured(f"hit-range {size}", turn, options)
            add(report, name, found, COLUMNS)
            against_nginx(report, f"hit-range-{size}", found, RATE)
    return report


def _turn(ready: Warm, range_bytes: int, server: Server, *, quick: bool) -> Figures:
    seconds = 1.0 if quick else SECONDS
    found, cost, busy = costed(
        server, lambda: saturated(server, ready.targets, range_bytes, seconds)
    )
    return {
        RATE: found.rate,
        CPU: cost.cpu_seconds / found.requests * 1e6,
        **milliseconds(found.latencies),
        **busy,
    }


SCENARIO = Scenario(
    "hit-range",
    "random ranges of 4 KiB, 64 KiB and 1 MiB of a cached image, against nginx",
    run,
    ROUNDS,
)
