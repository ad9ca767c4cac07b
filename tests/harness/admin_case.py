"""An operator's use cases on a keeper without processes, and their server on a socket of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from cacheproxy.admin import requests, wire
from cacheproxy.admin.results import Processes, Worker
from cacheproxy.inspection import Daemon, Inspection
from cacheproxy.operations import Operations
from cacheproxy.processes.admin import AdminServer
from harness.fill_case import CHUNK, Case, started
from harness.origin import Origin, OriginImage, origin
from harness.store_case import chunk

PROCESSES = Processes(
    supervisor_pid=812,
    keeper_pid=815,
    workers=[Worker(number=0, pid=816)],
    keeper_starts=1,
    worker_count=1,
    worker_starts=1,
)


@dataclass
class OwnAccount:
    """The account of the proxy itself, without a Keystone."""

    token: str = ""
    asked: int = 0

    @property
    def configured(self) -> bool:
        """Whether it has a token to give."""
        return bool(self.token)

    async def headers(self) -> list[tuple[str, str]]:
        """Give it."""
        self.asked += 1
        return [("X-Auth-Token", self.token)]


@dataclass
class Workers:
    """Those who believe what the upstream said, if the supervisor passes it on to them."""

    purged: list[str | None] = field(default_factory=list)
    reached: bool = True

    def purge(self, image_id: str | None) -> bool:
        """Note it."""
        self.purged.append(image_id)
        return self.reached


@dataclass
class AdminCase(Case):
    """A cache, its origin, and what an operator can do."""

    operations: Operations
    account: OwnAccount
    workers: Workers

    @property
    def inspection(self) -> Inspection:
        """What an operator can see."""
        return self.operations.inspection

    def add(self, *seeds: int, tail: int = CHUNK) -> OriginImage:
        """Add an image of these chunks to the origin; `tail` bytes of the last one."""
        data = b"".join(map(chunk, seeds))
        return self.origin.add(data[: len(data) - CHUNK + tail])

    async def cached(self, *seeds: int, tail: int = CHUNK) -> OriginImage:
        """Add an image and read it, so that it is cached and proven."""
        image = self.add(*seeds, tail=tail)
        await self.read(image).task
        await self.idle()
        return image


@asynccontextmanager
async def administered(directory: Path, **options: Any) -> AsyncIterator[AdminCase]:
    """Run everything but the processes."""
    async with origin() as glance, started(glance, directory, **options) as case:
        daemon = Daemon("1.2.3", str(directory), [glance.url], lambda: PROCESSES)
        account, workers = OwnAccount(), Workers()
        inspection = Inspection(case.flights, case.store, case.board.meter(0), daemon)
        operations = Operations(
            *(inspection, case.flights, case.store, case.upstream, account, case.settings),
            workers.purge,
        )
        try:
            yield AdminCase(
                **{name: getattr(case, name) for name in Case.__annotations__},
                operations=operations,
                account=account,
                workers=workers,
            )
        finally:
            await operations.close()


@asynccontextmanager
async def serving(case: AdminCase, path: Path) -> AsyncIterator[AdminServer]:
    """Serve the use cases on a socket, once it is there."""
    server = AdminServer(path, case.operations)
    server.start()
    try:
        await server.listening.wait()
        yield server
    finally:
        await server.close()


class AdminClient:
    """A client that speaks, reads and leaves as a test wants."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def say(self, data: bytes) -> None:
        """Send bytes."""
        self._writer.write(data)
        await self._writer.drain()

    async def ask(self, request: requests.AnyRequest) -> None:
        """Send a request."""
        await self.say(wire.encode(wire.Envelope(wire.VERSION, request)))

    async def event(self) -> wire.AnyEvent | None:
        """Wait for the next event, None at the end."""
        line = await self._reader.readline()
        return wire.decode_event(line) if line else None

    async def error(self) -> wire.Error:
        """Wait for an error, and the end."""
        last = await self.event()
        assert isinstance(last, wire.Error), last
        assert await self.event() is None
        return last

    async def result(self) -> object:
        """Wait for the result, past whatever comes before."""
        while True:
            event = await self.event()
            if isinstance(event, wire.Result):
                return msgspec.json.decode(event.result)
            assert isinstance(event, (wire.Alive, wire.Progressed, wire.Rows)), event

    async def leave(self) -> None:
        """Close the connection."""
        self._writer.close()
        await self._writer.wait_closed()


@asynccontextmanager
async def client(path: Path) -> AsyncIterator[AdminClient]:
    """Connect to a server."""
    reader, writer = await asyncio.open_unix_connection(path, limit=wire.EVENT_BYTES_MAX)
    connected = AdminClient(reader, writer)
    try:
        yield connected
    finally:
        await connected.leave()


__all__ = ["CHUNK", "AdminCase", "AdminClient", "Origin", "administered", "client", "serving"]
