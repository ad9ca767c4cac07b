"""An upstream that is a process of its own, so that it can be killed, frozen and started again.

    python -m harness.restless PORT JOURNAL

It holds `IMAGES` made up images, of which every third one is given whole only (400 to a range, as
most of Glance's stores do).  Of each upload that arrived whole it writes a line into the journal
before it answers: the image's id and the SHA-256 of what came.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from aiohttp import web

from backends.spans import RangeNotSatisfiableError, Span, parse_range
from harness.images import random_bytes
from harness.program import REPOSITORY, Program, free_port

IMAGES = 12
IMAGE_BYTES = (6 << 20) + 4321
PIECE_BYTES = 256 << 10
VERSIONS = {"versions": [{"id": "v2.17", "status": "CURRENT", "links": []}]}


def image_id(number: int) -> str:
    """Return the id of an image."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"restless {number}"))


def image_data(number: int) -> bytes:
    """Return what is in it."""
    return random_bytes(IMAGE_BYTES, seed=5000 + number)


def whole_only(number: int) -> bool:
    """Tell whether ranges of an image are refused."""
    return number % 3 == 0


class Restless:
    """The upstream as seen from its test."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.journal = directory / "uploads"
        self.journal.touch()
        self._directory = directory
        self._program: Program | None = None

    @property
    def up(self) -> bool:
        """Whether it was started and not killed since."""
        return self._program is not None

    def start(self) -> None:
        """Run it, and wait until it listens."""
        paths = f"{REPOSITORY}:{REPOSITORY / 'tests'}"
        command = [sys.executable, "-m", "harness.restless", str(self.port), str(self.journal)]
        self._program = Program(
            "restless", command, directory=self._directory, environment={"PYTHONPATH": paths}
        )
        self._program.wait_for_port(self.port)

    def kill(self) -> None:
        """End it at once, in the middle of whatever it does."""
        assert self._program is not None
        program, self._program = self._program, None
        program.process.kill()
        program.process.wait()
        program.stop(codes=(-9,))

    def freeze(self) -> None:
        """Have it do nothing; its connections stay, and the kernel accepts more."""
        assert self._program is not None
        psutil.Process(self._program.process.pid).suspend()

    def thaw(self) -> None:
        """Let it go on."""
        assert self._program is not None
        psutil.Process(self._program.process.pid).resume()

    def arrived(self) -> list[tuple[str, str]]:
        """Return the id and SHA-256 of every upload that came whole, in order."""
        lines = self.journal.read_text().splitlines()
        return [(each.split(" ")[0], each.split(" ")[1]) for each in lines]


@contextmanager
def restless(directory: Path) -> Iterator[Restless]:
    """Run one until the context is left."""
    upstream = Restless(directory)
    upstream.start()
    try:
        yield upstream
    finally:
        if upstream.up:
            upstream.kill()


@dataclass
class _Glance:
    """What answers, in the process of its own."""

    journal: Path
    images: dict[str, tuple[int, bytes]] = field(default_factory=dict)

    async def versions(self, _request: web.Request) -> web.Response:
        return web.json_response(VERSIONS)

    async def show(self, request: web.Request) -> web.Response:
        number, data = self._image(request)
        return web.json_response(
            {
                "id": image_id(number),
                "status": "active",
                "size": len(data),
                "owner": "someone",
                "visibility": "public",
                "checksum": hashlib.md5(data).hexdigest(),
                "os_hash_algo": "sha512",
                "os_hash_value": hashlib.sha512(data).hexdigest(),
                "disk_format": "raw",
                "container_format": "bare",
            }
        )

    async def data(self, request: web.Request) -> web.StreamResponse:
        number, data = self._image(request)
        span, status = Span(0, len(data)), 200
        if (wanted := request.headers.get("Range")) is not None:
            try:
                span, status = parse_range(wanted, len(data)), 206
            except RangeNotSatisfiableError:
                return web.Response(status=416)
            if whole_only(number):
                return web.Response(status=400)
        response = web.StreamResponse(status=status)
        response.content_length = len(span)
        response.content_type = "application/octet-stream"
        if status == 206:
            response.headers["Content-Range"] = span.content_range(len(data))
        await response.prepare(request)
        for start in range(span.start, span.stop, PIECE_BYTES):
            await response.write(data[start : min(start + PIECE_BYTES, span.stop)])
        return response

    async def upload(self, request: web.Request) -> web.Response:
        arrived = hashlib.sha256()
        async for piece in request.content.iter_any():
            arrived.update(piece)
        line = f"{request.match_info['image']} {arrived.hexdigest()}\n"
        await asyncio.to_thread(self._note, line)
        return web.Response(status=204)

    def _note(self, line: str) -> None:
        journal = os.open(self.journal, os.O_WRONLY | os.O_APPEND)
        os.write(journal, line.encode())
        os.close(journal)

    def _image(self, request: web.Request) -> tuple[int, bytes]:
        try:
            return self.images[request.match_info["image"]]
        except KeyError:
            raise web.HTTPNotFound from None


async def _name(_request: web.Request, response: web.StreamResponse) -> None:
    """Give an answer its request id, as every answer of a Glance has one."""
    response.headers["x-openstack-request-id"] = f"req-{uuid.uuid4()}"


def main() -> None:
    """Serve until killed."""
    glance = _Glance(Path(sys.argv[2]))
    glance.images = {image_id(n): (n, image_data(n)) for n in range(IMAGES)}
    app = web.Application()
    app.on_response_prepare.append(_name)
    app.router.add_get("/versions", glance.versions)
    app.router.add_get("/v2/images/{image}", glance.show)
    app.router.add_get("/v2/images/{image}/file", glance.data)
    app.router.add_put("/v2/images/{image}/file", glance.upload)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)


if __name__ == "__main__":
    main()
