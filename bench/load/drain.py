"""Large answers over some connections at once, in one thread that throws the bytes away unseen.

The kernel drops them without copying (MSG_TRUNC, tcp(7)), so that a core of readers outruns the
server that is measured; wrk, which takes 8 KiB at a time, would not.

It never sleeps: to wake another core is charged to the server that sends, and in a virtual machine
costs it as much as a short answer.  Who answers a little slower would be charged for it each time,
who is a little faster, and finds the reader awake, not at all.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.load import Target, WrongAnswerError
from bench.server import LOAD_CORE, Server, pinned

READ_BYTES = 4 << 20
HEAD_BYTES_MAX = 8192
HEAD_READ_BYTES = 1024  # at once: hardly any of the body is copied
SECONDS_MAX = 300.0  # without a byte


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request, and what its answer must be."""

    request: bytes
    status: int
    length: int

    @classmethod
    def whole(cls, server: Server, target: Target) -> Wanted:
        """Ask for a whole image."""
        return cls(_request(server, target, ""), 200, target.size)

    @classmethod
    def part(cls, server: Server, target: Target, first: int, length: int) -> Wanted:
        """Ask for a range."""
        field = f"Range: bytes={first}-{first + length - 1}\r\n"
        return cls(_request(server, target, field), 206, length)


def _request(server: Server, target: Target, field: str) -> bytes:
    host = urlsplit(server.url).netloc
    return (
        f"GET {target.path} HTTP/1.1\r\nHost: {host}\r\nX-Auth-Token: {target.token}\r\n{field}\r\n"
    ).encode()


@dataclass(frozen=True, slots=True)
class Drained:
    """What came until the last connection was done."""

    bytes: int  # of bodies
    seconds: float
    done: tuple[float, ...]  # when each connection was, in seconds after the start, in order
    latencies: tuple[float, ...]  # of all answers, to their last byte


def drained(server: Server, wanted: Sequence[Iterable[Wanted]]) -> Drained:
    """Open a connection for each of `wanted`, and have it ask for all of that, at least one, in order.

    WrongAnswerError for an answer with another status or length, and one that ends early.
    """
    with pinned(LOAD_CORE), select.epoll() as poll:
        readers = [Reader(server, iter(each)) for each in wanted]
        try:
            began = time.perf_counter()
            for reader in readers:
                reader.ask()
                poll.register(reader.sock, select.EPOLLIN)
            reading = {reader.sock.fileno(): reader.read for reader in readers}
            done = list[float]()
            while len(done) < len(readers):
                ready = _awaited(poll, server)
                for fd, _ in ready:
                    if reading[fd]():
                        poll.unregister(fd)
                        done.append(time.perf_counter() - began)
        finally:
            for reader in readers:
                reader.sock.close()
    return Drained(
        sum(reader.received for reader in readers),
        done[-1],
        tuple(done),
        tuple(each for reader in readers for each in reader.latencies),
    )


def _awaited(poll: select.epoll, server: Server) -> list[tuple[int, int]]:
    """Return what is ready, awake until something is."""
    if ready := poll.poll(0):
        return ready
    deadline = time.perf_counter() + SECONDS_MAX
    while not (ready := poll.poll(0)):
        if time.perf_counter() > deadline:
            raise WrongAnswerError(f"{server.name}: nothing came for {SECONDS_MAX:.0f} s")
    return ready


class Reader:
    """A connection that asks for one thing after the other."""

    def __init__(self, server: Server, wanted: Iterator[Wanted]) -> None:
        address = urlsplit(server.url)
        self._name, self._left_over = server.name, wanted
        self._wanted = next(wanted)
        self._buffer = bytearray(READ_BYTES)
        self._head = b""
        self._asked = 0.0
        self.left = 0  # of the answer that is being read; 0 before its head is there
        self.received = 0  # bytes of all bodies
        self.latencies: list[float] = []
        self.sock = socket.create_connection((address.hostname, address.port), SECONDS_MAX)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)

    def ask(self) -> None:
        """Ask for what is wanted next."""
        self._asked = time.perf_counter()
        self.sock.sendall(self._wanted.request)

    def read(self) -> bool:
        """Take what has come; True when that was the end of the last answer."""
        if not self.left:
            body = self.head()
            if body is None:
                return False
            self.received += len(body)
        if self.left:
            self._drop()
            if self.left:
                return False
        self.latencies.append(time.perf_counter() - self._asked)
        following = next(self._left_over, None)
        if following is None:
            return True
        self._wanted = following
        self.ask()
        return False

    def head(self) -> bytes | None:
        """Read the answer's head, and return what came of the body with it; None until all of it is there."""
        head = self._head
        while (end := head.find(b"\r\n\r\n")) < 0:
            try:
                data = self.sock.recv(HEAD_READ_BYTES)
            except BlockingIOError:
                self._head = head
                return None
            if not data or len(head) > HEAD_BYTES_MAX:
                raise self.wrong(f"no answer: {head!r}")
            head += data
        if not head.startswith(b"HTTP/1.1 %d " % self._wanted.status):
            raise self.wrong(repr(head[:500]))
        if b"\r\ncontent-length: %d\r\n" % self._wanted.length not in head[: end + 2].lower():
            raise self.wrong(f"another length than {self._wanted.length}: {head[:end]!r}")
        self._head = b""
        self.left = self._wanted.length - (len(head) - end - 4)
        return head[end + 4 :]

    def wrong(self, what: str) -> WrongAnswerError:
        """Return what to raise for a wrong answer."""
        asked = self._wanted.request.partition(b" HTTP")[0].decode()
        return WrongAnswerError(f"{self._name}, {asked}: {what}")

    def _drop(self) -> None:
        try:
            count = self.sock.recv_into(self._buffer, min(self.left, READ_BYTES), socket.MSG_TRUNC)
        except BlockingIOError:
            return
        if not count:
            raise self.wrong(f"the end came {self.left} bytes early")
        self.left -= count
        self.received += count
