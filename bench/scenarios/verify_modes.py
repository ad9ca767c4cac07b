"""What being sure costs: `[cache] verify` = disk-read, always and never, warm and cold, side by side."""

from __future__ import annotations

import http.client
import os
import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import psutil

from bench.daemons import catalog, proxy
from bench.images import MIB, download, upload
from bench.scenario import Options, Report, Scenario, Table
from bench.server import Server

MODES = ("never", "disk-read", "always")
IMAGE_BYTES = 512 * MIB
IMAGE_BYTES_QUICK = 16 * MIB
RANGE_BYTES = 64 << 10
RANGES = 500
RANGES_QUICK = 20
READ_BYTES = MIB
GB = 1e9


@dataclass(frozen=True, slots=True)
class Figure:
    """One reading."""

    seconds: float
    cpu_seconds: float  # of the proxy's processes
    sent: int

    @property
    def rate(self) -> float:
        """Bytes per second."""
        return self.sent / self.seconds

    @property
    def cpu_per_gb(self) -> float:
        """Seconds of processor time for 10^9 bytes."""
        return self.cpu_seconds / self.sent * GB


def run(options: Options) -> Report:
    """Read one cached image in each mode, in turn: after a start, again, and with no page in memory."""
    size = IMAGE_BYTES_QUICK if options.quick else IMAGE_BYTES
    ranges = RANGES_QUICK if options.quick else RANGES
    home = options.directory
    seen: dict[tuple[str, str], list[Figure]] = defaultdict(list)
    with ExitStack() as stack:
        upstream = stack.enter_context(catalog(home))
        source = random.Random(1)
        left = iter([MIB] * (size // MIB))
        image = upload(upstream, lambda _: source.randbytes(next(left, 0)), "image")
        with proxy(home, upstream.url, cache="scrub_rate = 0") as node:
            _ = download(node, image)
        for _ in range(options.rounds):
            for mode in MODES:
                with proxy(home, upstream.url, cache=f"scrub_rate = 0\nverify = {mode}") as node:
                    for what, figure in _readings(node, home, image, size, ranges).items():
                        seen[mode, what].append(figure)
    whole = Table(
        f"A whole image of {size // MIB} MiB, one connection, medians of {options.rounds} rounds",
        ("verify", "pages", "GB/s", "CPU s per GB"),
    )
    parts = Table(
        f"{ranges} ranges of {RANGE_BYTES >> 10} KiB at random places, one connection",
        ("verify", "pages", "ranges/s", "CPU ms per range"),
    )
    for mode in MODES:
        for what in ("first after a start", "in memory", "on the disk only"):
            figures = seen[mode, what]
            whole.add(
                mode,
                what,
                round(median(each.rate for each in figures) / GB, 2),
                round(median(each.cpu_per_gb for each in figures), 2),
            )
        for what in ("ranges, in memory", "ranges, on the disk only"):
            figures = seen[mode, what]
            parts.add(
                mode,
                what.removeprefix("ranges, "),
                round(median(ranges / each.seconds for each in figures)),
                round(median(each.cpu_seconds / ranges * 1000 for each in figures), 2),
            )
    return Report(
        [whole, parts],
        ["the client shares the machine; processor time is that of the proxy's processes only"],
    )


def _readings(node: Server, home: Path, image: str, size: int, ranges: int) -> dict[str, Figure]:
    choice = random.Random(2)
    starts = [choice.randrange(size - RANGE_BYTES) for _ in range(ranges)]

    def whole() -> int:
        return _read(node, image, [None])

    def parts() -> int:
        return _read(node, image, starts)

    found = {"first after a start": _measured(node, whole), "in memory": _measured(node, whole)}
    _make_cold(home)
    found["on the disk only"] = _measured(node, whole)
    found["ranges, in memory"] = _measured(node, parts)
    _make_cold(home)
    found["ranges, on the disk only"] = _measured(node, parts)
    figures = node.metrics()
    if figures['cacheproxy_requests_total{result="hit"}'] != 3 + 2 * ranges:
        raise RuntimeError("not all of it came from the cache")
    return found


def _measured(node: Server, read: Callable[[], int]) -> Figure:
    processes = psutil.Process(node.pid).children()
    before = [process.cpu_times() for process in processes]
    began = time.monotonic()
    sent = read()
    seconds = time.monotonic() - began
    used = sum(
        after.user + after.system - then.user - then.system
        for after, then in zip((p.cpu_times() for p in processes), before, strict=True)
    )
    return Figure(seconds, used, sent)


def _read(node: Server, image: str, starts: Sequence[int | None]) -> int:
    """Read the whole (None) or ranges, over one connection; the bytes that came."""
    address = urlsplit(node.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=600)
    buffer, count = bytearray(READ_BYTES), 0
    try:
        for start in starts:
            wanted = "" if start is None else f"bytes={start}-{start + RANGE_BYTES - 1}"
            fields = {"Range": wanted} if wanted else {}
            connection.request("GET", f"/v2/images/{image}/file", headers=fields)
            answer = connection.getresponse()
            if answer.status not in {200, 206}:
                raise RuntimeError(f"{answer.status} {answer.read(500).decode()}")
            while got := answer.readinto(buffer):
                count += got
    finally:
        connection.close()
    return count


def _make_cold(home: Path) -> None:
    for path in (home / "cache" / "chunks").glob("*/*"):
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


SCENARIO = Scenario(
    "verify-modes", "what hashing cached chunks costs in each [cache] verify mode", run
)
