"""One client reads one cold image: verified by us, with either kind of manifest, as it is by others."""

from __future__ import annotations

import hashlib
import time
from functools import partial

from bench.cold import CPU, FETCHED, MEMORY, RATE, Cold, opener
from bench.images import MIB
from bench.load.whole import sha512_of
from bench.origin import Image, image, origin
from bench.peers import PEERS
from bench.rounds import Figures, Ratio, alternated
from bench.scenario import Options, Report, Scenario, Table
from bench.server import SERVER_CORE, pinned

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
            "cacheproxy, published": partial(cold.read, PEERS["cacheproxy"], published),
            "cacheproxy, learned": partial(cold.read, PEERS["cacheproxy"], learned),
            "nginx": partial(cold.read, PEERS["nginx"], learned),
            "nginx-whole": partial(cold.read, PEERS["nginx-whole"], learned),
            "SHA-512 alone": partial(_hash, learned),
        }
        names = list(sides)
        found = alternated(list(sides.values()), options.rounds, what="cold-one")
    table = Table(
        f"One client, one cold image of {size // MIB} MiB, medians of {options.rounds} rounds",
        ("server", RATE, CPU, "data fetched / image", MEMORY),
    )
    for side, name in enumerate(names):
        table.add(name, *(round(found.median(side, f), 3) for f in (RATE, CPU, FETCHED, MEMORY)))
    ratios = Table(
        "Bytes per second, ours / theirs",
        ("ours", "theirs", "median", "90 % interval", "least", "most", "bar", "aim"),
    )
    rates = {name: found.values(side, RATE) for side, name in enumerate(names)}
    hashing = rates.pop("SHA-512 alone")
    for peer in ("nginx", "nginx-whole"):
        one = f"SHA-512, then {peer}"
        rates[one] = [1 / (1 / a + 1 / b) for a, b in zip(hashing, rates[peer], strict=True)]
        for kind, theirs, bar, aim in (("published", peer, 0.9, 1.1), ("learned", one, 0.9, 1.0)):
            ours = f"cacheproxy, {kind}"
            pairs = zip(rates[ours], rates[theirs], strict=True)
            ratio = Ratio.of([above / below for above, below in pairs])
            interval = f"{ratio.low:.2f} to {ratio.high:.2f}"
            row = (ratio.median, interval, ratio.least, ratio.most)
            ratios.add(
                ours, theirs, *(x if isinstance(x, str) else round(x, 3) for x in row), bar, aim
            )
    return Report(
        [ratios, table],
        [
            found.note(),
            "CPU seconds of a server are those until its fill has ended, SHA-512 included; others verify nothing",
            "'SHA-512, then nginx' is 1 / (1/SHA-512 + 1/nginx): what one core allows that does both in turn",
        ],
    )


def _check(cold: Cold, wanted: Image) -> None:
    """Compare what comes cold with what the origin has."""
    with cold.started(PEERS["cacheproxy"]) as server:
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
        MEMORY: 0.0,
    }


SCENARIO = Scenario(
    "cold-one", "one client reads a cold image, verified by us, against nginx's cold fill", run
)
