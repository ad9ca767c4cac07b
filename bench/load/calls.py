"""Calls with small bodies over some connections at once, each its next as soon as one is answered."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from bench.load import Answered, WrongAnswerError, percentiles
from bench.server import LOAD_CORE, Server, pinned

READ_BYTES = 256 << 10
SECONDS_MAX = 120.0  # without an answer
PATCH = "application/openstack-images-v2.1-json-patch"


@dataclass(frozen=True, slots=True)
class Call:
    """A request, and the status of its answer; `holds` must be in its body."""

    request: bytes
    status: int
    holds: bytes = b""


@dataclass(frozen=True, slots=True)
class Caller:
    """Makes requests of one user to one server."""

    server: Server
    token: str

    def call(  # noqa: PLR0913, PLR0917  a request is all of these
        self,
        method: str,
        path: str,
        status: int,
        document: Any = None,
        media: str = "application/json",
        holds: bytes = b"",
    ) -> Call:
        """Make a request below /v2."""
        body = b"" if document is None else json.dumps(document).encode()
        fields = [
            f"{method} /v2{path} HTTP/1.1",
            f"Host: {urlsplit(self.server.url).netloc}",
            f"X-Auth-Token: {self.token}",
            "Accept: application/json",
        ]
        if document is not None:
            fields += [f"Content-Type: {media}", f"Content-Length: {len(body)}"]
        return Call("\r\n".join([*fields, "", ""]).encode() + body, status, holds)


def called(server: Server, calls: Sequence[Iterable[Call]]) -> Answered:
    """Open a connection for each of `calls`, and make all of them there, in order.

    Awake all the time, as `bench.load.drain` is.  WrongAnswerError for an answer with another
    status, without what it must hold, or without a length.
    """
    with pinned(LOAD_CORE), select.epoll() as poll:
        lines = {line.sock.fileno(): line for line in (_Line(server, iter(c)) for c in calls)}
        try:
            began = time.perf_counter()
            for line in lines.values():
                line.ask()
                poll.register(line.sock, select.EPOLLIN)
            left = len(lines)
            heard = began
            while left:
                ready = poll.poll(0)
                if ready:
                    heard = time.perf_counter()
                elif time.perf_counter() > heard + SECONDS_MAX:
                    raise WrongAnswerError(f"{server.name}: no answer for {SECONDS_MAX:.0f} s")
                for fd, _ in ready:
                    if lines[fd].read():
                        poll.unregister(fd)
                        left -= 1
            seconds = time.perf_counter() - began
        finally:
            for line in lines.values():
                line.sock.close()
    latencies = sorted(each for line in lines.values() for each in line.latencies)
    return Answered(len(latencies), seconds, percentiles(latencies))


def until(seconds: float, calls: Iterator[Call], at_least: int = 1) -> Iterator[Call]:
    """Give calls until so many seconds have passed since the first, and `at_least` so many."""
    deadline = time.monotonic() + seconds
    for number, call in enumerate(calls):
        if number >= at_least and time.monotonic() >= deadline:
            return
        yield call


class _Line:
    """A connection with one call on its way."""

    def __init__(self, server: Server, calls: Iterator[Call]) -> None:
        address = urlsplit(server.url)
        self._name, self._calls = server.name, calls
        self._call = next(calls)
        self._asked = 0.0
        self._data = b""
        self._end = 0  # of the whole answer; 0 before its head is there
        self.latencies: list[float] = []
        self.sock = socket.create_connection((address.hostname, address.port), SECONDS_MAX)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self) -> None:
        self._data, self._end = b"", 0
        self._asked = time.perf_counter()
        self.sock.sendall(self._call.request)

    def read(self) -> bool:
        """Take what has come; True when that was the end of the last answer."""
        data = self.sock.recv(READ_BYTES)
        if not data:
            raise self._wrong("hung up")
        self._data += data
        if not self._end and not self._head():
            return False
        if len(self._data) < self._end:
            return False
        if len(self._data) > self._end or self._call.holds not in self._data:
            raise self._wrong(f"{self._data[:2000]!r}")
        self.latencies.append(time.perf_counter() - self._asked)
        following = next(self._calls, None)
        if following is None:
            return True
        self._call = following
        self.ask()
        return False

    def _head(self) -> bool:
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = self._data[: end + 2].lower()
        if not head.startswith(b"http/1.1 %d " % self._call.status):
            raise self._wrong(f"{self._data[:2000]!r}")
        before, found, length = head.partition(b"\r\ncontent-length: ")
        if not found and self._call.status != 204:
            raise self._wrong(f"no length: {before!r}")
        self._end = end + 4 + (int(length.partition(b"\r\n")[0]) if found else 0)
        return True

    def _wrong(self, what: str) -> WrongAnswerError:
        asked = self._call.request.partition(b" HTTP")[0].decode()
        return WrongAnswerError(f"{self._name}, {asked}: {what}")
