"""One client reads one cold image: verified by us, with either kind of manifest, as it is by others."""

from __future__ import annotations

import hashlib
import time
from functools import partial

from bench.bars import BARS
from bench.cold import CPU, FETCHED, MEMORY, RATE, READS, Cold, opener
from bench.images import MIB
from bench.load.whole import sha512_of
from bench.origin import Image, image, origin
from bench.peers import PEERS
from bench.peers.peer import Peer
from bench.rounds import Figures, Ratio
from bench.scenario import Options, Report, Scenario
from bench.server import SERVER_CORE, pinned
from bench.sides import OURS, Sides, chosen

IMAGE_BYTES = 512 * MIB
IMAGE_BYTES_QUICK = 32 * MIB


def run(options: Options) -> Report:
    """Start each side empty, in turn, and read; hash the image in turn with them."""
    size = IMAGE_BYTES_QUICK if options.quick else IMAGE_BYTES
    store = options.directory / "store"
    published = image(store, size)
    learned = image(store, size, published=False)
    small = opener(store)
    with origin(options.directory / "origin", [published, learned, small]) as source:
        cold = Cold(options.directory, source, small)
        _check(cold, published)
        _check(cold, learned)
        sides = {
            f"{OURS}, published": partial(_one, cold, PEERS[OURS], published),
            f"{OURS}, learned": partial(_one, cold, PEERS[OURS], learned),
            "SHA-512 alone": partial(_hash, learned),
        }
        for peer in chosen(options, ("nginx", "nginx-whole"))[1:]:
            sides[peer.name] = partial(_one, cold, peer, learned)
        found = Sides.measured("cold-one", sides, options)
    table = found.table(
        f"One client, one cold image of {size // MIB} MiB, medians of {options.rounds} rounds",
        (RATE, CPU, FETCHED, READS, MEMORY),
        ratio=RATE,
    )
    verdicts = []
    for name in found.names[3:]:
        published_ratio = found.ratio(RATE, f"{OURS}, published", name)
        verdicts.append(BARS["cold-one-published"].judge(published_ratio, name))
        learned_ratio = _in_turn(found, f"{OURS}, learned", "SHA-512 alone", name)
        verdicts.append(BARS["cold-one-learned"].judge(learned_ratio, name))
    return Report(
        [table],
        [
            found.rounds.note(),
            "CPU seconds are those until the server's fill has ended, SHA-512 included; others verify nothing",
            "fetched: bytes that the origin sent / image; reads: its answers",
        ],
        verdicts,
        {"cold-one": found.plain()},
    )


def _in_turn(found: Sides, ours: str, one: str, other: str) -> Ratio:
    """Compare ours with what a core gives that does first the one and then the other."""
    rates = (found.values(side, RATE) for side in (ours, one, other))
    return Ratio.of([rate * (1 / a + 1 / b) for rate, a, b in zip(*rates, strict=True)])


def _one(cold: Cold, peer: Peer, wanted: Image) -> Figures:
    with cold.started(peer) as server:
        return cold.read(server, wanted)


def _check(cold: Cold, wanted: Image) -> None:
    """Compare what comes cold with what the origin has."""
    with cold.started(PEERS[OURS]) as server:
        if sha512_of(server, wanted.target) != wanted.sha512:
            raise RuntimeError("a cold image does not match its hash")


def _hash(wanted: Image) -> Figures:
    """Hash the image on the core that the servers have."""
    pieces = []
    with wanted.data.open("rb") as file:
        while piece := file.read(MIB):
            pieces.append(piece)
    with pinned(SERVER_CORE):
        began, cpu = time.perf_counter(), time.process_time()
        whole = hashlib.sha512()
        for piece in pieces:
            whole.update(piece)
        seconds, used = time.perf_counter() - began, time.process_time() - cpu
    return {
        RATE: wanted.size / 1e6 / seconds,
        CPU: used / (wanted.size / 1e9),
        FETCHED: 0.0,
        READS: 0.0,
        MEMORY: 0.0,
    }


SCENARIO = Scenario(
    "cold-one",
    "one client reads a cold image, verified by us, against nginx's cold fill",
    run,
    rounds=9,
)
