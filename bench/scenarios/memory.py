"""Memory with 1,000 idle connections and 16 fills in progress."""

from __future__ import annotations

import resource
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from bench.bars import BARS
from bench.cold import opener, settle
from bench.images import MIB
from bench.load import TOKEN, WrongAnswerError
from bench.load.whole import Wholes, read_whole
from bench.origin import Image, Origin, image, origin
from bench.peers.peer import Peer
from bench.rounds import Figures
from bench.scenario import Options, Report, Scenario
from bench.server import Server
from bench.sides import OURS, Sides, chosen

IDLE = 1000
FILLS = 16
IMAGE_BYTES = 64 * MIB
IMAGE_BYTES_QUICK = 16 * MIB
FILL_BYTES = 10_000_000  # per second and fill, where the origin is behind a link: 1.3 Gbit/s in all
LOOK_SECONDS = 0.1
SPARE_FILES = 256
IDLE_SECONDS = 60.0  # for an answer
EMPTY, CONNECTED, FILLING, SECONDS = "started MiB", "connections MiB", "filling MiB", "fills s"


def run(options: Options) -> Report:
    """Fill from an origin behind a link, so that all fills are long, and from one as fast as it goes."""
    store = options.directory / "store"
    size = IMAGE_BYTES_QUICK if options.quick else IMAGE_BYTES
    images = [image(store, size, seed=seed) for seed in range(FILLS)]
    images += [image(store, size, published=False, seed=seed) for seed in range(FILLS)]
    small = opener(store)
    _allow_files()
    sides = {}
    with ExitStack() as stack:
        for speed, rate in (("link", FILL_BYTES), ("unlimited", 0)):
            where = options.directory / f"origin-{speed}"
            source = stack.enter_context(origin(where, [*images, small], rate=rate))
            for peer in chosen(options, ("nginx",)):
                home = options.directory / "peer"
                for kind, some in (("published", images[:FILLS]), ("learned", images[FILLS:])):
                    if peer.name == OURS or kind == "learned":
                        told = f", {kind}" if peer.name == OURS else ""
                        sides[f"{peer.name}{told}, {speed}"] = partial(
                            _turn, home, source, peer, small, some
                        )
        found = Sides.measured("memory", sides, options)
    return Report(
        [
            found.table(
                f"Anonymous memory with {IDLE:,} idle connections, then with {FILLS} fills of {size // MIB} MiB beside them, medians of {options.rounds} rounds",
                (EMPTY, CONNECTED, FILLING, SECONDS),
                ratio=FILLING,
            )
        ],
        [
            found.rounds.note(),
            f"filling: the most that was seen, looked at every {LOOK_SECONDS:g} s; memory that processes share counts once",
            f"link: the origin gives each fill {FILL_BYTES / 1e6:.0f} MB/s; one client reads each image",
        ],
        [
            BARS["memory"].judge(found.spread(name, FILLING), name)
            for name in found.names
            if name.startswith(OURS)
        ],
        {"memory": found.plain()},
    )


def _turn(home: Path, source: Origin, peer: Peer, small: Image, images: Sequence[Image]) -> Figures:
    shutil.rmtree(home, ignore_errors=True)
    with peer.start(home, source.url) as server:
        read_whole(server, [small.target])
        settle(server)
        empty = server.anonymous_bytes()
        with _idle(server, small), ThreadPoolExecutor(1) as pool:
            connected = server.anonymous_bytes()
            targets = [each.target for each in images]
            read = pool.submit(read_whole, server, targets, connections=FILLS)
            most = _most(server, read)
        seconds = read.result().seconds
    shutil.rmtree(home)
    return {
        EMPTY: empty / MIB,
        CONNECTED: connected / MIB,
        FILLING: most / MIB,
        SECONDS: seconds,
    }


def _most(server: Server, load: Future[Wholes]) -> int:
    """Look how much memory it has until the load is over."""
    most = 0
    while not load.done():
        most = max(most, server.anonymous_bytes())
        time.sleep(LOOK_SECONDS)
    return most


@contextmanager
def _idle(server: Server, small: Image) -> Iterator[None]:
    """Keep connections open on which an image was read once."""
    address = urlsplit(server.url)
    with ExitStack() as stack:
        for _ in range(IDLE):
            connection = HTTPConnection(str(address.hostname), address.port, timeout=IDLE_SECONDS)
            stack.callback(connection.close)
            connection.request("GET", small.target.path, headers={"X-Auth-Token": TOKEN})
            if len(connection.getresponse().read()) != small.size:
                raise WrongAnswerError(f"{server.name}: too little of {small.target.path}")
        yield


def _allow_files() -> None:
    """Let this process, and servers that it starts, have enough connections open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 2 * IDLE + SPARE_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * IDLE + SPARE_FILES), hard))


SCENARIO = Scenario(
    "memory", "anonymous memory with 1,000 idle connections and 16 fills", run, rounds=3
)
