"""Several servers at once before one origin, each with the same images cached."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Concatenate, ParamSpec

from bench.cold import settle
from bench.images import MIB
from bench.load import Answered
from bench.load.whole import read_whole
from bench.origin import Image, Origin, origin
from bench.peers.peer import CACHE_BYTES
from bench.rounds import Figures
from bench.scenario import Options
from bench.server import Server
from bench.sides import Sides, chosen

REQUESTS, MICROSECONDS, P50, P99, MEMORY = (
    *("requests/s", "CPU µs/request", "p50 ms", "p99 ms", "peak MiB"),
)
RANGED = (REQUESTS, MICROSECONDS, P50, P99)  # what `ranged` finds
WHOLE_READS = 2  # the second is a hit everywhere
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Ready:
    """Running servers by name, ours first."""

    servers: dict[str, Server]
    source: Origin

    def measured(
        self,
        what: str,
        turn: Callable[Concatenate[Server, P], Figures],
        options: Options,
        *args: P.args,
        **more: P.kwargs,
    ) -> Sides:
        """Take turns with all of them."""
        sides = {
            name: partial(turn, server, *args, **more) for name, server in self.servers.items()
        }
        return Sides.measured(what, sides, options)


@contextmanager
def ready(
    options: Options, default: Sequence[str], images: Sequence[Image], *, workers: int = 1
) -> Iterator[Ready]:
    """Start ourselves and the peers that the options name, or else these, and read all images."""
    with ExitStack() as stack:
        source = stack.enter_context(origin(options.directory / "origin", images))
        servers = {
            peer.name: stack.enter_context(
                peer.start(
                    options.directory / peer.name,
                    source.url,
                    workers=workers,
                    cache_bytes=CACHE_BYTES,
                )
            )
            for peer in chosen(options, default)
        }
        for server in servers.values():
            for each in images:
                read_whole(server, [each.target], times=WHOLE_READS)
            settle(server)
        yield Ready(servers, source)


def ranged(server: Server, load: Callable[[], Answered]) -> Figures:
    """Put a load of ranges on a server: how many came, what each cost, how long it took."""
    cpu = server.cpu_seconds()
    read = load()
    return {
        REQUESTS: read.rate,
        MICROSECONDS: (server.cpu_seconds() - cpu) / read.requests * 1e6,
        P50: read.latencies.p50 * 1e3,
        P99: read.latencies.p99 * 1e3,
    }


def peak_mib(server: Server) -> float:
    """Return the most memory that a server's processes had, in MiB."""
    return server.peak_bytes() / MIB
