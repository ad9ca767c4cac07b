"""Servers that have an image cached, all of it in memory, and were seen to answer alike."""

from __future__ import annotations

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
from bench.load import Latencies, Target, WrongAnswerError
from bench.load.ranges import Ranges, random_ranges
from bench.load.whole import LargeRanges, read_ranges, sha512_of
from bench.origin import Image, Origin, image, origin
from bench.peers import PEERS
from bench.rounds import Figures, Rounds, alternated
from bench.scenario import MissingError, Options, Table
from bench.server import Server

T = TypeVar("T")

OURS = "cacheproxy"
IMAGE_BYTES = 256 * MIB
IMAGE_BYTES_QUICK = 16 * MIB
WHOLE_READS = 2  # the second is a hit everywhere
RANGES_COMPARED = 64
RANGE_BYTES_MAX = 3 * MIB
# From here on wrk's core would be as busy as the server's: of a plain nginx it can take 45,000 ranges
# of 64 KiB a second, for which that one needs three quarters of its own.
LARGE_BYTES = 64 << 10
ROUNDS = 9

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

    def rounds(self, turn: Callable[[Server], Figures], options: Options, what: str) -> Rounds:
        """Measure all of them in turn."""
        sides = [partial(self._turn, server, turn) for server in self.servers]
        return alternated(sides, options.rounds, what=what)

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

    def kept(self, rounds: Rounds) -> dict[str, list[Figures]]:
        """Return what was measured by the name of the server."""
        return {
            server.name: list(figures)
            for server, figures in zip(self.servers, rounds.sides, strict=True)
        }

    def notes(self, rounds: Rounds, what: str) -> Iterator[str]:
        """Say how the rounds were, and who did not answer all from its cache."""
        yield f"{what}: {rounds.note()}"
        for side, server in enumerate(self.servers):
            fetched = sum(rounds.values(side, FETCHED))
            if fetched:
                yield f"{what}: {server.name} fetched {fetched:.1f} MiB again: not all were hits"


@contextmanager
def warm(options: Options, peers: Sequence[str]) -> Iterator[Warm]:
    """Start us and these peers, or those of the command line, and have each cache the same image.

    WrongAnswerError if one does not answer as the origin's file says, whole and by ranges.
    """
    chosen = options.peers or peers
    known = [name for name in PEERS if name != OURS]
    if unknown := sorted(set(chosen) - set(known)):
        raise MissingError(f"no peer {unknown[0]!r}; known: {', '.join(known)}")
    home = options.directory
    wanted = image(home / "store", IMAGE_BYTES_QUICK if options.quick else IMAGE_BYTES)
    with origin(home / "origin", [wanted]) as source, ExitStack() as stack:
        servers = []
        for name in (OURS, *chosen):
            server = stack.enter_context(PEERS[name].start(home / name, source.url))
            compare(server, wanted)
            servers.append(server)
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
) -> Ranges | LargeRanges:
    """Read random ranges as fast as the server gives them."""
    if range_bytes < LARGE_BYTES:
        return random_ranges(server, targets, range_bytes, seconds=seconds)
    return read_ranges(server, targets, range_bytes, seconds=seconds)


def milliseconds(latencies: Latencies) -> dict[str, float]:
    """Return latencies as figures."""
    return {P50: latencies.p50 * 1e3, P99: latencies.p99 * 1e3, P999: latencies.p999 * 1e3}


def compared(table: Table, ready: Warm, rounds: Rounds, what: str, figures: Sequence[str]) -> None:
    """Add a row for each server: medians, and the ratio of the first figure, ours / theirs."""
    for side, server in enumerate(ready.servers):
        ratio = str(rounds.ratio(figures[0], 0, side)) if side else ""
        cells = (significant(rounds.median(side, figure)) for figure in figures)
        table.add(what, server.name, ratio, *cells)


def significant(value: float) -> float | int:
    """Return a figure with three digits, or all before the point."""
    return round(value) if abs(value) >= 100 else float(f"{value:.3g}")


def against_best(bar: str, ready: Warm, rounds: Rounds, figure: str) -> Verdict:
    """Judge by the peer that is best at a figure."""
    best = max if not BARS[bar].at_most else min
    peers = range(1, len(ready.servers))
    peer = best(peers, key=lambda side: rounds.median(side, figure))
    return BARS[bar].judge(rounds.ratio(figure, 0, peer), ready.servers[peer].name)
