"""A piece of network between a node and a service: it can be cut, and mended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

from harness.raw_origin import reset

PIECE_BYTES = 1 << 16


class Forwarder:
    """Passes connections on to a service, while it is up."""

    def __init__(self, url: str, host: str = "127.0.0.1", port: int = 0) -> None:
        self._to = urlsplit(url)
        self._host, self._port = host, port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._passing: set[asyncio.Task[None]] = set()
        self._speaking = asyncio.Event()
        self._speaking.set()
        self.held = 0  # how often something was not passed on at once

    @property
    def url(self) -> str:
        """Where the service is reached by way of here."""
        return f"http://{self._host}:{self._port}"

    async def up(self) -> None:
        """Take connections, always at the same address."""
        self._server = await asyncio.start_server(self._connected, self._host, self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    def silence(self) -> None:
        """Take connections and requests, and pass nothing on, as a process that was stopped does."""
        self._speaking.clear()

    def speak(self) -> None:
        """Pass on what was held, and all that comes."""
        self._speaking.set()

    async def down(self) -> None:
        """Reset all connections, and refuse others."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in tuple(self._writers):
            reset(writer)
        await asyncio.gather(*self._passing, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        self._writers.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection(self._to.hostname, self._to.port)
            self._writers.add(far_writer)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._pump(reader, far_writer))
                    both.create_task(self._pump(far_reader, writer))
            finally:
                self._writers.discard(far_writer)
                far_writer.close()
        finally:
            self._writers.discard(writer)
            self._passing.discard(task)
            writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while piece := await reader.read(PIECE_BYTES):
                self.held += not self._speaking.is_set()
                await self._speaking.wait()
                writer.write(piece)
                await writer.drain()
        if not writer.is_closing():
            with suppress(OSError):
                writer.write_eof()


@asynccontextmanager
async def forwarding(url: str, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Forwarder]:
    """Pass connections on until the context is left, from this address; port 0 is any."""
    forwarder = Forwarder(url, host, port)
    await forwarder.up()
    try:
        yield forwarder
    finally:
        forwarder.speak()
        await forwarder.down()
