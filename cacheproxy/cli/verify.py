"""`cacheproxy verify`."""

from __future__ import annotations

import sys
from argparse import Namespace

import msgspec

from cacheproxy.admin import requests, wire
from cacheproxy.admin.results import VerifyResult
from cacheproxy.cli import client, figures, output
from cacheproxy.cli.progress import ProgressView


def run(arguments: Namespace) -> int:
    """Verify, show how far it is, and tell what was damaged; 1 if anything was."""
    request = requests.Verify(images=arguments.images)
    view = ProgressView(sys.stderr)
    raw = msgspec.Raw()
    try:
        with client.asked(client.socket_path(arguments), request) as events:
            for event in events:
                if isinstance(event, wire.Result):
                    raw = event.result
                elif isinstance(event, wire.Progressed) and not arguments.json:
                    view.show(event.progress)
    finally:
        view.end()
    done = msgspec.json.decode(raw, type=VerifyResult)
    if arguments.json:
        output.json_document(raw)
    else:
        output.text(render(done))
    failed = any(image.error is not None for image in done.images)
    return int(bool(failed or done.damaged_chunks or done.unreadable_chunks))


def render(done: VerifyResult) -> str:
    """Return it for people."""
    rate = done.read_bytes / max(done.seconds, 0.001)
    lines = [f"{image.image}: {image.error}" for image in done.images if image.error is not None]
    lines.append(
        f"{figures.chunks(done.chunks)} read, {figures.size(done.read_bytes)} in "
        f"{figures.duration(done.seconds)} ({figures.size(rate)}/s)"
    )
    if done.damaged_chunks:
        lines.append(f"{figures.chunks(done.damaged_chunks)} damaged and set aside:")
        lines += [f"  {digest}" for digest in done.damaged]
    if done.unreadable_chunks:
        lines.append(f"{figures.chunks(done.unreadable_chunks)} could not be read: see the log")
    if not (done.damaged_chunks or done.unreadable_chunks):
        lines.append("nothing is damaged")
    return "\n".join(lines)
