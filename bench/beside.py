"""Clients that do something to a server while something else about it is measured."""

from __future__ import annotations

import multiprocessing
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count, cycle
from multiprocessing.synchronize import Event
from urllib.parse import urlsplit

from bench.load import Target
from bench.load.whole import read_whole
from bench.server import LOAD_CORE, Server, pinned

STOP_SECONDS = 10.0
BEGIN_SECONDS = 60.0
CRAWL_BYTES = 64 << 10  # per second and connection
READ_BYTES = 16 << 10
RECEIVE_BYTES = 64 << 10


@contextmanager
def reading(server: Server, targets: Sequence[Target], rate: float) -> Iterator[None]:
    """Have another process read these images, whole, one after the other, again and again.

    It begins them so that `rate` bytes come in a second, or as many as the server gives.
    """
    process = multiprocessing.get_context("fork").Process(
        target=_read, args=(server, targets, rate), name="reader", daemon=True
    )
    process.start()
    try:
        yield
        if not process.is_alive():
            raise RuntimeError(f"the reader beside ended with {process.exitcode}")
    finally:
        process.terminate()
        process.join(STOP_SECONDS)


def _read(server: Server, targets: Sequence[Target], rate: float) -> None:
    due = time.monotonic()
    for target in cycle(targets):
        read_whole(server, [target])
        due = max(due + target.size / rate, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))


@contextmanager
def crawling(server: Server, target: Target, connections: int) -> Iterator[None]:
    """Have another process read an image over so many connections, each at CRAWL_BYTES a second."""
    context = multiprocessing.get_context("fork")
    begun = context.Event()
    process = context.Process(
        target=_crawl, args=(server, target, connections, begun), name="crawler", daemon=True
    )
    process.start()
    try:
        if not begun.wait(BEGIN_SECONDS):
            raise RuntimeError(f"not all of {connections} slow readers got an answer")
        yield
        if not process.is_alive():
            raise RuntimeError(f"the slow readers ended with {process.exitcode}")
    finally:
        process.terminate()
        process.join(STOP_SECONDS)


def _crawl(server: Server, target: Target, connections: int, begun: Event) -> None:
    address = urlsplit(server.url)
    request = (
        f"GET {target.path} HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"X-Auth-Token: {target.token}\r\n\r\n"
    ).encode()
    with pinned(LOAD_CORE):
        socks = []
        for _ in range(connections):
            sock = socket.socket()
            # As from a machine that is far or busy: what it does not read waits in the server.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
            sock.settimeout(BEGIN_SECONDS)
            sock.connect((address.hostname, address.port))
            sock.sendall(request)
            socks.append(sock)
        interval = READ_BYTES / CRAWL_BYTES / connections
        due = time.monotonic()
        for turn in count():
            for sock in socks:
                if not sock.recv(READ_BYTES):
                    raise RuntimeError("a slow reader was hung up on")
                if turn:
                    due = max(due + interval, time.monotonic() - 1)
                    time.sleep(max(0.0, due - time.monotonic()))
            begun.set()
