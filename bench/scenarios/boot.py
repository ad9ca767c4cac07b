"""A small Debian starts in qemu from an image over HTTP: what is fetched of it until its login prompt.

The image and the machine are those of the tests (`tests/harness/guest.py`, `machine.py`).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median

import pytest

from bench.scenario import Cell, MissingError, Options, Report, Scenario, Table
from harness.catalog import running_catalog
from harness.glance import running_file_server, running_open_glance
from harness.guest import Guest, kept_guest
from harness.images_api import ImagesApi
from harness.machine import (
    PROMPT,
    PROMPT_SECONDS,
    accelerator_of,
    drive_at,
    drive_of,
    running_machine,
)
from harness.node import SIGNED_URLS, Node, running_node
from harness.waiting import until

MIB = 1 << 20
FILL_SECONDS = 300.0
EVICT_SECONDS = 60.0
COLD, WARM, EVICTED = "cold", "warm", "chunks evicted"
NOT_COMPLETED = "complete_in_background = false"

NOTES = (
    "all but `fetched at last` is as it was at the login prompt; the guest shares the machine",
    "not completed: `complete_in_background = false`",
    "chunks evicted: as after an eviction; what the proxy had learned of the image stayed",
    "processor time and memory are those of the proxy's keeper and its one worker",
    "Glance itself cannot be what the machine reads from: it refuses HEAD (405)",
)
COLUMNS = (
    *("image from", "start", "s to prompt", "reads", "sent MiB", "fetched MiB", "of image %"),
    *("fetches", "fetched at last MiB", "CPU s", "memory MiB"),
)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a proxy gets the image from."""

    name: str
    upstream: str
    image: str
    starts: Sequence[str]  # one after the other
    cache: str = ""  # more for the section of that name


@dataclass(frozen=True, slots=True)
class Start:
    """One start of the machine to its prompt, and what the proxy had done for it by then."""

    seconds: float
    reads: float = 0  # of the machine
    sent: float = 0
    fetched: float = 0
    fetches: float = 0  # requests to the upstream
    cpu_seconds: float = 0
    memory: float = 0  # each shared page divided among those who share it
    fetched_at_last: float = 0  # when the proxy has no more to do


@dataclass(frozen=True, slots=True)
class Stage:
    """What all starts have in common."""

    directory: Path
    guest: Guest
    accelerator: str

    @property
    def size(self) -> int:
        """Bytes of the image."""
        return self.guest.qcow2.stat().st_size

    def unproxied(self, drive: str) -> Start:
        """Start the machine from a drive."""
        began = time.monotonic()
        with running_machine(self.directory, drive, self.accelerator) as machine:
            machine.expect(PROMPT, PROMPT_SECONDS)
            return Start(time.monotonic() - began)

    def proxied(self, node: Node, image: str) -> Start:
        """Start the machine from an image behind a proxy, at a signed URL."""
        before, used = _figures(node), _cpu_seconds(node)
        drive = drive_at(node.signed_url(image), "qcow2")
        began = time.monotonic()
        with running_machine(self.directory, drive, self.accelerator) as machine:
            machine.expect(PROMPT, PROMPT_SECONDS)
            seconds = time.monotonic() - began
            then, used = _figures(node), _cpu_seconds(node) - used
            memory = sum(each.memory_full_info().pss for each in node.program.children())
        last = _settled(node)
        return Start(
            seconds,
            reads=then["reads"] - before["reads"],
            sent=then["sent"] - before["sent"],
            fetched=then["fetched"] - before["fetched"],
            fetches=then["fetches"] - before["fetches"],
            cpu_seconds=used,
            memory=memory,
            fetched_at_last=last["fetched"] - before["fetched"],
        )


def run(options: Options) -> Report:
    """Start it from a file, from a server, and from proxies: cold, warm, and without its chunks."""
    directory = options.directory.resolve()
    try:
        guest = kept_guest()
        stage = Stage(directory, guest, accelerator_of(guest, directory))
        starts = _starts(options, stage)
    except (pytest.skip.Exception, pytest.fail.Exception) as missing:
        raise MissingError(str(missing)) from None
    table = Table(
        f"Debian of {stage.size / MIB:.0f} MiB (qcow2 of a disk of"
        f" {guest.raw.stat().st_size // MIB} MiB), {stage.accelerator},"
        f" medians of {options.rounds}",
        COLUMNS,
    )
    for (name, what), seen in starts.items():
        table.add(name, what, *_row(seen, stage.size))
    return Report(
        [table],
        list(NOTES),
    )


