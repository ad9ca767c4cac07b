"""64 clients want one cold image at the same moment: how often it is fetched, when the last one has it."""

from __future__ import annotations

from functools import partial

from bench.bars import BARS
from bench.cold import CPU, FETCHED, FIRST, LAST, MEMORY, READS, Cold, opener
from bench.images import MIB
from bench.load.whole import read_whole
from bench.origin import Image, image, origin
from bench.peers import PEERS
from bench.peers.peer import Peer
from bench.rounds import Figures
from bench.scenario import Options, Report, Scenario
from bench.sides import OURS, Sides, chosen

CLIENTS = 64
IMAGE_BYTES = 64 * MIB
IMAGE_BYTES_QUICK = 8 * MIB
ALONE, WARM, BOUND = "alone s", "warm MB/s", "last / bound"


def run(options: Options) -> Report:
    """Have each side serve one client alone, cold, then the herd, cold, and the herd again."""
    size = IMAGE_BYTES_QUICK if options.quick else IMAGE_BYTES
    store = options.directory / "store"
    published = [image(store, size, seed=seed) for seed in (0, 1)]
    learned = [image(store, size, published=False, seed=seed) for seed in (0, 1)]
    small = opener(store)
    others = ("nginx", "nginx-whole", "varnish", "squid", "trafficserver")
    with origin(options.directory / "origin", [*published, *learned, small]) as source:
        cold = Cold(options.directory, source, small)
        sides = {
            f"{OURS}, published": partial(_herd, cold, PEERS[OURS], *published),
            f"{OURS}, learned": partial(_herd, cold, PEERS[OURS], *learned),
        }
        for peer in chosen(options, others)[1:]:
            sides[peer.name] = partial(_herd, cold, peer, *learned)
        found = Sides.measured("cold-herd", sides, options)
    ours = found.names[0]
    return Report(
        [
            found.table(
                f"{CLIENTS} clients, one cold image of {size // MIB} MiB, medians of {options.rounds} rounds",
                (FETCHED, READS, FIRST, LAST, ALONE, WARM, BOUND, CPU, MEMORY),
                ratio=LAST,
            )
        ],
        [
            found.rounds.note(),
            f"bound: one client alone, cold, and then {CLIENTS} images at the rate of the same {CLIENTS} clients, warm; each server's own",
            "fetched: bytes that the origin sent / image; reads: its answers; CPU seconds are per GB sent to clients",
        ],
        [
            BARS["cold-herd-fetched"].judge(found.spread(ours, FETCHED)),
            BARS["cold-herd-done"].judge(found.spread(ours, BOUND)),
        ],
        {"cold-herd": found.plain()},
    )


def _herd(cold: Cold, peer: Peer, one: Image, all_of_them: Image) -> Figures:
    with cold.started(peer) as server:
        alone = cold.read(server, one)[LAST]
        herd = cold.read(server, all_of_them, connections=CLIENTS)
        warm = read_whole(server, [all_of_them.target], connections=CLIENTS)
    in_turn = alone + CLIENTS * all_of_them.size / warm.rate
    return {**herd, ALONE: alone, WARM: warm.rate / 1e6, BOUND: herd[LAST] / in_turn}


SCENARIO = Scenario(
    "cold-herd",
    "64 clients on one cold image: data fetched, time of the last one, all peers",
    run,
    rounds=9,
)
