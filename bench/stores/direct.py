"""Cold images read by a proxy straight from the store behind Glance, and by the same through Glance.

The proxy starts with an empty cache each time.  It has the core of the servers; Glance, Keystone, the
store and the reader share the other one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cold import opener, settle
from bench.glance import server_of
from bench.images import MIB
from bench.load import Target
from bench.load.drain import SECONDS_MAX, Reader, Wanted
from bench.load.whole import read_whole, sha512_of
from bench.origin import Image, image
from bench.peers.own import start
from bench.rounds import Figures
from bench.scenario import Options, Report, Scenario
from bench.server import LOAD_CORE, Server, path_of, pinned
from bench.sides import OURS, Sides
from bench.stores.services import installed

if TYPE_CHECKING:
    from harness.keystone import Keystone
    from harness.stores import Store

IMAGE_BYTES = 256 * MIB
IMAGE_BYTES_QUICK = 16 * MIB
RANGES = {"64 KiB": 64 << 10, "1 MiB": MIB}
DIRECT, THROUGH = f"{OURS}, direct", f"{OURS}, through Glance"
ELAPSED, FIRST, GLANCE_CPU, OUR_CPU, FROM_GLANCE, FROM_STORE = (
    *("elapsed s", "first byte s", "Glance's CPU s", "our CPU s"),
    *("from Glance MiB", "from the store MiB"),
)
COLUMNS = (ELAPSED, FIRST, GLANCE_CPU, OUR_CPU, FROM_GLANCE, FROM_STORE)

STORES = """
[stores]
config_file = {file}
[service_user]
auth_url = {keystone}
username = {user}
password = {password}
project_name = {project}
"""
NOTHING_MORE = "[cache]\ncomplete_in_background = false\n"

# Starts a store with its files below a directory, for as long as the context is open.
Starter = Callable[[ExitStack, Path, "Keystone"], "Store"]


@dataclass(frozen=True, slots=True)
class Scene:
    """A Glance with an image in a store, and what a proxy is told to read that itself."""

    home: Path  # of the proxies
    glance: Server
    wanted: Target
    opener: Target
    stores: str

    @contextmanager
    def proxy(self, side: str, more: str = "") -> Iterator[Server]:
        """Start a proxy that has nothing cached but the opener."""
        home = self.home / f"proxy-{sum(1 for _ in self.home.glob('proxy-*'))}"
        told = self.stores if side == DIRECT else ""
        with start(home, self.glance.url, more=told + more) as server:
            read_whole(server, [self.opener])
            settle(server)
            yield server

    def read(self, side: str, span: tuple[int, int] | None) -> Figures:
        """Read the image, or so many bytes from a first one, and nothing but that."""
        with self.proxy(side, "" if span is None else NOTHING_MORE) as server:
            if span is None:
                wanted = Wanted.whole(server, self.wanted)
            else:
                wanted = Wanted.part(server, self.wanted, *span)
            moved, cpu, ours = server.metrics(), self.glance.cpu_seconds(), server.cpu_seconds()
            first, elapsed = _timed(server, wanted)
            settle(server)
            glances, own = self.glance.cpu_seconds() - cpu, server.cpu_seconds() - ours
            now = server.metrics()
        return {
            ELAPSED: elapsed,
            FIRST: first,
            GLANCE_CPU: glances,
            OUR_CPU: own,
            FROM_GLANCE: _mib(now, moved, "cacheproxy_upstream_bytes_total"),
            FROM_STORE: _mib(now, moved, "cacheproxy_direct_bytes_total"),
        }

    def check(self, wanted: Image) -> None:
        """Compare what comes from the store with what it was given; see that it comes from there."""
        with self.proxy(DIRECT) as server:
            if sha512_of(server, self.wanted) != wanted.sha512:
                raise RuntimeError("a cold image does not match its hash")
            settle(server)
            if _mib(server.metrics(), {}, "cacheproxy_upstream_bytes_total"):
                raise RuntimeError("an image came through Glance that its store was to give")


def _timed(server: Server, wanted: Wanted) -> tuple[float, float]:
    """Ask; when the body's first bytes and its last one came.  It sleeps while it waits."""
    with pinned(LOAD_CORE):
        reader = Reader(server, iter([wanted]))
        try:
            reader.sock.settimeout(SECONDS_MAX)
            began = time.perf_counter()
            reader.ask()
            ended = reader.read()
            first = time.perf_counter() - began
            while not ended:
                ended = reader.read()
            return first, time.perf_counter() - began
        finally:
            reader.sock.close()


