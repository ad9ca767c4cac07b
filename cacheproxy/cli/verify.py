"""`cacheproxy verify`."""

from __future__ import annotations

import sys
import time
from argparse import Namespace

import msgspec

from cacheproxy.admin import requests
from cacheproxy.admin.results import OfflineResult, Progress, VerifyResult
from cacheproxy.cli import client, figures, output
from cacheproxy.cli.progress import ProgressView
from cacheproxy.errors import ConfigError


def run(arguments: Namespace) -> int:
    """Verify, show how far it is, and tell what was damaged; 1 if anything was."""
    if arguments.offline:
        return _run_offline(arguments)
    if arguments.repair:
        raise ConfigError("--repair goes with --offline: a daemon sets damaged chunks aside anyway")
    request = requests.Verify(images=arguments.images)
    raw = client.watched(arguments, request)
    done = msgspec.json.decode(raw, type=VerifyResult)
    if arguments.json:
        output.json_document(raw)
    else:
        output.text(render(done))
    failed = any(image.error is not None for image in done.images)
    return int(failed or bool(_bad(done)))


def render(done: VerifyResult) -> str:
    """Return it for people."""
    lines = []
    for image in done.images:
        told = f"{figures.chunks(image.chunks)}, {figures.number(image.bad_chunks)} bad"
        lines.append(f"{image.image}: {image.error or told}")
    lines.append(_speed(done.chunks, done.read_bytes, done.seconds))
    if done.damaged_chunks:
        lines.append(f"{figures.chunks(done.damaged_chunks)} damaged: set aside")
    if done.missing_chunks:
        lines.append(f"{figures.chunks(done.missing_chunks)} missing: somebody removed the files")
    return "\n".join([*lines, *_unreadable(done), *_digests(done)])


def _run_offline(arguments: Namespace) -> int:
    from cacheproxy.store.verify import DirectoryReport, verify_directory  # noqa: PLC0415  LMDB

    if arguments.images:
        raise ConfigError("--offline reads the whole directory: name no image")
    directory = client.settings(arguments).cache.directory
    began = time.monotonic()
    view = ProgressView(sys.stderr)

    def show(report: DirectoryReport) -> None:
        # How many bytes there are is not known: what was read tells, together with its share.
        total = int(report.read_bytes / report.progress) if report.progress else 0
        view.show(Progress(image="", phase="hash", done_bytes=report.read_bytes, total_bytes=total))

    try:
        report = verify_directory(
            directory, None if arguments.json else show, repair=arguments.repair
        )
    finally:
        view.end()
    done = OfflineResult(
        directory=str(directory),
        index=report.index,
        chunks=report.chunks,
        read_bytes=report.read_bytes,
        damaged_chunks=report.damaged,
        missing_chunks=report.missing,
        unreadable_chunks=report.unreadable,
        orphans=report.orphans,
        set_aside_chunks=report.set_aside,
        bad=[digest.hex() for digest in report.bad],
        seconds=time.monotonic() - began,
    )
    if arguments.json:
        output.json_document(done)
    else:
        output.text(render_offline(done))
    return int(bool(_bad(done)) or done.index == "damaged")


def render_offline(done: OfflineResult) -> str:
    """Return it for people."""
    lines = [_speed(done.chunks, done.read_bytes, done.seconds)]
    if done.index == "damaged":
        lines.append("the index is damaged: the next start makes it again from the chunks")
    elif done.index == "absent":
        lines.append("there is no index: the next start makes it from the chunks")
    if done.damaged_chunks:
        what = "set aside" if done.set_aside_chunks else "--repair sets them aside"
        lines.append(f"{figures.chunks(done.damaged_chunks)} damaged: {what}")
    if done.missing_chunks:
        lines.append(f"{figures.chunks(done.missing_chunks)} missing: somebody removed the files")
    if done.orphans:
        lines.append(
            f"{figures.number(done.orphans)} files not in the index: the next start adopts them"
        )
    return "\n".join([*lines, *_unreadable(done), *_digests(done)])


def _speed(chunks: int, read_bytes: int, seconds: float) -> str:
    rate = figures.size(read_bytes / max(seconds, 0.001))
    took = figures.duration(seconds)
    return f"{figures.chunks(chunks)} read, {figures.size(read_bytes)} in {took} ({rate}/s)"


def _bad(done: VerifyResult | OfflineResult) -> int:
    return done.damaged_chunks + done.missing_chunks + done.unreadable_chunks


def _unreadable(done: VerifyResult | OfflineResult) -> list[str]:
    if not _bad(done):
        return ["nothing is damaged"]
    if not done.unreadable_chunks:
        return []
    return [f"{figures.chunks(done.unreadable_chunks)} could not be read: see the kernel's log"]


def _digests(done: VerifyResult | OfflineResult) -> list[str]:
    return [f"  {digest}" for digest in done.bad]
