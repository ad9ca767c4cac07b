"""A cached image that is on the disk only, and hits in memory meanwhile."""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from bench.cold import settle
from bench.images import MIB, part
from bench.load.steady import steady_ranges
from bench.load.whole import read_whole
from bench.origin import Image, image, origin
from bench.rounds import Figures
from bench.scenario import Options, Report, Scenario
from bench.server import Server
from bench.sides import Sides, chosen

HOT_BYTES = 16 * MIB
COLD_BYTES = 512 * MIB
COLD_BYTES_QUICK = 64 * MIB
RANGE_BYTES = 64 << 10
RATE = 500.0  # hits in memory a second
QUIET_SECONDS, BUSY_SECONDS = 2.0, 3.0
FIRST, WHOLE = "first range ms", "whole MB/s"
QUIET, BUSY, BUSY_MOST = "quiet hit p99 ms", "hit p99 ms", "hit p99.9 ms"


def run(options: Options) -> Report:
    """Have each side read from the disk in turn, with its pages of cached files thrown away."""
    store = options.directory / "store"
    hot = image(store, HOT_BYTES)
    cold = image(store, COLD_BYTES_QUICK if options.quick else COLD_BYTES, seed=1)
    with ExitStack() as stack:
        source = stack.enter_context(origin(options.directory / "origin", [hot, cold]))
        sides = {}
        for peer in chosen(options, ("nginx", "nginx-threads")):
            home = options.directory / peer.name
            server = stack.enter_context(peer.start(home, source.url))
            for each in (hot, cold):
                read_whole(server, [each.target])
            settle(server)
            sides[peer.name] = partial(_turn, server, home, hot, cold)
        found = Sides.measured("cold-disk", sides, options)
    return Report(
        [
            found.table(
                f"A range and the whole of an image of {cold.size // MIB} MiB from the disk, medians of {options.rounds} rounds",
                (FIRST, WHOLE, QUIET, BUSY, BUSY_MOST),
                ratio=WHOLE,
            )
        ],
        [
            found.rounds.note(),
            f"hits in memory: ranges of {RANGE_BYTES >> 10} KiB of another image, {RATE:.0f} a second, open loop, while the whole image is read",
        ],
        rounds={"cold-disk": found.plain()},
    )


def _turn(server: Server, home: Path, hot: Image, cold: Image) -> Figures:
    hits = partial(steady_ranges, server, [hot.target], RANGE_BYTES, RATE, alone=False)
    _drop(home)
    began = time.perf_counter()
    _ = part(server, cold.id, cold.size // 2, cold.size // 2 + RANGE_BYTES)
    first = time.perf_counter() - began
    _drop(home)
    read_whole(server, [hot.target])
    quiet = hits(seconds=QUIET_SECONDS).latencies
    with ProcessPoolExecutor(1, get_context("fork")) as pool:
        whole = pool.submit(read_whole, server, [cold.target])
        busy = hits(seconds=BUSY_SECONDS).latencies
        rate = whole.result().rate
    return {
        FIRST: first * 1e3,
        WHOLE: rate / 1e6,
        QUIET: quiet.p99 * 1e3,
        BUSY: busy.p99 * 1e3,
        BUSY_MOST: busy.p999 * 1e3,
    }


def _drop(home: Path) -> None:
    """Throw away all pages of cached files that are in memory, written to the disk before."""
    for path in home.rglob("*"):
        if path.is_file() and path.stat().st_size:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


SCENARIO = Scenario(
    "cold-disk",
    "a cached image that is only on the disk, and hits meanwhile, against nginx",
    run,
    rounds=9,
)
