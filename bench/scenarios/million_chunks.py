"""A cache of a million chunks: its starts, its memory, and how fast it adopts, evicts and scrubs.

The chunks are small files that are made beside an index that does not know them, as after a crash
that lost it, so that adopting them is measured as well.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from multiprocessing import Pool
from pathlib import Path
from statistics import median

import psutil

from bench.daemons import catalog, proxy
from bench.images import MIB, download, part, upload
from bench.scenario import Options, Report, Scenario, Table
from bench.server import Server
from cacheproxy.config import CacheSettings
from cacheproxy.meter import Board
from cacheproxy.metrics import CACHE_BYTES
from cacheproxy.store.chunkstore import ChunkStore
from cacheproxy.store.digest import digest_of
from cacheproxy.store.opening import MARGIN_BYTES

CHUNKS = 1_000_000
CHUNKS_QUICK = 10_000
EVICTED_AT_ONCE = 1000
EVICTED_SHARE = 10  # one in so many is evicted to measure the rate
IMAGE_BYTES = 16 * MIB
FILE_BYTES = 4096  # what a small file takes on most file systems
LIMIT_BYTES = 64 << 30
SCRUB_RATE = 1 << 40  # bytes per second: small chunks are no matter of bytes
SCRUB_SECONDS = 15.0
MAKERS = 2
PREFIXES = 256


def run(options: Options) -> Report:
    """Measure the start with a nearly empty cache, then with a full one."""
    count = CHUNKS_QUICK if options.quick else CHUNKS
    home = options.directory
    starts = Table(
        "From the start of the program to the last byte of a first hit",
        ("chunks", "median s", "best s", "supervisor MiB", "keeper MiB", "worker MiB", "all MiB"),
    )
    rates = Table("Chunks per second", ("what", "chunks", "seconds", "chunks/s"))
    with ExitStack() as stack:
        upstream = stack.enter_context(catalog(home))
        data = random.Random(1).randbytes(IMAGE_BYTES)
        pieces = iter((data, b""))
        image = upload(upstream, lambda _: next(pieces), "small")
        with proxy(home, upstream.url, limit_bytes=LIMIT_BYTES) as node:
            _ = download(node, image)
        starts.add(*_starts(home, upstream, image, options.rounds))
        began = time.monotonic()
        _make_files(home / "cache" / "chunks", count)
        rates.add("made (no part of the program)", count, *_rate(count, began))
        began = time.monotonic()
        asyncio.run(_adopt(home / "cache"))
        rates.add("adopted after the index was lost", count, *_rate(count, began))
        with proxy(home, upstream.url, limit_bytes=LIMIT_BYTES) as node:
            _ = download(node, image)  # what the image was went with the index
        starts.add(*_starts(home, upstream, image, options.rounds))
        evicted = asyncio.run(_evict(home / "cache", count // EVICTED_SHARE))
        rates.add("evicted", count // EVICTED_SHARE, *evicted)
        for name, found in asyncio.run(_check(home / "cache")).items():
            rates.add(name, *found)
    return Report([starts, rates])


def _rate(count: int, began: float) -> tuple[float, float]:
    seconds = time.monotonic() - began
    return round(seconds, 1), round(count / seconds)


def _make_files(chunks: Path, count: int) -> None:
    with Pool(MAKERS) as pool:
        pool.starmap(_make_share, ((chunks, first, count) for first in range(MAKERS)))


def _make_share(chunks: Path, first: int, count: int) -> None:
    for prefix in range(PREFIXES):
        (chunks / f"{prefix:02x}").mkdir(mode=0o750, exist_ok=True)
    for number in range(first, count, MAKERS):
        data = b"%d" % number
        name = digest_of(data).hex()
        fd = os.open(chunks / name[:2] / name, os.O_WRONLY | os.O_CREAT, 0o440)
        os.write(fd, data)
        os.close(fd)


def _starts(home: Path, upstream: Server, image: str, rounds: int) -> Iterator[float]:
    """Start the program some times; the row of the table."""
    seconds, memory = [], (0.0, 0.0, 0.0)
    chunks = 0.0
    for number in range(rounds + 1):
        began = time.monotonic()
        with proxy(home, upstream.url, limit_bytes=LIMIT_BYTES) as node:
            _ = part(node, image, 0, 1)
            if number:  # the first one compiles
                seconds.append(time.monotonic() - began)
            _ = download(node, image)
            figures = node.metrics()
            if figures['cacheproxy_requests_total{result="hit"}'] != 2:
                told = {k: v for k, v in figures.items() if "requests_total" in k and v}
                raise RuntimeError(f"the first requests after a start were no hits: {told}")
            memory = _anonymous_mib(node.pid)
            chunks = figures["cacheproxy_cache_bytes"] // FILE_BYTES
    yield from (int(chunks), round(median(seconds), 3), round(min(seconds), 3))
    yield from (round(each, 1) for each in (*memory, sum(memory)))


def _anonymous_mib(supervisor: int) -> tuple[float, float, float]:
    """Return the anonymous memory of supervisor, keeper and worker, shared pages divided."""
    processes = [psutil.Process(supervisor), *psutil.Process(supervisor).children()]
    first, second, third = (
        int(line.split()[1]) / 1024
        for process in processes
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
        if line.startswith("Pss_Anon:")
    )
    return first, second, third


async def _adopt(directory: Path) -> None:
    """Have the store find the files beside an index that was lost."""
    (directory / "index" / "data.mdb").unlink()
    store, _ = await _open(directory, LIMIT_BYTES)
    await store.reconciled()
    await store.close()


async def _evict(directory: Path, victims: int) -> tuple[float, float]:
    """Have the store make room; those that were adopted first go first."""
    store, meter = await _open(directory, LIMIT_BYTES)
    used = meter.total(CACHE_BYTES)
    await store.close()
    store, _ = await _open(directory, int(used) + MARGIN_BYTES)
    began = time.monotonic()
    steps = range(0, victims, EVICTED_AT_ONCE)
    rooms = [await store.reserve(EVICTED_AT_ONCE * FILE_BYTES) for _ in steps]
    evicted = _rate(len(steps) * EVICTED_AT_ONCE, began)
    for room in rooms:
        room.close()
    await store.close()
    return evicted


async def _check(directory: Path) -> dict[str, tuple[int, float, float]]:
    """Have the background check run without its limit on bytes for a while, then verify all."""
    store, _ = await _open(directory, LIMIT_BYTES, scrub_rate=SCRUB_RATE)
    began = time.monotonic()
    await asyncio.sleep(SCRUB_SECONDS)
    scrubbed = store.scrub_status().chunks
    seconds, rate = _rate(scrubbed, began)
    await store.close()
    store, _ = await _open(directory, LIMIT_BYTES)
    began = time.monotonic()
    verified = (await store.verify()).chunks
    found = {
        "scrubbed, at rest for three quarters of the time": (scrubbed, seconds, rate),
        "verified on demand": (verified, *_rate(verified, began)),
    }
    await store.close()
    return found


async def _open(directory: Path, limit_bytes: int, scrub_rate: int = 0) -> tuple[ChunkStore, Board]:
    board = Board.create(1)
    settings = CacheSettings(directory=directory, limit_bytes=limit_bytes, scrub_rate=scrub_rate)
    store = await ChunkStore.open(settings, board.meter(0), on_dying=lambda _digest, _holder: None)
    return store, board


SCENARIO = Scenario(
    "million-chunks",
    "start to first hit, memory, adoption and eviction rates with a million chunks",
    run,
)
