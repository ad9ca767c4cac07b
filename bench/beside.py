"""Clients that do something to a server while something else about it is measured."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bench.load import Target
from bench.load.whole import read_whole
from bench.server import Server

STOP_SECONDS = 10.0


@contextmanager
def reading(server: Server, targets: Sequence[Target]) -> Iterator[None]:
    """Have another process read these images, whole, one after the other, again and again."""
    process = multiprocessing.get_context("fork").Process(
        target=_read, args=(server, targets), name="reader", daemon=True
    )
    process.start()
    try:
        yield
        if not process.is_alive():
            raise RuntimeError(f"the reader beside ended with {process.exitcode}")
    finally:
        process.terminate()
        process.join(STOP_SECONDS)


def _read(server: Server, targets: Sequence[Target]) -> None:
    while True:
        for target in targets:
            read_whole(server, [target])
