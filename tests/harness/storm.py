"""Everything that a node needs dies, freezes and comes back, at random moments, while it is used.

async with storm(tmp_path, seed=1) as wild:
    await wild.rage(seconds=300)
    figures = await wild.calm()
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from harness.downloads import Clients, Download, clients
from harness.images import random_bytes
from harness.node import Node, async_node
from harness.restless import (
    IMAGE_BYTES,
    IMAGES,
    Restless,
    image_data,
    image_id,
    restless,
    whole_only,
)
from harness.story import READY, STARTED, figure
from harness.waiting import until, until_async

SETTINGS = """
[DEFAULT]
hang_seconds = 3
[upstream]
connect_timeout_seconds = 1
read_timeout_seconds = 3
change_timeout_seconds = 5
permission_seconds = 1
[cache]
keeper_wait_seconds = 2
hot_files_max = 32
"""
LIMIT_BYTES = 96 << 20  # room for all images, so that some requests are hits whatever dies
WORKERS = 2
READERS = 6
UPLOADERS = 2
LOOKERS = 2
REQUEST_SECONDS = 30.0  # no request may take longer: the sum of the bounds that it meets on its way
CALM_SECONDS = 60.0  # in which everything must be well again
UPLOAD_BYTES_MAX = 4 << 20
DESCRIPTORS_MAX = 128  # of a process that is idle: open chunk files, sockets, the index
PAUSE_SECONDS = 0.1  # of a client who was refused
REFUSALS = frozenset({0, 502, 503, 504})  # 0: no answer, the worker was killed


class Storm:
    """A node, its upstream, its clients, and what happens to them."""

    def __init__(self, upstream: Restless, node: Node, ask: Clients, seed: int) -> None:
        self._upstream = upstream
        self._node = node
        self._ask = ask
        self._random = random.Random(seed)
        self._images = [(image_id(n), image_data(n)) for n in range(IMAGES)]
        self._over = asyncio.Event()
        self._faults: Counter[str] = Counter()
        self._ended: Counter[str] = Counter()
        self._uploads: dict[str, tuple[str, int]] = {}  # by id: SHA-256 and the status
        self._longest = 0.0

    async def rage(self, seconds: float) -> None:
        """Do harm for so long, under load; every finished download is right, none takes too long."""
        async with asyncio.TaskGroup() as group:
            for _ in range(READERS):
                group.create_task(self._until_over(self._download))
            for _ in range(UPLOADERS):
                group.create_task(self._until_over(self._send))
            for _ in range(LOOKERS):
                group.create_task(self._until_over(self._look))
            harm = [
                group.create_task(self._harm(h)) for h in (self._upstream_harm, self._child_harm)
            ]
            await asyncio.wait(harm, timeout=seconds)  # they end by themselves only if they fail
            self._over.set()

    async def calm(self) -> dict[str, Any]:
        """Wait until all is well again, by itself; return the figures."""
        began = time.monotonic()
        for number in range(IMAGES):
            while not await self._right(number):
                assert time.monotonic() < began + CALM_SECONDS, "an image is not served again"
                await self._pause(PAUSE_SECONDS)
        while (await self._upload_once())[1] != 204:
            assert time.monotonic() < began + CALM_SECONDS, "uploads do not pass again"
        samples = await asyncio.to_thread(until, "the node to be idle", self._quiet, CALM_SECONDS)
        recovered = time.monotonic() - began
        descriptors = {p.pid: p.num_fds() for p in self._node.program.children()}
        assert max(descriptors.values()) <= DESCRIPTORS_MAX, descriptors
        log = await asyncio.to_thread(self._node.program.log.read_text)
        assert "Traceback" not in log
        assert "never retrieved" not in log
        assert figure(samples, "requests_total", result="hit") > 0
        assert figure(samples, "requests_total", result="miss") > 0
        sent_twice = await asyncio.to_thread(self._check_uploads)
        return {
            "faults": dict(sorted(self._faults.items())),
            "ended": dict(sorted(self._ended.items())),
            "wrong_bytes": 0,
            "uploads_sent_twice": sent_twice,
            "longest_request_seconds": round(self._longest, 1),
            "seconds_until_all_was_well_again": round(recovered, 1),
            "most_descriptors_of_a_process": max(descriptors.values()),
            "results": {
                each: figure(samples, "requests_total", result=each)
                for each in ("hit", "partial", "miss", "bypass", "refused", "error")
            },
        }

    # --- what is asked ----------------------------------------------------------------------------

    async def _until_over(self, once: Callable[[], Awaitable[bool]]) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            async with asyncio.timeout(REQUEST_SECONDS):
                well = await once()
            self._longest = max(self._longest, time.monotonic() - began)
            if not well:
                await self._pause(PAUSE_SECONDS)

    async def _download(self) -> bool:
        number = self._random.randrange(IMAGES)
        start, stop, wanted = 0, IMAGE_BYTES, None
        if self._random.random() < 0.5:
            start = self._random.randrange(IMAGE_BYTES)
            stop = self._random.randrange(start, IMAGE_BYTES) + 1
            wanted = f"bytes={start}-{stop - 1}"
        return await self._downloaded(number, wanted, start, stop)

    async def _right(self, number: int) -> bool:
        return await self._downloaded(number, None, 0, IMAGE_BYTES)

    async def _downloaded(self, number: int, wanted: str | None, start: int, stop: int) -> bool:
        name, data = self._images[number]
        download = self._ask(name, wanted)
        ending = await download.ended()
        if download.status == 400 and wanted and whole_only(number):
            # Nobody but the upstream knew the image just then: this is its own word.
            self._ended["downloads refused by the upstream, which has no ranges of them"] += 1
            return False
        if download.status in REFUSALS:
            self._ended[f"downloads refused {download.status or 'by a reset'}"] += 1
            return False
        assert download.status == (206 if wanted else 200), download
        if ending != "whole":
            assert data[start:stop].startswith(download.data), f"wrong bytes: {download}"
            self._ended["downloads broken off"] += 1
            return False
        assert download.data == data[start:stop], f"wrong bytes: {download}"
        self._ended["downloads finished and right"] += 1
        _forget(download)
        return True

    async def _look(self) -> bool:
        name = self._random.choice(self._images)[0]
        head = f"GET /v2/images/{name} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n"
        looked = self._ask.send(head)
        ending = await looked.ended()
        well = looked.status == 200 and ending == "whole"
        assert well or looked.status in REFUSALS or ending != "whole", looked
        self._ended["other requests answered" if well else "other requests refused"] += 1
        return well

    async def _send(self) -> bool:
        return (await self._upload_once())[1] == 204

    async def _upload_once(self) -> tuple[str, int]:
        number = len(self._uploads)
        name = f"upload-{number}"
        data = random_bytes(self._random.randrange(UPLOAD_BYTES_MAX), seed=number)
        self._uploads[name] = (hashlib.sha256(data).hexdigest(), -1)
        status = await put(self._node.url, name, data)
        assert status == 204 or status in REFUSALS, status
        self._uploads[name] = (self._uploads[name][0], status)
        self._ended["uploads finished" if status == 204 else "uploads refused or broken off"] += 1
        return name, status

    def _check_uploads(self) -> int:
        """Return how many uploads came twice; fail for one that is lost or wrong."""
        arrived = self._upstream.arrived()
        came = dict(arrived)
        for name, (digest, status) in self._uploads.items():
            assert name in came or status != 204, f"{name} was lost"
            assert came.get(name, digest) == digest, f"{name} is not what was sent"
            assert status != 503 or name not in came, f"{name} was taken, and called not sent"
        assert len(arrived) == len(came), "an upload was sent twice"
        return len(arrived) - len(came)

    # --- what is done to them ---------------------------------------------------------------------

    async def _harm(self, once: Callable[[], Awaitable[None]]) -> None:
        while not self._over.is_set():
            await self._pause(self._random.uniform(1, 4))
            await once()

    async def _upstream_harm(self) -> None:
        if self._random.random() < 0.5:
            self._faults["upstream killed"] += 1
            await asyncio.to_thread(self._upstream.kill)
            try:
                await self._pause(self._random.uniform(0, 5))
            finally:
                await asyncio.to_thread(self._upstream.start)
        else:
            self._faults["upstream frozen"] += 1
            self._upstream.freeze()
            try:
                await self._pause(self._random.uniform(0.5, 8))
            finally:
                self._upstream.thaw()

    async def _child_harm(self) -> None:
        log = await asyncio.to_thread(self._node.program.log.read_text)
        name, pid = self._random.choice(sorted(dict(STARTED.findall(log)).items()))
        kind = name.partition(" ")[0]
        with suppress(psutil.NoSuchProcess):  # it was just replaced
            child = psutil.Process(int(pid))
            if self._random.random() < 0.5:
                child.kill()
                self._faults[f"{kind} killed"] += 1
                return
            child.suspend()
            self._faults[f"{kind} frozen"] += 1
            try:
                await self._pause(self._random.uniform(0.5, 5))
            finally:
                child.resume()

    async def _pause(self, seconds: float) -> None:
        """Let time pass, unless the storm is over."""
        if self._over.is_set():
            await until_async("a moment to pass", _after(seconds))
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()

    def _quiet(self) -> dict[str, float]:
        """Return the metrics, nothing while something is in progress."""
        samples = self._node.metrics()
        still = ("leases", "reserved_bytes", "flights")
        quiet = (
            not any(figure(samples, name) for name in still)
            and figure(samples, "connections") == 1  # the one that asks for the metrics
            and figure(samples, "upstream_unused", upstream="1") == 0
            and not list((self._node.cache / "staging").iterdir())
            and len(self._node.program.children()) == 1 + WORKERS
        )
        return samples if quiet else {}


def _after(seconds: float) -> Callable[[], bool]:
    then = time.monotonic() + seconds
    return lambda: time.monotonic() >= then


def _forget(download: Download) -> None:
    download.data.clear()


async def put(url: str, name: str, data: bytes) -> int:
    """Upload, and return the status; 0: there was no answer."""
    address = urlsplit(url)
    head = f"PUT /v2/images/{name}/file HTTP/1.1\r\nHost: node\r\nConnection: close\r\n"
    head += f"Content-Type: application/octet-stream\r\nContent-Length: {len(data)}\r\n\r\n"
    writer = None
    try:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(head.encode() + data)
        # It may be refused before all of it is sent, and the connection reset behind the refusal.
        line = await reader.readline()
        return int(line.split(b" ")[1]) if line else 0
    except ConnectionError:
        return 0
    finally:
        if writer is not None:
            writer.transport.abort()


@asynccontextmanager
async def storm(directory: Path, seed: int) -> AsyncIterator[Storm]:
    """Run a node and an upstream for a storm; they must end in order."""
    context = restless(directory)
    upstream = await asyncio.to_thread(context.__enter__)
    try:
        async with (
            async_node(
                directory, upstream.url, workers=WORKERS, limit_bytes=LIMIT_BYTES, more=SETTINGS
            ) as node,
            clients(node.url) as ask,
        ):
            log = node.program.log
            await asyncio.to_thread(until, "all processes", lambda: READY in log.read_text())
            yield Storm(upstream, node, ask, seed)
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)
