"""How long hits take at one constant rate: half of what the slower one of all bears."""

from __future__ import annotations

from functools import partial
from statistics import median

from bench.hits import (
    CPU,
    FETCHED,
    P50,
    P99,
    P999,
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
from bench.load.steady import steady_ranges
from bench.peers.nginx import NGINX
from bench.rounds import Figures
from bench.scenario import Options, Report, Scenario, Table
from bench.server import Server

MEASURED = ("4k", "64k")
SECONDS = 4.0
SATURATION_SECONDS = 2.0
SATURATIONS = 3  # of which the median counts
RATE_MAX = (
    15_000  # requests/s: what the client bears, which is one thread, with half of its time to spare
)
COLUMNS = (P99, P50, P999, RATE, CPU, SERVER_BUSY, FETCHED)


def run(options: Options) -> Report:
    """Find the rate that all bear twice, and measure all of them at it, in turn."""
    table = Table(
        f"Random ranges of a cached image at a constant rate, {CONNECTIONS} connections, time"
        f" from when each was due, medians of {options.rounds} rounds; ratio: p99, ours / theirs",
        ("range", "server", "ratio [90 %]", *COLUMNS),
    )
    report = Report([table])
    with warm(options, (NGINX.name,)) as ready:
        for size in MEASURED:
            name, range_bytes = SIZES[size]
            borne = {each.name: _saturation(ready, range_bytes, each) for each in ready.servers}
            rate = min(RATE_MAX, *(each / 2 for each in borne.values()))
            told = ", ".join(f"{who} {each:,.0f}" for who, each in borne.items())
            report.notes.append(f"{name}: saturated at {told} requests/s")
            turn = partial(_turn, ready, range_bytes, rate, 1.0 if options.quick else SECONDS)
            found = ready.measured(f"hit-latency {size} at {rate:.0f}/s", turn, options)
            add(report, name, found, COLUMNS)
            against_nginx(report, f"hit-latency-{size}", found, P99)
    return report


def _saturation(ready: Warm, range_bytes: int, server: Server) -> float:
    """Return how many requests a second it answers when all connections always wait."""
    return median(
        saturated(server, ready.targets, range_bytes, SATURATION_SECONDS).rate
        for _ in range(SATURATIONS)
    )


def _turn(ready: Warm, range_bytes: int, rate: float, seconds: float, server: Server) -> Figures:
    found, cost, busy = costed(
        server, lambda: steady_ranges(server, ready.targets, range_bytes, rate, seconds=seconds)
    )
    taken = milliseconds(found.latencies)
    return {
        P99: taken.pop(P99),  # first, as what matters most
        **taken,
        RATE: found.rate,
        CPU: cost.cpu_seconds / found.requests * 1e6,
        SERVER_BUSY: busy[SERVER_BUSY],
    }


SCENARIO = Scenario(
    "hit-latency", "p99 of hits at half of the slower one's saturation, against nginx", run, ROUNDS
)
