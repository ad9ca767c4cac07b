"""What a worker has to do with: a keeper that has everything, and an upstream that says little."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from backends.spans import Span
from cacheproxy.bypass import Bypass
from cacheproxy.core.facts import ImageFacts
from cacheproxy.core.geometry import Grid
from cacheproxy.core.judgement import Verdict
from cacheproxy.core.proof import Identity
from cacheproxy.errors import KeeperError
from cacheproxy.fill.source import Headers
from cacheproxy.hotset import HotFile, HotSet
from cacheproxy.keeper import Description
from cacheproxy.processes import messages
from cacheproxy.store.digest import digest_of
from fuzz.requests import SIZES
from harness.images import random_bytes

CHUNK_BYTES = 64 << 10
SHOWN = {"foreign": 500}  # the upstream shows these, the keeper does not know them
DATA = {name: random_bytes(size, seed=size) for name, size in {**SIZES, **SHOWN}.items()}


def facts_of(image_id: str) -> ImageFacts:
    """Return what there is to know of an image of the upstream's."""
    checksum = None if image_id == "single" else "d41d8cd98f00b204e9800998ecf8427e"
    return ImageFacts(
        image_id=image_id,
        size=len(DATA[image_id]),
        checksum=checksum,
        hash_algo=None,
        hash_value=None,
    )


class Files:
    """Chunk files, which all keepers give out."""

    def __init__(self, directory: Path) -> None:
        self.chunks: dict[tuple[str, int], tuple[bytes, int, int, Identity]] = {}
        for name, size in SIZES.items():
            grid = Grid(size, CHUNK_BYTES)
            for index in range(grid.count):
                path = directory / f"{name}-{index}"
                span = grid.chunk(index)
                data = DATA[name][span.start : span.stop]
                path.write_bytes(data)
                fd = os.open(path, os.O_RDONLY)
                os.fsync(fd)  # what is on its way to the disk cannot leave memory
                proof = Identity.of(os.fstat(fd))
                self.chunks[name, index] = (digest_of(data), fd, len(data), proof)

    def close(self) -> None:
        """Close them."""
        for _, fd, _, _ in self.chunks.values():
            os.close(fd)


class Keeper:
    """Has every chunk of what it knows."""

    def __init__(self, files: Files, hot: HotSet, told: list[object]) -> None:
        self.files = files
        self.hot = hot
        self.told = told
        self.touched: set[bytes] = set()  # in whatever order, and how often

    def file(self, name: str, index: int) -> HotFile:
        """Send a file, which comes leased."""
        digest, fd, size, proof = self.files.chunks[name, index]
        return self.hot.add(digest, os.dup(fd), size, proof, time.monotonic())

    async def describe(self, image_id: str) -> Description:
        self.told.append(("describe", image_id))
        if image_id not in SIZES:
            return messages.Described(1, None, proven=False)
        return messages.Described(1, facts_of(image_id), proven=image_id != "unproven")

    async def adopt(self, facts: ImageFacts, headers: Headers) -> Description:
        raise AssertionError((facts, headers))

    def read(
        self, facts: ImageFacts, span: Span, headers: Headers, prefer: Sequence[str] = ()
    ) -> Reader:
        self.told.append(("read", facts.image_id, span, tuple(headers), tuple(prefer)))
        if facts.image_id not in SIZES:
            raise KeeperError("away")
        return Reader(self, facts)

    async def doubt(self, digest: bytes, size: int) -> None:
        self.told.append(("doubt", digest, size))

    def hung(self) -> None:
        raise AssertionError("no disk hangs here")

    def touch(self, digest: bytes) -> None:
        self.touched.add(digest)


@dataclass
class Reader:
    """Gives the chunks of an image."""

    keeper: Keeper
    facts: ImageFacts

    @property
    def proven(self) -> bool:
        return self.facts.image_id != "unproven"

    async def ready(self) -> Grid:
        return Grid(self.facts.size, CHUNK_BYTES)

    async def chunk(self, index: int, known: bytes | None) -> tuple[HotFile, bool]:
        file = self.keeper.file(self.facts.image_id, index)
        assert known in {None, file.digest}
        return file, False

    def ahead(self, index: int) -> HotFile | None:  # noqa: ARG002  nothing comes before it is due
        return None

    def close(self) -> None:
        self.keeper.told.append(("close", self.facts.image_id))


class Upstream(Bypass):
    """The upstream: what it is asked is noted, what it says depends on the image alone."""

    def __init__(self, told: list[object]) -> None:
        self.told = told

    async def may_download(self, image_id: str, headers: Headers, query: str = "") -> Verdict:
        self.told.append(("may", image_id, tuple(headers), query))
        return Verdict.REFUSED if image_id == "refused" else Verdict.ALLOWED

    async def show(self, image_id: str, headers: Headers) -> ImageFacts | None:
        self.told.append(("show", image_id, tuple(headers)))
        return facts_of(image_id) if image_id in DATA else None

    async def stream(
        self, facts: ImageFacts, headers: Headers, span: Span
    ) -> AsyncGenerator[bytes | memoryview]:
        self.told.append(("stream", facts.image_id, span, tuple(headers)))
        yield DATA[facts.image_id][span.start : span.stop]

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer what is passed through."""
        body = await request.read()
        asked = (request.method, request.raw_path, request.version, request.raw_headers, body)
        self.told.append(("passed", *asked))
        return web.Response(status=404, text="the upstream has nothing of the kind\n")
