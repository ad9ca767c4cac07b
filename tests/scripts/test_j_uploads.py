"""An upload of any size passes through without being held anywhere."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import psutil
import pytest

from harness.node import Node, running_node
from harness.origin import VERSIONS
from harness.waiting import until

GIB = 1 << 30
ANONYMOUS_BYTES_MAX = 150 << 20  # of all processes of the node together
LOOKS = 8  # at the memory, while the upload is on its way
PIECE = bytes(1 << 20)
ANSWER_SECONDS = 120.0


class Sink:
    """An upstream that takes images and throws them away; each connection has a thread."""

    def __init__(self, sock: socket.socket) -> None:
        self.url = "http://{}:{}".format(*sock.getsockname())
        self.taken: list[int] = []  # bytes of each upload
        self._sock = sock
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        self._sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._sock.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as reader:
            while line := reader.readline():
                fields = list(iter(reader.readline, b"\r\n"))
                head = b"".join(fields).decode().lower()
                if line.startswith(b"PUT"):
                    self.taken.append(self._discard(reader, head))
                    connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
                else:
                    body = json.dumps(VERSIONS).encode()
                    start = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
                    connection.sendall(start.encode() + body)

    def _discard(self, reader: BinaryIO, head: str) -> int:
        if told := re.search(r"content-length: (\d+)", head):
            return self._drop(reader, int(told[1]))
        taken = 0
        while size := int(reader.readline(), 16):
            taken += self._drop(reader, size)
            reader.readline()
        reader.readline()
        return taken

    def _drop(self, reader: BinaryIO, size: int) -> int:
        left = size
        while left:
            piece = reader.read(min(left, len(PIECE)))
            assert not any((piece[0], piece[-1]))
            left -= len(piece)
        return size


@contextmanager
def sinking() -> Iterator[Sink]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sink = Sink(sock)
        try:
            yield sink
        finally:
            sink.close()


def anonymous_bytes(node: Node) -> int:
    """Return what the node's processes have in memory that is no file's."""
    processes = [psutil.Process(node.program.process.pid), *node.program.children()]
    status = [Path(f"/proc/{process.pid}/status").read_text() for process in processes]
    return sum(int(text.split("RssAnon:")[1].split()[0]) << 10 for text in status)


@pytest.mark.parametrize(
    ("framing", "size"),
    [
        pytest.param("length", 20 * GIB, marks=pytest.mark.long),
        ("length", 5 * GIB),  # more than 32 bits count
        ("chunked", GIB),
    ],
)
def test_a_sparse_upload_is_held_nowhere(tmp_path: Path, framing: str, size: int) -> None:
    chunked = framing == "chunked"
    seen = []
    with sinking() as sink, running_node(tmp_path, sink.url, workers=2) as node:
        parts = urlsplit(node.url)
        with socket.create_connection((parts.hostname, parts.port), ANSWER_SECONDS) as client:
            head = (
                "PUT /v2/images/i/file HTTP/1.1",
                "Host: node",
                "Connection: close",
                "Content-Type: application/octet-stream",
                "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}",
            )
            client.sendall("\r\n".join([*head, "", ""]).encode())
            pieces = size // len(PIECE)
            for number in range(pieces):
                if chunked:
                    client.sendall(b"%x\r\n" % len(PIECE))
                client.sendall(PIECE)
                if chunked:
                    client.sendall(b"\r\n")
                if number % (pieces // LOOKS) == pieces // LOOKS - 1:
                    seen.append(anonymous_bytes(node))
            if chunked:
                client.sendall(b"0\r\n\r\n")
            assert client.recv(1 << 16).startswith(b"HTTP/1.1 204 ")
        assert sink.taken == [size]
        assert len(seen) == LOOKS
        assert max(seen) < ANONYMOUS_BYTES_MAX, seen
        # Nothing of it is on the disk either.
        assert [path for path in node.cache.glob("chunks/*/*") if path.is_file()] == []
        # Counted once the answer is sent, which the client may have read before that.
        counted = 'cacheproxy_passthrough_requests_total{code="204"}'
        until("the upload to be counted", lambda: node.metrics().get(counted) == 1)
