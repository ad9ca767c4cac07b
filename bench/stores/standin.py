"""An S3 server that costs next to nothing: a measure of clients alone, where no service is that fast.

What is uploaded is dropped by the kernel uncopied, and was a `Source` of that length; downloads are sent
by the kernel from a file.  Nothing is checked.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from bench.stores.job import Source

HEAD_MAX = 1 << 16
DROP_BYTES = 1 << 20  # at once

_UNSEEN = bytearray(DROP_BYTES)  # never written to
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")
_BEGUN = b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"
_COMPLETE = (
    b"<CompleteMultipartUploadResult><ETag>&quot;1&quot;</ETag></CompleteMultipartUploadResult>"
)


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks."""

    method: str
    key: str  # empty: the bucket
    query: str
    headers: dict[str, str]
    size: int  # of its body


@dataclass(slots=True)
class StandIn:
    """The server's memory."""

    directory: Path  # for images, one of each size
    sizes: dict[str, int] = field(default_factory=dict)  # of objects, by key
    parts: Counter[str] = field(default_factory=Counter)  # bytes, by key

    def serve(self, listener: socket.socket) -> None:
        """Take connections until the listener is closed, each in a thread."""
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            while (request := _received(client)) is not None:
                self._answer(client, request)

    def _answer(self, client: socket.socket, request: Request) -> None:
        match request.method:
            case "PUT":
                if "uploadId" in request.query:
                    self.parts[request.key] += request.size
                else:
                    self._keep(request.key, request.size)
                _send(client, "200 OK", {"ETag": '"1"'})
            case "POST" if "uploadId" in request.query:
                self._keep(request.key, self.parts.pop(request.key))
                _send(client, "200 OK", {}, _COMPLETE)
            case "POST":
                _send(client, "200 OK", {}, _BEGUN)
            case "DELETE":
                self.sizes.pop(request.key, None)
                _send(client, "204 No Content", {})
            case _ if request.key and request.key not in self.sizes:
                _send(client, "404 Not Found", {})
            case _ if request.key:
                self._send_image(client, request)
            case _:
                _send(client, "200 OK", {})

    def _keep(self, key: str, size: int) -> None:
        image = self.directory / str(size)
        if not image.exists():
            source = Source(size)
            image.write_bytes(b"".join(iter(source.read, b"")))
        self.sizes[key] = size

    def _send_image(self, client: socket.socket, request: Request) -> None:
        size = self.sizes[request.key]
        start, stop, status, headers = 0, size, "200 OK", {"ETag": '"1"'}
        if asked := _RANGE.fullmatch(request.headers.get("range", "")):
            start, stop = int(asked[1]), min(size, int(asked[2]) + 1)
            status = "206 Partial Content"
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        _send(client, status, headers, length=stop - start)
        if request.method == "GET":
            with (self.directory / str(size)).open("rb") as file:
                while start < stop:
                    start += os.sendfile(client.fileno(), file.fileno(), start, stop - start)


def _received(client: socket.socket) -> Request | None:
    """Read a request, its body dropped; None at the end of the connection."""
    received = b""
    while b"\r\n\r\n" not in received:
        more = client.recv(HEAD_MAX)
        if not more:
            return None
        received += more
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    if "expect" in headers:
        client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    size = int(headers.get("content-length", 0))
    left = size - len(body)
    while left:
        count = client.recv_into(_UNSEEN, min(left, DROP_BYTES), socket.MSG_TRUNC)  # tcp(7)
        if not count:
            return None
        left -= count
    asked = urlsplit(target)
    return Request(method, asked.path.lstrip("/").partition("/")[2], asked.query, headers, size)


def _send(
    client: socket.socket,
    status: str,
    headers: Mapping[str, str],
    body: bytes = b"",
    length: int | None = None,
) -> None:
    lines = {
        "Content-Length": str(len(body) if length is None else length),
        "Last-Modified": "Sun, 01 Nov 2026 00:00:00 GMT",
        **headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    client.sendall(f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body)


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
        StandIn(Path(sys.argv[2])).serve(listener)