def _mib(now: Mapping[str, float], before: Mapping[str, float], name: str) -> float:
    """Return what a counter, over all of its labels, has grown by."""
    grown = (value - before.get(key, 0) for key, value in now.items() if key.startswith(name))
    return sum(grown) / MIB


def scenario(name: str, what: str, starter: Starter) -> Scenario:
    """Make the scenario of one kind of store."""
    return Scenario(
        name,
        f"a cold image and ranges of it straight from {what}, against the same proxy through Glance",
        partial(_run, name, what, starter),
    )


def _run(name: str, what: str, starter: Starter, options: Options) -> Report:
    size = IMAGE_BYTES_QUICK if options.quick else IMAGE_BYTES
    wanted = image(options.directory / "images", size)
    report = Report([])
    with _scene(options.directory, starter, wanted) as scene:
        scene.check(wanted)
        first = 3 * size // 4 + 12_345
        cases: dict[str, tuple[int, int] | None] = {"whole": None}
        cases |= {told: (first, length) for told, length in RANGES.items()}
        for case, span in cases.items():
            found = Sides.measured(
                f"{name}, {case}",
                {side: partial(scene.read, side, span) for side in (DIRECT, THROUGH)},
                options,
            )
            title = f"{size // MIB} MiB, whole" if span is None else f"{case} of {size // MIB} MiB"
            report.tables.append(
                found.table(
                    f"{title}, cold, from {what}: medians of {options.rounds} rounds",
                    COLUMNS,
                    ratio=ELAPSED,
                )
            )
            report.rounds[f"{name}, {case}"] = found.plain()
            report.notes.append(f"{case}: {found.rounds.note()}")
    report.notes.append(
        "ranges: with `complete_in_background` off, so that only what is asked for is read; Glance"
        " refuses ranges of this store, and sends the image from its first byte on"
    )
    return report


@contextmanager
def _scene(home: Path, starter: Starter, wanted: Image) -> Iterator[Scene]:
    from harness.glance import running_stored_glance  # noqa: PLC0415  the command line says where
    from harness.images_api import ImagesApi  # noqa: PLC0415
    from harness.keystone import GLANCE, running_keystone  # noqa: PLC0415

    home = home.resolve()
    directories = {name: home / name for name in ("keystone", "glance", "store", "proxies")}
    for directory in directories.values():
        directory.mkdir()
    with installed(), ExitStack() as stack:
        with pinned(LOAD_CORE):
            keystone = stack.enter_context(running_keystone(directories["keystone"]))
            store = starter(stack, directories["store"], keystone)
            glance = stack.enter_context(
                running_stored_glance(directories["glance"], keystone, [store], shown=())
            )
        api = ImagesApi(glance.url, glance.headers)

        def add(each: Image) -> Target:
            image_id = api.create()
            store.upload(api, image_id, each.data.read_bytes())
            return Target(path_of(image_id), each.size, api.headers["X-Auth-Token"])

        yield Scene(
            directories["proxies"],
            server_of(glance),
            add(wanted),
            add(opener(home / "images")),
            STORES.format(
                file=glance.directory / "glance-api.conf",
                keystone=keystone.url,
                user=GLANCE.name,
                password=GLANCE.password,
                project=GLANCE.project,
            ),
        )
