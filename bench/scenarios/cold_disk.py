"""A cached image that is on the disk only, and hits in memory meanwhile."""

from __future__ import annotations

import os
import statistics
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from bench.cold import settle
from bench.images import MIB
from bench.load.drain import Wanted, drained
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
FIRST_RANGES = 16  # each in the middle of another MiB
RATE = 500.0  # hits in memory a second
QUIET_SECONDS, BUSY_SECONDS = 2.0, 3.0
FIRST, WHOLE, CPU = "first range ms", "whole MB/s", "CPU s/GB"
GB = 1e9
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
                (FIRST, WHOLE, CPU, QUIET, BUSY, BUSY_MOST),
                ratio=WHOLE,
            )
        ],
        [
            found.rounds.note(),
            f"first range: {RANGE_BYTES >> 10} KiB from the middle of a MiB of which nothing is in memory, over a connection that was used before; the median of {FIRST_RANGES}",
            "whole and CPU: one client alone; then it is dropped and read again, with hits meanwhile",
            f"hits in memory: ranges of {RANGE_BYTES >> 10} KiB of another image, {RATE:.0f} a second, open loop, while the whole image is read",
        ],
        rounds={"cold-disk": found.plain()},
    )


def _turn(server: Server, home: Path, hot: Image, cold: Image) -> Figures:
    hits = partial(steady_ranges, server, [hot.target], RANGE_BYTES, RATE, alone=False)
    _drop(home)
    step = cold.size // (FIRST_RANGES + 1) // MIB * MIB
    places = [number * step + MIB // 2 for number in range(FIRST_RANGES + 1)]
    # The one before opens the connection, and has its right asked about.
    wanted = [Wanted.part(server, cold.target, place, RANGE_BYTES) for place in places]
    firsts = drained(server, [wanted]).latencies[1:]
    _drop(home)
    cpu = server.cpu_seconds()
    whole = read_whole(server, [cold.target])
    cpu = server.cpu_seconds() - cpu
    _drop(home)
    read_whole(server, [hot.target])
    quiet = hits(seconds=QUIET_SECONDS).latencies
    with ProcessPoolExecutor(1, get_context("fork")) as pool:
        again = pool.submit(read_whole, server, [cold.target])
        busy = hits(seconds=BUSY_SECONDS).latencies
        _ = again.result()
    return {
        FIRST: statistics.median(firsts) * 1e3,
        WHOLE: whole.rate / 1e6,
        CPU: cpu / (whole.bytes / GB),
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
