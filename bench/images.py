"""Images over the Images API, with nothing but the standard library."""

from __future__ import annotations

import hashlib
import http.client
import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO
from urllib.parse import urlsplit

from bench.server import Server

MIB = 1 << 20

Reading = Callable[[int], bytes]


def random_bytes(size: int) -> bytes:
    """Return whole MiB that look random, and are the same each time."""
    chance = random.Random(1)
    return b"".join(chance.randbytes(MIB) for _ in range(size // MIB))  # not 256 at once: it cannot


@contextmanager
def answer_of(
    service: Server,
    method: str,
    path: str,
    body: object = None,
    fields: dict[str, str] | None = None,
) -> Iterator[http.client.HTTPResponse]:
    """Ask, and give the answer; RuntimeError for a refusal."""
    address = urlsplit(service.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=600)
    try:
        connection.request(method, path, body=body, headers=fields or {})  # type: ignore[arg-type]  # any iterable
        answer = connection.getresponse()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.read(500).decode()}")
        yield answer
    finally:
        connection.close()


def ask(
    service: Server, method: str, path: str, body: object = None, kind: str | None = None
) -> bytes:
    """Ask, and return the whole answer; a callable body is read until it is empty."""
    fields = {"Content-Type": kind} if kind else {}
    if callable(body):
        read, fields["Transfer-Encoding"] = body, "chunked"
        body = _chunked(iter(lambda: read(MIB), b""))
    with answer_of(service, method, path, body, fields) as answer:
        return answer.read()


def _chunked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Frame a body of unknown length (RFC 9112 section 7.1)."""
    for piece in pieces:
        yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


def upload(service: Server, data: BinaryIO | Reading, name: str, disk_format: str = "raw") -> str:
    """Create an image and send its data; its id."""
    record = {"name": name, "disk_format": disk_format, "container_format": "bare"}
    answer = ask(service, "POST", "/v2/images", json.dumps(record).encode(), "application/json")
    image_id: str = json.loads(answer)["id"]
    read = data if callable(data) else data.read
    ask(service, "PUT", f"/v2/images/{image_id}/file", read, "application/octet-stream")
    return image_id


def sha512(service: Server, image_id: str) -> str:
    """Return the hash that the catalog shows of an image."""
    shown = json.loads(ask(service, "GET", f"/v2/images/{image_id}"))
    value: str = shown["os_hash_value"]
    return value


def download(
    service: Server, image_id: str, watch: Callable[[Reading, int], Reading] | None = None
) -> str:
    """Read all of an image; its SHA-512.  `watch` may wrap the reading, given the total size."""
    whole = hashlib.sha512()
    with answer_of(service, "GET", f"/v2/images/{image_id}/file") as answer:
        read: Reading = answer.read
        if watch is not None:
            read = watch(read, int(answer.headers["Content-Length"]))
        while data := read(MIB):
            whole.update(data)
    return whole.hexdigest()


def part(service: Server, image_id: str, start: int, stop: int) -> bytes:
    """Read the bytes `start <= position < stop`."""
    fields = {"Range": f"bytes={start}-{stop - 1}"}
    with answer_of(service, "GET", f"/v2/images/{image_id}/file", fields=fields) as answer:
        return answer.read()
