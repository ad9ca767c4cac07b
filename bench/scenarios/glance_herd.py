"""16 clients want one cold image at the same moment: from Glance and its cache, and from ours before it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.bars import BARS
from bench.cold import settle
from bench.glance import Glance, glances
from bench.images import MIB
from bench.load import Target, WrongAnswerError
from bench.load.whole import read_whole
from bench.origin import image
from bench.peers import PEERS
from bench.rounds import Figures
from bench.scenario import MissingError, Options, Report, Scenario
from bench.server import LOAD_CORE, Server, pinned
from bench.sides import OURS, Sides

CLIENTS = 16
IMAGE_BYTES = 128 * MIB
IMAGE_BYTES_QUICK = 16 * MIB
SECONDS_MAX = 300.0
FIRST, LAST, GLANCE_CPU, OUR_CPU, READS = (
    *("first s", "last s", "Glance's CPU s", "our CPU s", "store reads"),
)


def run(options: Options) -> Report:
    """Let the herd come in turn; nobody has the image then but Glance's store."""
    store = options.directory / "store"
    wanted = image(store, IMAGE_BYTES_QUICK if options.quick else IMAGE_BYTES)
    small = image(store, MIB, seed=1)
    with glances(options.directory / "theirs") as theirs:
        cached = theirs.caching.add(wanted)
        theirs.caching.keep(cached)
        target, opener = theirs.plain.add(wanted), theirs.plain.add(small)
        sides: dict[str, Callable[[], Figures]] = {
            OURS: partial(_ours, options.directory / "ours", theirs.plain, target, opener),
            "glance": partial(_theirs, theirs.caching, cached),
        }
        found = Sides.measured("glance-herd", sides, options)
    return Report(
        [
            found.table(
                f"{CLIENTS} clients, one cold image of {wanted.size // MIB} MiB, medians of {options.rounds} rounds",
                (FIRST, LAST, GLANCE_CPU, OUR_CPU, READS),
                ratio=LAST,
            )
        ],
        [
            found.rounds.note(),
            "store reads: what Glance's processes read from files in all, in images of that size, to a tenth (its database is read too)",
            "Glance with its cache has the servers' core; ours has that in its turn, before a Glance without a cache that shares the other core with the clients",
        ],
        [
            BARS["glance-herd"].judge(found.ratio(LAST, "glance", OURS)),
            BARS["glance-herd-cpu"].judge(found.ratio(GLANCE_CPU, OURS, "glance")),
            BARS["glance-herd-reads"].judge(found.spread(OURS, READS)),
        ],
        {"glance-herd": found.plain()},
    )


def _theirs(theirs: Glance, target: Target) -> Figures:
    theirs.forget(target)
    read, cpu = theirs.read_bytes(), theirs.server.cpu_seconds()
    done = _herd(theirs.server, target)
    return {
        FIRST: done[0],
        LAST: done[-1],
        GLANCE_CPU: theirs.server.cpu_seconds() - cpu,
        OUR_CPU: 0.0,
        READS: theirs.images_read(read, target),
    }


def _ours(home: Path, theirs: Glance, target: Target, opener: Target) -> Figures:
    shutil.rmtree(home, ignore_errors=True)
    with PEERS[OURS].start(home, theirs.server.url) as ours:
        read_whole(ours, [opener])
        settle(ours)
        read, cpu, our_cpu = theirs.read_bytes(), theirs.server.cpu_seconds(), ours.cpu_seconds()
        done = _herd(ours, target)
        settle(ours)
        return {
            FIRST: done[0],
            LAST: done[-1],
            GLANCE_CPU: theirs.server.cpu_seconds() - cpu,
            OUR_CPU: ours.cpu_seconds() - our_cpu,
            READS: theirs.images_read(read, target),
        }


def _herd(server: Server, target: Target) -> list[float]:
    """Read with all clients; when each was done.  curl: Glance sends in chunks what it caches."""
    curl = shutil.which("curl")
    if curl is None:
        raise MissingError("no curl here: Debian's package curl")
    url = server.url + target.path
    command = [
        *(curl, "--silent", "--parallel", "--parallel-immediate", "--parallel-max", str(CLIENTS)),
        *("--header", f"X-Auth-Token: {target.token}"),
        *("--write-out", "%{http_code} %{size_download} %{time_total}\n"),
        *(word for _ in range(CLIENTS) for word in ("--output", "/dev/null", url)),
    ]
    with pinned(LOAD_CORE):
        ran = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS_MAX, check=False
        )
    answers = [line.split() for line in ran.stdout.splitlines()]
    right = [each for each in answers if each[:2] == ["200", str(target.size)]]
    if ran.returncode or len(right) != CLIENTS:
        raise WrongAnswerError(f"{server.name}: curl {ran.returncode}: {answers}")
    return sorted(float(seconds) for _, _, seconds in right)


SCENARIO = Scenario(
    "glance-herd", "16 clients on one cold image, against Glance and its cache", run, rounds=9
)
