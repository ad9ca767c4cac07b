"""An image sent whole over one connection."""

from __future__ import annotations

import socket
import time
from urllib.parse import urlsplit

from bench.load import Target, WrongAnswerError
from bench.server import LOAD_CORE, Server, pinned

SECONDS_MAX = 300.0
PIECE_BYTES = 1 << 20


def send_whole(server: Server, target: Target, data: bytes) -> float:
    """Send an image's data, and return the seconds to the answer, which must be 204."""
    address = urlsplit(server.url)
    head = (
        f"PUT {target.path} HTTP/1.1\r\nHost: {address.netloc}\r\nX-Auth-Token: {target.token}\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {len(data)}\r\n\r\n"
    ).encode()
    view = memoryview(data)
    with pinned(LOAD_CORE):
        sock = socket.create_connection((address.hostname, address.port), SECONDS_MAX)
        try:
            began = time.perf_counter()
            sock.sendall(head)
            for start in range(0, len(data), PIECE_BYTES):
                sock.sendall(view[start : start + PIECE_BYTES])
            answer = sock.recv(PIECE_BYTES)
            seconds = time.perf_counter() - began
        finally:
            sock.close()
    if not answer.startswith(b"HTTP/1.1 204 "):
        raise WrongAnswerError(f"{server.name}: {answer[:500]!r}")
    return seconds
