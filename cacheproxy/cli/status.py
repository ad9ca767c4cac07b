"""`cacheproxy status`."""

from __future__ import annotations

from argparse import Namespace

import msgspec

from cacheproxy.admin import requests
from cacheproxy.admin.results import (
    DirectStore,
    Disk,
    FillInProgress,
    Processes,
    Requests,
    Scrub,
    Space,
    StatusResult,
    UpstreamUrl,
)
from cacheproxy.cli import client, figures, output


def run(arguments: Namespace) -> int:
    """Ask and print."""
    raw = client.result(client.socket_path(arguments), requests.Status())
    if arguments.json:
        output.json_document(raw)
    else:
        output.text(render(msgspec.json.decode(raw, type=StatusResult)))
    return 0


def render(status: StatusResult) -> str:
    """Return it for people."""
    up = figures.duration(status.uptime_seconds)
    stores = {"stores": [_store(each) for each in status.stores]} if status.stores else {}
    told = figures.titled(
        {
            "upstream": [_upstream(each) for each in status.upstreams],
            **stores,
            "disk": _disk(status.disk),
            "space": _space(status.space),
            "known": [_known(status)],
            "requests": _requests(status.requests),
            "processes": [_processes(status.processes)],
            "scrubber": [_scrub(status.scrub)],
            "fills": _fills(status),
        }
    )
    return f"cacheproxy {status.version}, up {up}, cache in {status.directory}\n\n{told}"


def _upstream(upstream: UpstreamUrl) -> str:
    if not upstream.unused_by:
        return upstream.url
    processes = "one process" if upstream.unused_by == 1 else f"{upstream.unused_by} processes"
    return f"{upstream.url}: does not work, {processes} found"


def _store(store: DirectStore) -> str:
    told = f"{store.name} ({store.kind})"
    return (
        told if store.trouble is None else f"{told} fails, the upstream stands in: {store.trouble}"
    )


def _disk(disk: Disk) -> list[str]:
    meaning = {
        "normal": "",
        "degraded": ": what is cached is served, nothing new is stored",
        "bypass": ": the cache is not used, everything comes from the upstream",
    }
    trouble = [] if disk.trouble is None else [disk.trouble]
    return [disk.state + meaning[disk.state], *trouble]


def _scrub(scrub: Scrub) -> str:
    if scrub.state == "off":
        return "off"
    told = f"{scrub.state}, {figures.share(scrub.progress, 1)} of a round"
    told += f", {figures.size(scrub.read_bytes)} read"
    if scrub.damaged_chunks:
        told += f", {figures.chunks(scrub.damaged_chunks)} damaged"
    return told


def _space(space: Space) -> list[str]:
    used, limit = space.used_bytes, space.limit_bytes
    parts = {
        "chunks": space.chunk_bytes,
        "index and directories": space.overhead_bytes,
        "quarantine": space.quarantine_bytes,
        "reserved": space.reserved_bytes,
    }
    lines = [
        f"{figures.bar(used, limit)}  {figures.share(used, limit)} of {figures.size(limit)}",
        ", ".join(f"{name} {figures.size(count)}" for name, count in parts.items()),
    ]
    if space.effective_limit_bytes < limit:
        effective = figures.size(space.effective_limit_bytes)
        lines.append(f"no more than {effective} now: others fill the file system")
    if not space.reconciled:
        unknown = figures.size(space.unknown_bytes)
        lines.append(f"being compared with the disk: up to {unknown} more may be there")
    return lines


def _known(status: StatusResult) -> str:
    counts = status.counts
    images = figures.counted(counts.images, "image")
    if counts.pinned:
        images += f", {figures.number(counts.pinned)} of them pinned"
        images += f" ({figures.size(status.space.pinned_bytes)})"
    contents = figures.counted(counts.contents, "content")
    return f"{figures.chunks(counts.chunks)}, {contents}, {images}"


def _processes(processes: Processes) -> str:
    workers = " ".join(str(worker.pid) for worker in processes.workers) or "none connected"
    told = f"supervisor {processes.supervisor_pid}, keeper {processes.keeper_pid}"
    told += _again(processes.keeper_starts, 1)
    return f"{told}, workers {workers}{_again(processes.worker_starts, processes.worker_count)}"


def _requests(requested: Requests) -> list[str]:
    counts = {
        name: getattr(requested, name)
        for name in ("hit", "partial", "miss", "bypass", "refused", "error")
    }
    shown = ", ".join(f"{figures.number(count)} {name}" for name, count in counts.items())
    lines = [f"{figures.number(sum(counts.values()))}: {shown}"]
    if requested.hit_ratio is not None:
        told = f"{figures.share(requested.hit_ratio, 1)} of what the cache answered were hits"
        if requested.cached_byte_ratio is not None:
            told += (
                f"; {figures.share(requested.cached_byte_ratio, 1)} of "
                f"{figures.size(requested.served_bytes)} came from the disk"
            )
        lines.append(told)
    return lines


def _fills(status: StatusResult) -> list[str]:
    if not status.fills_in_progress:
        return ["none in progress"]
    lines = [f"{figures.number(status.fills_in_progress)} in progress"]
    lines += [fill_line(fill) for fill in status.fills]
    if status.fills_in_progress > len(status.fills):
        lines.append("…")
    return lines


def fill_line(fill: FillInProgress) -> str:
    """Describe a fill in progress in a line."""
    readers = f"{fill.readers} reader{'' if fill.readers == 1 else 's'}"
    since = figures.duration(fill.seconds)
    if not fill.whole:
        return f"{fill.image}  {figures.size(fill.there_bytes)} so far, {readers}, {since}"
    return (
        f"{fill.image}  {figures.bar(fill.there_bytes, fill.size_bytes)}  "
        f"{figures.share(fill.there_bytes, fill.size_bytes)} of {figures.size(fill.size_bytes)}, "
        f"{readers}, {since}"
    )


def _again(starts: int, expected: int) -> str:
    times = starts - expected
    if times <= 0:
        return ""
    return f" (started again {'once' if times == 1 else f'{times} times'})"
