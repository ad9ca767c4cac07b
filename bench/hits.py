"""Servers that have an image cached, all of it in memory, and were seen to answer alike."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from bench.bars import BARS, Verdict
from bench.cold import settle
from bench.cost import Cost, costing
from bench.images import MIB, part
from bench.load import Answered, Latencies, Target, WrongAnswerError
from bench.load.ranges import random_ranges
from bench.load.whole import read_ranges, sha512_of
from bench.origin import Image, Origin, image, origin
from bench.peers.nginx import NGINX
from bench.rounds import Figures
from bench.scenario import Options, Report
from bench.server import Server
from bench.sides import OURS, Sides, chosen

T = TypeVar("T")

IMAGE_BYTES = 256 * MIB
IMAGE_BYTES_QUICK = 16 * MIB
WHOLE_READS = 2  # the second is a hit everywhere
RANGES_COMPARED = 64
RANGE_BYTES_MAX = 3 * MIB
# From here on wrk's core would be as busy as the server's: of a plain nginx it can take 45,000 ranges
# of 64 KiB a second, for which that one needs three quarters of its own.
LARGE_BYTES = 64 << 10
ROUNDS = 9

SIZES = {"4k": ("4 KiB", 4 << 10), "64k": ("64 KiB", 64 << 10), "1m": ("1 MiB", MIB)}

RATE, CPU = "requests/s", "CPU µs/request"
FETCHED, PEAK, ANONYMOUS = "fetched MiB", "peak MiB", "anonymous MiB"
SERVER_BUSY, LOAD_BUSY = "server's core %", "load's core %"
P50, P99, P999 = "p50 ms", "p99 ms", "p99.9 ms"


@dataclass(frozen=True, slots=True)
class Warm:
    """Servers that are ready, ours first."""

    servers: Sequence[Server]
    image: Image
    source: Origin

    @property
    def targets(self) -> list[Target]:
        """What is asked for."""
        return [self.image.target]

    def measured(self, what: str, turn: Callable[[Server], Figures], options: Options) -> Sides:
        """Measure all of them in turn."""
        sides = {each.name: partial(self._turn, each, turn) for each in self.servers}
        return Sides.measured(what, sides, options)

    def _turn(self, server: Server, turn: Callable[[Server], Figures]) -> Figures:
        before, _ = self.source.sent()
        figures = turn(server)
        fetched, _ = self.source.sent()
        return {
            **figures,
            FETCHED: (fetched - before) / MIB,
            PEAK: server.peak_bytes() / MIB,
            ANONYMOUS: server.anonymous_bytes() / MIB,
        }


@contextmanager
def warm(options: Options, peers: Sequence[str]) -> Iterator[Warm]:
    """Start us and these peers, or those of the command line, and have each cache the same image.

    WrongAnswerError if one does not answer as the origin's file says, whole and by ranges.
    """
    home = options.directory
    wanted = image(home / "store", IMAGE_BYTES_QUICK if options.quick else IMAGE_BYTES)
    with origin(home / "origin", [wanted]) as source, ExitStack() as stack:
        servers = []
        for peer in chosen(options, peers):
            server = stack.enter_context(peer.start(home / peer.name, source.url))
            compare(server, wanted)
            servers.append(server)
        os.sync()  # nothing of the caches is to be written while something is measured
        yield Warm(servers, wanted, source)


def compare(server: Server, wanted: Image) -> None:
    """Read all of an image, twice, and ranges; WrongAnswerError for the first that is not right."""
    for _ in range(WHOLE_READS):
        if sha512_of(server, wanted.target) != wanted.sha512:
            raise WrongAnswerError(f"{server.name}: the image has another hash")
        settle(server)
    choice = random.Random(wanted.id)
    with wanted.data.open("rb") as file:
        for _ in range(RANGES_COMPARED):
            first = choice.randrange(wanted.size)
            stop = min(wanted.size, first + choice.randrange(1, RANGE_BYTES_MAX))
            file.seek(first)
            if part(server, wanted.id, first, stop) != file.read(stop - first):
                raise WrongAnswerError(f"{server.name}: bytes {first}-{stop - 1} are wrong")


def costed(server: Server, run: Callable[[], T]) -> tuple[T, Cost, dict[str, float]]:
    """Run; the result, what it cost, and how busy both cores were."""
    found, cost = costing(server, run)
    busy = {SERVER_BUSY: cost.server_busy * 100, LOAD_BUSY: cost.load_busy * 100}
    return found, cost, busy


def saturated(
    server: Server, targets: Sequence[Target], range_bytes: int, seconds: float
) -> Answered:
    """Read random ranges as fast as the server gives them."""
    if range_bytes < LARGE_BYTES:
        return random_ranges(server, targets, range_bytes, seconds=seconds)
    return read_ranges(server, targets, range_bytes, seconds=seconds)


def milliseconds(latencies: Latencies) -> dict[str, float]:
    """Return latencies as figures."""
    return {P50: latencies.p50 * 1e3, P99: latencies.p99 * 1e3, P999: latencies.p999 * 1e3}


def add(report: Report, what: str, found: Sides, figures: Sequence[str]) -> None:
    """Add what was found to the report's table: a row a server, with the ratio of the first figure."""
    for name in found.names:
        ratio = "" if name == OURS else str(found.ratio(figures[0], OURS, name))
        cells = (significant(found.median(name, figure)) for figure in figures)
        report.tables[0].add(what, name, ratio, *cells)
        fetched = sum(found.values(name, FETCHED))
        if fetched:
            report.notes.append(f"{what}: {name} fetched {fetched:.1f} MiB: not all were hits")
    report.rounds[what] = found.plain()
    report.notes.append(f"{what}: {found.rounds.note()}")


def significant(value: float) -> float | int:
    """Return a figure with three digits, or all before the point."""
    return round(value) if abs(value) >= 100 else float(f"{value:.3g}")


def against_nginx(report: Report, bar: str, found: Sides, figure: str) -> None:
    """Judge by nginx, if it was measured."""
    if NGINX.name in found.names:
        report.verdicts.append(BARS[bar].judge(found.ratio(figure, OURS, NGINX.name)))


def against_best(bar: str, found: Sides, figure: str) -> Verdict:
    """Judge by the peer that is best at a figure."""
    best = min if BARS[bar].at_most else max
    peer = best(found.names[1:], key=lambda name: found.median(name, figure))
    return BARS[bar].judge(found.ratio(figure, OURS, peer), peer)
