"""Whole images over some connections at once, in one thread that throws the bytes away unseen.

The kernel drops them without copying (MSG_TRUNC, tcp(7)), so that a core of readers outruns the
server that is measured.
"""

from __future__ import annotations

import hashlib
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.load import TOKEN, Target, WrongAnswerError
from bench.server import LOAD_CORE, Server, pinned

READ_BYTES = 4 << 20
HEAD_BYTES_MAX = 8192
SECONDS_MAX = 300.0  # without a byte


@dataclass(frozen=True, slots=True)
class Wholes:
    """What came until the last connection was done."""

    bytes: int
    seconds: float
    done: tuple[float, ...]  # of each connection, seconds after the start

    @property
    def rate(self) -> float:
        """Bytes per second."""
        return self.bytes / self.seconds


def read_whole(
    server: Server, targets: Sequence[Target], *, connections: int = 1, times: int = 1
) -> Wholes:
    """Have each connection read its image `times` times; targets are dealt out in turn.

    WrongAnswerError for any answer that is not 200, or ends early.
    """
    with pinned(LOAD_CORE), selectors.EpollSelector() as selector:
        readers = [
            _Reader(server, targets[number % len(targets)], times) for number in range(connections)
        ]
        try:
            began = time.monotonic()
            for reader in readers:
                reader.ask()
                selector.register(reader.sock, selectors.EVENT_READ, reader)
            left, done = connections, list[float]()
            while left:
                ready = selector.select(SECONDS_MAX)
                if not ready:
                    raise WrongAnswerError(f"{server.name}: nothing came for {SECONDS_MAX:.0f} s")
                for key, _ in ready:
                    if key.data.read():
                        selector.unregister(key.data.sock)
                        done.append(time.monotonic() - began)
                        left -= 1
        finally:
            for reader in readers:
                reader.sock.close()
    return Wholes(sum(each.received for each in readers), done[-1], tuple(done))


def sha512_of(server: Server, target: Target) -> str:
    """Read an image once, for its hash."""
    reader = _Reader(server, target, 1)
    whole = hashlib.sha512()
    try:
        reader.sock.setblocking(True)
        reader.sock.settimeout(SECONDS_MAX)
        reader.ask()
        whole.update(reader.head())
        while reader.left:
            data = reader.sock.recv(READ_BYTES)
            if not data:
                raise reader.wrong("the end came early")
            reader.left -= len(data)
            whole.update(data)
    finally:
        reader.sock.close()
    return whole.hexdigest()


class _Reader:
    """One connection that reads one image again and again."""

    def __init__(self, server: Server, target: Target, times: int) -> None:
        address = urlsplit(server.url)
        self._server, self._target, self._times = server, target, times
        self._request = (
            f"GET {target.path} HTTP/1.1\r\nHost: {address.netloc}\r\nX-Auth-Token: {TOKEN}\r\n\r\n"
        ).encode()
        self._buffer = bytearray(READ_BYTES)
        self._head = b""
        self.left = 0  # of the answer that is being read; 0 before its head is there
        self.received = 0
        self.sock = socket.create_connection((address.hostname, address.port), SECONDS_MAX)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)

    def ask(self) -> None:
        """Ask for the image."""
        self._head = b""
        self.sock.sendall(self._request)

    def wrong(self, what: str) -> WrongAnswerError:
        """Return what to raise for a wrong answer."""
        return WrongAnswerError(f"{self._server.name}, {self._target.path}: {what}")

    def read(self) -> bool:
        """Take what has come; True when that was the last byte of the last time."""
        if not self.left:
            self.received += len(self.head())
        else:
            self._drop()
        if self.left or self._head:
            return False
        self._times -= 1
        if self._times:
            self.ask()
        return not self._times

    def head(self) -> bytes:
        """Read until the end of the answer's head; what came of the body with it."""
        while b"\r\n\r\n" not in self._head:
            try:
                data = self.sock.recv(HEAD_BYTES_MAX)
            except BlockingIOError:
                return b""
            if not data or len(self._head) > HEAD_BYTES_MAX:
                raise self.wrong(f"no answer: {self._head!r}")
            self._head += data
        head, _, body = self._head.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise self.wrong(repr(self._head[:500]))
        length = b"\r\ncontent-length: %d" % self._target.size
        if length not in head.lower():
            raise self.wrong(f"another length than {self._target.size}: {head!r}")
        self._head = b""
        self.left = self._target.size - len(body)
        return body

    def _drop(self) -> None:
        try:
            count = self.sock.recv_into(self._buffer, min(self.left, READ_BYTES), socket.MSG_TRUNC)
        except BlockingIOError:
            return
        if not count:
            raise self.wrong(f"the end came {self.left} bytes early")
        self.left -= count
        self.received += count
