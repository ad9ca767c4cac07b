"""What a published manifest costs and saves: the first 64 KiB of a cold image, with and without."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from statistics import median

from bench.daemons import catalog, proxy
from bench.images import MIB, Reading, ask, download, part, sha512, upload
from bench.scenario import Options, Report, Scenario, Table
from bench.server import Server

IMAGE_BYTES = 1 << 30
IMAGE_BYTES_QUICK = 64 * MIB
RANGE_BYTES = 64 << 10
QUESTIONS = 50  # for the documents alone
POLL_SECONDS = 0.02


def run(options: Options) -> Report:
    """Read a range, and then all, through nodes that are cold, in turn."""
    size = IMAGE_BYTES_QUICK if options.quick else IMAGE_BYTES
    ranges = Table(
        f"{RANGE_BYTES >> 10} KiB in the middle of a cold image of {size // MIB} MiB",
        (
            *("manifest", "the rest", "median ms", "data fetched for it MiB"),
            *("data fetched at last MiB", "manifest bytes"),
        ),
    )
    equal = Table(
        "Two cold images of equal content, one after the other",
        ("manifest", "data fetched MiB", "median s"),
    )
    with catalog(options.directory) as upstream:
        published = [upload(upstream, _data(size), "published") for _ in range(2)]
        documents = _documents(upstream, published[0])
        plain = [upload(upstream, _data(size), "plain") for _ in range(2)]
        _unpublish(options.directory / "catalog.db", plain)
        for images, name in ((published, "published"), (plain, "none")):
            for rest in ("left alone", "completed"):
                rows = [_range(options, upstream, images[0], size, rest) for _ in _rounds(options)]
                ranges.add(name, rest, *map(median, zip(*rows, strict=True)))
        for images, name in ((published, "published"), (plain, "none")):
            pairs = [_both(options, upstream, images) for _ in _rounds(options)]
            equal.add(name, *map(median, zip(*pairs, strict=True)))
    return Report([ranges, equal, documents])


def _rounds(options: Options) -> range:
    return range(max(1, options.rounds))


def _data(size: int) -> Reading:
    """Give the same bytes each time."""
    source, left = random.Random(7), size

    def read(count: int) -> bytes:
        nonlocal left
        taken = min(count, left)
        left -= taken
        return source.randbytes(taken)

    return read

    return read


def _unpublish(database: Path, images: list[str]) -> None:
    """Make the catalog forget manifests, as it has none of data that lie somewhere else."""
    with closing(sqlite3.connect(database)) as connection, connection:
        for image in images:
            connection.execute("UPDATE images SET os_manifest = NULL WHERE id = ?", [image])


def _range(
    options: Options, upstream: Server, image: str, size: int, rest: str
) -> tuple[float, ...]:
    """Read a range through a new node; the row of the table."""
    shutil.rmtree(options.directory / "cache", ignore_errors=True)
    settings = f"complete_in_background = {rest == 'completed'}"
    with proxy(options.directory, upstream.url, cache=settings) as node:
        _ = ask(node, "GET", f"/v2/images/{image}")  # connections and imports
        start = size // 2 + 12345
        began = time.perf_counter()
        _ = part(node, image, start, start + RANGE_BYTES)
        seconds = time.perf_counter() - began
        then = node.metrics()
        last = _settled(node)
    return (
        round(seconds * 1e3, 1),
        round(then["cacheproxy_upstream_bytes_total"] / MIB, 2),
        round(last["cacheproxy_upstream_bytes_total"] / MIB, 2),
        round(last["cacheproxy_manifest_bytes_total"]),
    )


def _both(options: Options, upstream: Server, images: list[str]) -> tuple[float, float]:
    """Read two images through a new node."""
    shutil.rmtree(options.directory / "cache", ignore_errors=True)
    with proxy(options.directory, upstream.url) as node:
        began = time.perf_counter()
        for image in images:
            if download(node, image) != sha512(upstream, image):
                raise RuntimeError("a download does not match the image's hash")
        seconds = time.perf_counter() - began
        fetched = _settled(node)["cacheproxy_upstream_bytes_total"]
    return round(fetched / MIB, 1), round(seconds, 2)


def _settled(node: Server) -> dict[str, float]:
    """Wait until nothing is fetched any more."""
    while (figures := node.metrics())["cacheproxy_flights"]:
        time.sleep(POLL_SECONDS)
    return figures


def _documents(upstream: Server, image: str) -> Table:
    """Ask the catalog for the documents alone."""
    table = Table("The documents, asked of the catalog alone", ("what", "bytes", "median ms"))
    record = json.loads(ask(upstream, "GET", f"/v2/images/{image}"))
    paths = {
        "the image's record": "",
        f"root ({record['os_manifest'].split(':')[1]} bytes a chunk)": "/manifest",
        "one page": "/manifest?page=0&pages=1",
    }
    for what, path in paths.items():
        seconds, body = [], b""
        for _ in range(QUESTIONS):
            began = time.perf_counter()
            body = ask(upstream, "GET", f"/v2/images/{image}{path}")
            seconds.append(time.perf_counter() - began)
        table.add(what, len(body), round(median(seconds) * 1e3, 2))
    return table


SCENARIO = Scenario(
    "published-manifests",
    "bytes and time of a first range and of equal images, with published manifests and without",
    run,
)
