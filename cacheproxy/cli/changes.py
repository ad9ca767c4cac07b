"""`cacheproxy pin`, `unpin`, `evict`, `purge` and `gc`."""

from __future__ import annotations

from argparse import Namespace

import msgspec

from cacheproxy.admin import requests
from cacheproxy.admin.results import Evicted, EvictResult, GcResult, PinResult, PurgeResult
from cacheproxy.cli import client, figures, output


def run_pin(arguments: Namespace) -> int:
    """Pin or unpin, and say so."""
    kind = requests.Pin if arguments.command == "pin" else requests.Unpin
    raw = client.result(client.socket_path(arguments), kind(image=arguments.image))
    if arguments.json:
        output.json_document(raw)
        return 0
    done = msgspec.json.decode(raw, type=PinResult)
    state = "pinned" if done.pinned else "not pinned"
    output.text(f"{done.image}: {'now' if done.changed else 'was already'} {state}")
    return 0


def run_evict(arguments: Namespace) -> int:
    """Evict, and tell what became of each image; 1 if any was refused."""
    request = requests.Evict(images=arguments.images, content=arguments.content)
    raw = client.result(client.socket_path(arguments), request)
    done = msgspec.json.decode(raw, type=EvictResult)
    if arguments.json:
        output.json_document(raw)
    else:
        output.text("\n".join(map(evicted_line, done.images)))
    return int(any(image.error is not None for image in done.images))


def evicted_line(image: Evicted) -> str:
    """Tell what became of an image."""
    if image.error is not None:
        return f"{image.image}: {image.error}"
    told = [f"dropped {figures.chunks(image.dropped_chunks, image.dropped_disk_bytes)}"]
    if image.held_chunks:
        held = figures.chunks(image.held_chunks, image.held_disk_bytes)
        told.append(f"{held} are being sent and follow when that is done")
    if image.shared_chunks:
        shared = figures.chunks(image.shared_chunks, image.shared_disk_bytes)
        told.append(f"{shared} stay, because other images have them")
    if image.busy_chunks:
        told.append(f"{figures.chunks(image.busy_chunks)} stay, because a fill needs them")
    if not (image.dropped_chunks or told[1:]):
        told = ["nothing of it was cached"]
    return f"{image.image}: {'; '.join(told)}"


def run_purge(arguments: Namespace) -> int:
    """Have it forgotten who may download, and say so."""
    raw = client.result(client.socket_path(arguments), requests.Purge(image=arguments.image))
    if arguments.json:
        output.json_document(raw)
        return 0
    done = msgspec.json.decode(raw, type=PurgeResult)
    told = f"{figures.number(done.workers)} worker{'s' if done.workers != 1 else ''}"
    output.text(f"{done.image or 'all images'}: the upstream is asked again who may, by {told}")
    return 0


def run_gc(arguments: Namespace) -> int:
    """Clean up, and tell what was removed."""
    raw = client.result(client.socket_path(arguments), requests.Gc())
    if arguments.json:
        output.json_document(raw)
        return 0
    done = msgspec.json.decode(raw, type=GcResult)
    output.text(
        f"removed the records of {figures.number(done.images)} images and "
        f"{figures.number(done.contents)} contents, "
        f"{figures.chunks(done.chunks, done.chunk_disk_bytes)}, "
        f"{figures.size(done.quarantine_disk_bytes)} of quarantine"
    )
    return 0
