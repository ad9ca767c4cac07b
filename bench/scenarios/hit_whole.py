"""A cached image as a whole, read by one client and by 16: bytes per second, and what they cost."""

from __future__ import annotations

from functools import partial

from bench.hits import (
    ANONYMOUS,
    FETCHED,
    LOAD_BUSY,
    PEAK,
    ROUNDS,
    SERVER_BUSY,
    Warm,
    add,
    against_best,
    costed,
    warm,
)
from bench.load.whole import read_whole
from bench.rounds import Figures
from bench.scenario import Options, Report, Scenario, Table
from bench.server import Server

CLIENTS = (1, 16)
SECONDS = 1.5  # and until the image that is being read then has ended
RATE, CPU = "GB/s", "CPU s/GB"
COLUMNS = (RATE, CPU, SERVER_BUSY, LOAD_BUSY, PEAK, ANONYMOUS, FETCHED)
DEFAULT_PEERS = ("nginx", "nginx-whole", "varnish", "squid", "trafficserver")


def run(options: Options) -> Report:
    """Measure with few and many clients, all servers in turn."""
    report = Report([])
    with warm(options, DEFAULT_PEERS) as ready:
        table = Table(
            f"A cached image of {ready.image.size >> 20} MiB, read as a whole,"
            f" medians of {options.rounds} rounds; ratio: GB/s, ours / theirs",
            ("clients", "server", "ratio [90 %]", *COLUMNS),
        )
        report.tables.append(table)
        for clients in CLIENTS:
            what = f"{clients} client{'s' if clients > 1 else ''}"
            turn = partial(_turn, ready, clients, 0.2 if options.quick else SECONDS)
            found = ready.measured(f"hit-whole, {what}", turn, options)
            add(report, what, found, COLUMNS)
            for figure, suffix in ((RATE, ""), (CPU, "-cpu")):
                bar = f"hit-whole-{clients}{suffix}"
                report.verdicts.append(against_best(bar, found, figure))
    return report


def _turn(ready: Warm, clients: int, seconds: float, server: Server) -> Figures:
    found, cost, busy = costed(
        server, lambda: read_whole(server, ready.targets, connections=clients, seconds=seconds)
    )
    return {RATE: found.rate / 1e9, CPU: cost.cpu_seconds / (found.bytes / 1e9), **busy}


SCENARIO = Scenario(
    "hit-whole", "a whole cached image, 1 client and 16, against the best of others", run, ROUNDS
)
