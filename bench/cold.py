"""Images that nobody has asked for yet, read through a server that was just started."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.images import MIB
from bench.load.whole import read_whole
from bench.origin import Image, Origin, image
from bench.peers.peer import Peer
from bench.rounds import Figures
from bench.server import Server

SETTLE_SECONDS = 60.0
POLL_SECONDS = 0.01
GB = 1e9

RATE, CPU, FETCHED, READS, MEMORY = "MB/s", "CPU s/GB", "fetched", "reads", "peak MiB"
FIRST, LAST = "first s", "last s"


@dataclass(frozen=True, slots=True)
class Cold:
    """Starts peers before an origin, each time with an empty cache."""

    home: Path
    source: Origin
    opener: Image  # small: opens connections, and loads code that is loaded when first needed

    @contextmanager
    def started(self, peer: Peer, *, workers: int = 1) -> Iterator[Server]:
        """Start one that has nothing cached but the opener; its files are emptied with the block."""
        home = self.home / f"peer-{sum(1 for _ in self.home.glob('peer-*'))}"
        with peer.start(home, self.source.url, workers=workers) as server:
            read_whole(server, [self.opener.target])
            settle(server)
            yield server
        _empty(home)

    def read(self, server: Server, wanted: Image, *, connections: int = 1) -> Figures:
        """Have so many clients read an image at once.

        The processor's time is that until nothing is left to do: what was put off counts.
        """
        bytes_before, answers_before = self.source.sent()
        cpu = server.cpu_seconds()
        read = read_whole(server, [wanted.target], connections=connections)
        settle(server)
        used = server.cpu_seconds() - cpu
        fetched, answers = self.source.sent()
        return {
            RATE: read.rate / 1e6,
            CPU: used / (read.bytes / GB),
            FETCHED: (fetched - bytes_before) / wanted.size,
            READS: answers - answers_before,
            MEMORY: server.peak_bytes() / MIB,
            FIRST: read.done[0],
            LAST: read.done[-1],
        }


def opener(home: Path) -> Image:
    """Make the image that is read before anything is measured."""
    return image(home, MIB, seed=1)


def settle(server: Server) -> None:
    """Wait until a server has no fill in progress; one without metrics has nothing put off."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while server.metrics_url and server.metrics()["cacheproxy_flights"]:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{server.name} fills for {SETTLE_SECONDS:.0f} s after its reader")
        time.sleep(POLL_SECONDS)


def _empty(home: Path) -> None:
    """Cut all files below to nothing, before the kernel writes what is dirty of them.

    They are not removed: an ext4 without a journal looks at each inode that was freed in the last
    minutes before it gives one to a new file, and whoever is measured next would pay for it.
    """
    for path in home.rglob("*"):
        if path.is_file() and not path.is_symlink():
            os.truncate(path, 0)