def _row(starts: list[Start], size: int) -> Iterator[Cell]:
    middle = Start(*(median(getattr(each, f.name) for each in starts) for f in fields(Start)))
    yield round(middle.seconds, 1)
    yield round(middle.reads)
    yield round(middle.sent / MIB, 1)
    yield round(middle.fetched / MIB, 1)
    yield round(middle.fetched / size * 100, 1)
    yield round(middle.fetches)
    yield round(middle.fetched_at_last / MIB, 1)
    yield round(middle.cpu_seconds, 2)
    yield round(middle.memory / MIB)


def _starts(options: Options, stage: Stage) -> dict[tuple[str, str], list[Start]]:
    seen: dict[tuple[str, str], list[Start]] = defaultdict(list)
    with ExitStack() as stack:
        catalog = stack.enter_context(running_catalog(_made(stage, "catalog")))
        published = ImagesApi(catalog.url).add(stage.guest.qcow2, disk_format="qcow2")
        sources = [Source("proxy, catalog", catalog.url, published, (COLD, WARM))]
        if not options.quick:
            sources += _glances(stage, stack)

        def note(name: str, what: str, start: Start) -> None:
            print(f"{name} {what}: {start}", file=sys.stderr, flush=True)
            seen[name, what].append(start)

        for _ in range(options.rounds):
            drive = drive_of(stage.guest.qcow2, "qcow2")
            note("a local file", "", stage.unproxied(drive))
            drive = drive_at(f"{catalog.url}/v2/images/{published}/file", "qcow2")
            note("catalog", "", stage.unproxied(drive))
            for source in sources:
                for what, start in zip(source.starts, _proxied(stage, source), strict=True):
                    note(source.name, what, start)
    return seen


def _glances(stage: Stage, stack: ExitStack) -> Iterator[Source]:
    """Give a real Glance's images: on its file store, and on a source without ranges."""
    image = stage.guest.qcow2
    glance = stack.enter_context(running_open_glance(_made(stage, "glance")))
    files = stack.enter_context(running_file_server(_made(stage, "files")))
    (files.directory / image.name).symlink_to(image)
    images = ImagesApi(glance.url)
    stored = images.add(image, disk_format="qcow2")
    data = image.read_bytes()
    located = images.add_located(f"{files.url}/{image.name}", data, disk_format="qcow2")
    yield Source("proxy, Glance", glance.url, stored, (COLD, WARM, EVICTED))
    yield Source("same, not completed", glance.url, stored, (COLD,), NOT_COMPLETED)
    yield Source("proxy, Glance, no ranges", glance.url, located, (COLD, EVICTED))


def _made(stage: Stage, name: str) -> Path:
    directory = stage.directory / name
    directory.mkdir()
    return directory


def _proxied(stage: Stage, source: Source) -> Iterator[Start]:
    home = _made(stage, "node")
    settings = f"{SIGNED_URLS}[cache]\n{source.cache}\n"
    with running_node(home, source.upstream, more=settings) as node:
        for start in source.starts:
            if start == EVICTED:
                _evict(home, source.image)
            yield stage.proxied(node, source.image)
    shutil.rmtree(home)


def _evict(home: Path, image: str) -> None:
    subprocess.run(
        [
            sys.executable,
            "-m",
            "cacheproxy",
            "evict",
            "--config-file",
            home / "cacheproxy.conf",
            image,
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=EVICT_SECONDS,
    )


def _figures(node: Node) -> dict[str, float]:
    found = node.metrics()
    return {
        "reads": found["cacheproxy_file_requests_total"],
        "sent": sum(
            value for key, value in found.items() if key.startswith("cacheproxy_served_bytes_total")
        ),
        "fetched": found["cacheproxy_upstream_bytes_total"],
        "fetches": found["cacheproxy_upstream_requests_total"],
        "busy": found["cacheproxy_flights"] + found["cacheproxy_leases"],
    }


def _settled(node: Node) -> dict[str, float]:
    until("the rest of the image", lambda: not _figures(node)["busy"], FILL_SECONDS)
    return _figures(node)


def _cpu_seconds(node: Node) -> float:
    times = [each.cpu_times() for each in node.program.children()]
    return sum(each.user + each.system for each in times)


SCENARIO = Scenario(
    "boot",
    "bytes fetched and time until a virtual machine's login prompt: no proxy, cold, warm",
    run,
)
