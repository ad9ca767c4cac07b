"""A gate between a node and a real upstream: it stops an answer at a byte, and goes on or cuts it.

async with gate(glance.url) as between:
between.hold_after(5 << 20)
...                              # a node in front of `between.url` fetches an image
await between.reached.wait()     # so many bytes of one connection have passed
between.cut()                    # or `open()`
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

from harness.raw_origin import listener, reset

READ_BYTES = 1 << 16


class Gate:
    """The running gate."""

    def __init__(self, upstream: str) -> None:
        self.url = ""
        self.reached = asyncio.Event()
        self._upstream = urlsplit(upstream)
        self._hold_after: int | None = None
        self._opened = asyncio.Event()
        self._cutting = False

    def hold_after(self, count: int) -> None:
        """Hold back what an upstream's connection sends after so many bytes."""
        self._hold_after = count

    def open(self) -> None:
        """Let everything pass."""
        self._hold_after = None
        self._opened.set()

    def cut(self) -> None:
        """End the connections that are held, and let everything else pass."""
        self._cutting = True
        self.open()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on, both ways."""
        there, back = await asyncio.open_connection(self._upstream.hostname, self._upstream.port)
        asking = asyncio.create_task(_pump(reader, back))
        try:
            await self._answers(there, writer)
        finally:
            asking.cancel()
            await asyncio.wait([asking])
            for each in (writer, back):
                each.close()
                with suppress(ConnectionError):
                    await each.wait_closed()

    async def _answers(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passed = 0
        with suppress(ConnectionError):
            while piece := await there.read(READ_BYTES):
                passed += len(piece)
                if self._hold_after is not None and passed > self._hold_after:
                    self.reached.set()
                    await self._opened.wait()
                    if self._cutting:
                        reset(writer)
                        return
                writer.write(piece)
                await writer.drain()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while piece := await reader.read(READ_BYTES):
            writer.write(piece)
            await writer.drain()


@asynccontextmanager
async def gate(upstream: str) -> AsyncIterator[Gate]:
    """Run a gate in front of an upstream until the context is left."""
    made = Gate(upstream)
    running: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.add(asyncio.get_running_loop().create_task(made.serve(reader, writer)))

    sock = listener()
    made.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    server = await asyncio.start_server(connected, sock=sock)
    try:
        yield made
    finally:
        server.close()
        await server.wait_closed()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
