"""From the start of a server, its cache on the disk, until it has answered a request."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from bench.cold import settle
from bench.images import MIB, part
from bench.load.whole import read_whole
from bench.origin import Image, Origin, image, origin
from bench.peers.peer import Peer
from bench.ready import MEMORY, peak_mib
from bench.rounds import Figures
from bench.scenario import Options, Report, Scenario
from bench.sides import Sides, chosen

IMAGES = 32
IMAGES_QUICK = 4
IMAGE_BYTES = 32 * MIB
RANGE_BYTES = 64 << 10
WRITE_SECONDS = 6.0  # Traffic Server writes down every few seconds what it has
UP, ANSWERED, CPU, FETCHED = "up s", "first answer s", "CPU s", "fetched MiB"


def run(options: Options) -> Report:
    """Fill the cache of each, and then start them again, in turn."""
    count = IMAGES_QUICK if options.quick else IMAGES
    images = [image(options.directory / "store", IMAGE_BYTES, seed=seed) for seed in range(count)]
    sides = {}
    with origin(options.directory / "origin", images) as source:
        for peer in chosen(options, ("nginx", "varnish", "squid", "trafficserver")):
            home = options.directory / peer.name
            with peer.start(home, source.url) as server:
                for each in images:
                    read_whole(server, [each.target])
                settle(server)
                time.sleep(WRITE_SECONDS)
            sides[peer.name] = partial(_turn, home, source, peer, images[-1])
        found = Sides.measured("restart", sides, options)
    return Report(
        [
            found.table(
                f"{count} images of {IMAGE_BYTES // MIB} MiB in the cache, medians of {options.rounds} rounds",
                (UP, ANSWERED, CPU, FETCHED, MEMORY),
                ratio=ANSWERED,
            )
        ],
        [
            found.rounds.note(),
            f"up: until it answers at all, looked at every 10 ms; first answer: until {RANGE_BYTES >> 10} KiB of a cached image are there",
            "fetched: what the origin had to send for that; Varnish keeps nothing over a restart",
        ],
        rounds={"restart": found.plain()},
    )


def _turn(home: Path, source: Origin, peer: Peer, wanted: Image) -> Figures:
    fetched = source.sent()[0]
    began = time.perf_counter()
    with peer.start(home, source.url) as server:
        up = time.perf_counter() - began
        _ = part(server, wanted.id, 0, RANGE_BYTES)
        answered = time.perf_counter() - began
        figures = {UP: up, ANSWERED: answered, CPU: server.cpu_seconds(), MEMORY: peak_mib(server)}
    return {**figures, FETCHED: (source.sent()[0] - fetched) / MIB}


SCENARIO = Scenario(
    "restart", "from a start with a warm disk to the first hit, all peers", run, rounds=9
)
