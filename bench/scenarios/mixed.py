"""Hits while the server fills and evicts: how much longer they take than when it does nothing else."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench.bars import BARS
from bench.beside import reading
from bench.cold import settle
from bench.images import MIB
from bench.load.steady import steady_ranges
from bench.load.whole import read_whole
from bench.origin import Image, Origin, image, origin
from bench.peers.peer import Peer
from bench.rounds import Figures
from bench.scenario import Options, Report, Scenario
from bench.sides import OURS, Sides, chosen

HOT_BYTES = 64 * MIB
COLD_BYTES = 8 * MIB
COLD_IMAGES = 192
# So many have room in the cache beside the hot one: all that is read was evicted, and what is read
# takes seconds to push something out.  With less, what is hot by a few reads a second goes too.
COLD_ROOM = 96
RANGE_BYTES = 64 << 10
RATE = 1000.0  # requests/s, a tenth of what saturates a core
QUIET_SECONDS, BUSY_SECONDS = 2.0, 3.0
SPEEDS = {"1 Gbit/s": 125e6, "as fast as it goes": float("inf")}  # bytes/s of what is filled
QUIET, BUSY, LONGER = "quiet p99 ms", "busy p99 ms", "busy / quiet"
QUIET_P50, BUSY_P50, BUSY_P999 = "quiet p50 ms", "busy p50 ms", "busy p99.9 ms"
FILLED, EVICTED = "filled MB/s", "evicted MB"


def run(options: Options) -> Report:
    """Measure each side while images come as over a link, and as fast as it fetches them."""
    store = options.directory / "store"
    hot = image(store, HOT_BYTES)
    cold_bytes = COLD_BYTES // 4 if options.quick else COLD_BYTES
    cold = [image(store, cold_bytes, seed=seed) for seed in range(1, COLD_IMAGES + 1)]
    with origin(options.directory / "origin", [hot, *cold]) as source:
        home = options.directory / "peer"
        sides = {
            f"{peer.name}, {speed}": partial(_round, home, source, peer, hot, cold, rate)
            for speed, rate in SPEEDS.items()
            for peer in chosen(options, ("nginx",))
        }
        found = Sides.measured("mixed", sides, options)
    return Report(
        [
            found.table(
                f"Ranges of {RANGE_BYTES >> 10} KiB, {RATE:.0f} a second, open loop; medians of {options.rounds} rounds",
                (QUIET_P50, QUIET, BUSY_P50, BUSY, BUSY_P999, LONGER, FILLED, EVICTED),
                ratio=BUSY,
            )
        ],
        [
            found.rounds.note(),
            f"one client reads {COLD_IMAGES} images of {cold_bytes // MIB} MiB in turn, at that rate at most, through a cache with room for {COLD_ROOM} of them",
            "nginx looks every ten seconds what it has to evict, and holds more than it should until then",
            "all processes of a server, the one that fills too, share its core",
        ],
        [
            BARS["mixed"].judge(found.spread(name, LONGER), f"its own quiet; {name}")
            for name in found.names
            if name.startswith(OURS)
        ],
        {"mixed": found.plain()},
    )


def _round(  # noqa: PLR0913, PLR0917  who, with what, and how fast
    home: Path, source: Origin, peer: Peer, hot: Image, cold: Sequence[Image], rate: float
) -> Figures:
    shutil.rmtree(home, ignore_errors=True)
    room = hot.size + COLD_ROOM * cold[0].size
    with peer.start(home, source.url, cache_bytes=room) as server:
        for each in (*cold[:COLD_ROOM], hot, hot):  # then it is full
            read_whole(server, [each.target])
        settle(server)
        ask = partial(steady_ranges, server, [hot.target], RANGE_BYTES, RATE, alone=False)
        quiet = ask(seconds=QUIET_SECONDS).latencies
        before, began = source.sent()[0], time.monotonic()
        evicted = _evicted(server.metrics() if server.metrics_url else {})
        with reading(server, [each.target for each in cold[COLD_ROOM:]], rate):
            busy = ask(seconds=BUSY_SECONDS).latencies
        seconds = time.monotonic() - began
        evicted = _evicted(server.metrics() if server.metrics_url else {}) - evicted
    return {
        QUIET_P50: quiet.p50 * 1e3,
        QUIET: quiet.p99 * 1e3,
        BUSY_P50: busy.p50 * 1e3,
        BUSY: busy.p99 * 1e3,
        BUSY_P999: busy.p999 * 1e3,
        LONGER: busy.p99 / quiet.p99,
        FILLED: (source.sent()[0] - before) / seconds / 1e6,
        EVICTED: evicted / 1e6,
    }


def _evicted(figures: dict[str, float]) -> float:
    return sum(
        value
        for name, value in figures.items()
        if name.startswith("cacheproxy_evicted_bytes_total")
    )


SCENARIO = Scenario(
    "mixed", "latency of hits while a fill and an eviction run, against quiet", run, rounds=9
)
