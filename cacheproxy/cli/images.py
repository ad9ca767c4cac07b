"""`cacheproxy list` and `cacheproxy show`."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Sequence

import msgspec

from cacheproxy.admin import requests, wire
from cacheproxy.admin.results import ImageRow, ShowResult
from cacheproxy.cli import client, figures, output
from cacheproxy.cli.status import fill_line

RANGES_SHOWN_MAX = 8

_SORTS: dict[str, Callable[[ImageRow], object]] = {
    "image": lambda row: row.image,
    "size": lambda row: -row.size_bytes,
    "cached": lambda row: -row.cached_bytes,
    "percent": lambda row: -_share(row),
}
_FILTERS: dict[str, Callable[[ImageRow], bool]] = {
    "complete": lambda row: row.cached_bytes == row.size_bytes and row.knowledge != "unknown",
    "partial": lambda row: 0 < row.cached_bytes < row.size_bytes,
    "absent": lambda row: row.cached_bytes == 0,
    "pinned": lambda row: row.pinned,
    "filling": lambda row: row.filling,
    "learning": lambda row: row.knowledge == "learning",
}


def run_list(arguments: Namespace) -> int:
    """Ask for all rows, and print those that are wanted."""
    rows: list[ImageRow] = []
    with client.asked(client.socket_path(arguments), requests.List()) as events:
        for event in events:
            if isinstance(event, wire.Rows):
                rows += event.rows
    chosen = choose(rows, arguments)
    if arguments.json:
        document = {"known": len(rows), "images": chosen}
        output.json_document(document)
    else:
        output.text(render_list(chosen, len(rows)))
    return 0


def choose(rows: Sequence[ImageRow], arguments: Namespace) -> list[ImageRow]:
    """Return the rows that are wanted, in the order that is wanted."""
    wanted = [row for row in rows if arguments.only is None or _FILTERS[arguments.only](row)]
    wanted.sort(key=lambda row: row.image)
    wanted.sort(key=_SORTS[arguments.sort], reverse=arguments.reverse)  # type: ignore[arg-type]  # each key is comparable with itself
    stop = None if arguments.limit is None else arguments.skip + arguments.limit
    return wanted[arguments.skip : stop]


def render_list(rows: Sequence[ImageRow], known: int) -> str:
    """Return it for people."""
    table = figures.table(
        ("IMAGE", "SIZE", "CACHED", "%", "BYTES", "PIN", "FILL"),
        list(map(_cells, rows)),
        right=" rrr",
    )
    of = "" if len(rows) == known else f" of {figures.number(known)}"
    return f"{table}\n{figures.number(len(rows))}{of} image{'' if known == 1 else 's'}"


def run_show(arguments: Namespace) -> int:
    """Ask and print."""
    raw = client.result(client.socket_path(arguments), requests.Show(image=arguments.image))
    if arguments.json:
        output.json_document(raw)
    else:
        output.text(render_show(msgspec.json.decode(raw, type=ShowResult)))
    return 0


def render_show(shown: ShowResult) -> str:
    """Return it for people."""
    exactly = f"{figures.size(shown.size_bytes)} ({figures.number(shown.size_bytes)} bytes)"
    hashes = [("md5", shown.checksum), (shown.hash_algo, shown.hash_value)]
    return figures.titled(
        {
            "image": [shown.image],
            "size": [f"{exactly}, in chunks of {figures.size(shown.chunk_bytes)}"],
            "bytes": [f"{shown.knowledge}, content {shown.content}"],
            "hashes": [f"{name} {value}" for name, value in hashes if value],
            "pinned": ["yes" if shown.pinned else "no"],
            "cached": _cached(shown),
            "same as": shown.same_content,
            "fill": [] if shown.fill is None else [fill_line(shown.fill)],
        }
    )


def _cached(shown: ShowResult) -> list[str]:
    cached = shown.cached
    there = f"{figures.number(cached.chunks)} of {figures.chunks(cached.chunk_count)}"
    ranges = f"{figures.number(cached.range_count)} range{'' if cached.range_count == 1 else 's'}"
    share = figures.share(cached.cached_bytes, shown.size_bytes)
    return [
        f"{share}: {there}, {figures.size(cached.cached_bytes)} in {ranges}",
        f"[{figures.picture(cached.cells)}]",
        *_ranges(shown),
    ]


def _ranges(shown: ShowResult) -> list[str]:
    ranges = [f"{each.start}-{each.stop - 1}" for each in shown.cached.ranges]
    if not ranges:
        return []
    more = ", …" if shown.cached.range_count > RANGES_SHOWN_MAX else ""
    return [", ".join(ranges[:RANGES_SHOWN_MAX]) + more]


def _cells(row: ImageRow) -> tuple[str, ...]:
    size, share = figures.size(row.size_bytes), figures.share(row.cached_bytes, row.size_bytes)
    if row.knowledge == "unknown":
        size = share = ""
    return (
        row.image,
        size,
        figures.size(row.cached_bytes),
        share,
        row.knowledge,
        "pin" if row.pinned else "",
        "fill" if row.filling else "",
    )


def _share(row: ImageRow) -> float:
    if row.knowledge == "unknown":
        return 0.0
    return row.cached_bytes / row.size_bytes if row.size_bytes else 1.0
