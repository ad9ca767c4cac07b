"""Ranges at a constant rate, whatever the server does: how long each took from when it was due.

A request that is due while all connections wait for answers waits for one, and that time counts:
nothing that a slow server holds up is left out ("coordinated omission").
"""

from __future__ import annotations

import gc
import os
import random
import select
import socket
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from urllib.parse import urlsplit

from bench.load import CONNECTIONS, Answered, Target, WrongAnswerError, percentiles
from bench.scenario import MissingError
from bench.server import LOAD_CORE, Server, pinned

HEAD_BYTES_MAX = 8192
LATE_MAX = 5.0  # s behind at the end: then the server does not bear the rate


def steady_ranges(  # noqa: PLR0913  a load is all of these
    server: Server,
    targets: Sequence[Target],
    range_bytes: int,
    rate: float,
    *,
    seconds: float,
    connections: int = CONNECTIONS,
    seed: int = 1,
    alone: bool = True,
) -> Answered:
    """Ask for random ranges, one each 1/rate seconds, over connections that are kept.

    Not `alone`, it leaves its core to others between two requests, and goes before them when one is
    due or an answer is there; MissingError if it may not.
    WrongAnswerError for an answer that is not that range, and if the server falls behind.
    """
    with pinned(LOAD_CORE), nullcontext() if alone else _before_others():
        client = _Client(server, connections, range_bytes)
        try:
            requests = _requests(server, targets, range_bytes, int(rate * seconds), seed)
            gc.collect()
            gc.disable()
            began = time.perf_counter()
            client.run(requests, 1 / rate, alone=alone)
            took = time.perf_counter() - began
        finally:
            gc.enable()
            client.close()
    ordered = sorted(client.latencies)
    return Answered(len(ordered), took, percentiles(ordered))


@contextmanager
def _before_others() -> Iterator[None]:
    """Run whenever there is something to do, whoever else wants this core (sched(7))."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        raise MissingError("no right to run before other processes (CAP_SYS_NICE)") from None
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _requests(
    server: Server, targets: Sequence[Target], range_bytes: int, count: int, seed: int
) -> list[bytes]:
    """Make all requests before the first is due."""
    choice = random.Random(seed)
    host = urlsplit(server.url).netloc
    made = []
    for _ in range(count):
        target = choice.choice(targets)
        first = choice.randrange(target.size - range_bytes + 1)
        made.append(
            f"GET {target.path} HTTP/1.1\r\nHost: {host}\r\nX-Auth-Token: {target.token}\r\n"
            f"Range: bytes={first}-{first + range_bytes - 1}\r\n\r\n".encode()
        )
    return made


class _Client:
    """Connections, each with at most one request on its way."""

    def __init__(self, server: Server, connections: int, range_bytes: int) -> None:
        address = urlsplit(server.url)
        self._name, self._range_bytes = server.name, range_bytes
        self._buffer = bytearray(range_bytes + HEAD_BYTES_MAX)
        self._length = b"\r\ncontent-length: %d\r\n" % range_bytes
        self._poll = select.epoll()
        self._idle: deque[socket.socket] = deque()
        self._socks: dict[int, socket.socket] = {}
        self._due: dict[int, float] = {}  # by descriptor: when what is on its way was due
        self._left: dict[
            int, int
        ] = {}  # and how much of its body has not come; absent: no head yet
        self.latencies = array("d")
        for _ in range(connections):
            sock = socket.create_connection((address.hostname, address.port), 10)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
            self._socks[sock.fileno()] = sock
            self._poll.register(sock, select.EPOLLIN)
            self._idle.append(sock)

    def close(self) -> None:
        """Close all connections."""
        for sock in self._socks.values():
            sock.close()
        self._poll.close()

    def run(self, requests: Sequence[bytes], interval: float, *, alone: bool) -> None:
        """Send each when it is due, or as soon after as a connection is free; until all are answered."""
        clock, poll, idle = time.perf_counter, self._poll.poll, self._idle
        began, sent, count = clock(), 0, len(requests)
        while len(self.latencies) < count:
            while sent < count and idle and (due := began + sent * interval) <= clock():
                sock = idle.popleft()
                sock.send(requests[sent])
                self._due[sock.fileno()] = due
                sent += 1
            if not alone:  # epoll counts in milliseconds, this in microseconds
                asleep = max(0.0, began + sent * interval - clock())
                select.select(self._socks, (), (), asleep if sent < count and idle else None)
            # Alone never asleep while something may soon be due: waking up takes longer than a hit.
            for fd, _ in poll(0):
                self._read(fd, clock)
            if clock() - began > count * interval + LATE_MAX:
                raise WrongAnswerError(
                    f"{self._name}: {len(self.latencies)} of {count} requests answered when all were due"
                )

    def _read(self, fd: int, clock: Callable[[], float]) -> None:
        sock = self._socks[fd]
        left = self._left.get(fd)
        if left is None:
            count = sock.recv_into(self._buffer)
            left = self._body_left(count)
        else:
            count = sock.recv_into(self._buffer, min(left, len(self._buffer)), socket.MSG_TRUNC)
            left -= count
        if not count:
            raise WrongAnswerError(f"{self._name} hung up")
        if left:
            self._left[fd] = left
            return
        self._left.pop(fd, None)
        self.latencies.append(clock() - self._due.pop(fd))
        self._idle.append(sock)

    def _body_left(self, count: int) -> int:
        """Return what is missing of an answer after its first bytes; a head comes in one piece."""
        end = self._buffer.find(b"\r\n\r\n", 0, count)
        head = bytes(self._buffer[: max(0, end) + 2])
        if not head.startswith(b"HTTP/1.1 206 ") or self._length not in head.lower():
            raise WrongAnswerError(f"{self._name}: {bytes(self._buffer[:500])!r}")
        return self._range_bytes - (count - end - 4)
