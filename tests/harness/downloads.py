"""Clients of a node that read as slowly, or leave as rudely, as a test wants.

In a test:

async with clients(node.url) as ask:
    whole, tail = ask(image.id), ask(image.id, "bytes=-10")
    await whole.received(1)     # its first byte is here
    assert await tail.body() == data[-10:]
    await whole.leave()
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Literal
from urllib.parse import urlsplit

from harness.raw_origin import reset

READ_BYTES = 1 << 18

# How the connection's part in an answer ended: its body is whole; reset; closed before its end; or
# there was no connection.
Ending = Literal["whole", "reset", "cut", "refused"]


class Download:
    """One request on a connection of its own, and what has come of its answer."""

    def __init__(self, url: str, head: str, *, paused: bool = False) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}  # names in lower case
        self.data = bytearray()
        self.ending: Ending | None = None
        self._url = urlsplit(url)
        self._request = head
        self._news = asyncio.Event()
        self._reading = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None
        if not paused:
            self._reading.set()
        self.task = asyncio.create_task(self._run())

    def __repr__(self) -> str:
        return f"<Download {self.status}, {len(self.data)} bytes, {self.ending}>"

    def go_on(self) -> None:
        """Begin to read the body, of a download that was begun `paused`."""
        self._reading.set()

    async def answered(self) -> int:
        """Wait for the head of the answer; return its status."""
        await self._wait_for(lambda: self.status != 0)
        return self.status

    async def received(self, count: int) -> None:
        """Wait until so many bytes of the body have come."""
        await self._wait_for(lambda: len(self.data) >= count)

    async def ended(self) -> Ending:
        """Wait for the end, whatever it is."""
        await self.task
        assert self.ending is not None
        return self.ending

    async def body(self) -> bytes:
        """Wait for the whole body; fail if it does not come."""
        assert await self.ended() == "whole", self
        return bytes(self.data)

    async def leave(self) -> None:
        """Reset the connection from this side."""
        if self._writer is not None:
            reset(self._writer)
        self.task.cancel()
        await asyncio.wait([self.task])

    async def _wait_for(self, there: Callable[[], bool]) -> None:
        while not there():
            assert not self.task.done(), self
            self._news.clear()
            news = asyncio.create_task(self._news.wait())
            await asyncio.wait([news, self.task], return_when=asyncio.FIRST_COMPLETED)
            news.cancel()

    async def _run(self) -> None:
        try:
            reader, self._writer = await asyncio.open_connection(
                self._url.hostname, self._url.port, limit=READ_BYTES
            )
            self._writer.write(self._request.encode("latin-1"))
            await self._read(reader)
            self.ending = "whole"
        except ConnectionRefusedError:
            self.ending = "refused"
        except ConnectionError:
            self.ending = "reset"
        except asyncio.IncompleteReadError:
            self.ending = "cut"
        finally:
            self._news.set()
            if self._writer is not None:
                self._writer.close()
                with suppress(ConnectionError):
                    await self._writer.wait_closed()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        for line in lines[1:]:
            name, _, value = line.partition(":")
            if name:
                self.headers[name.lower()] = value.strip()
        self.status = int(lines[0].split(" ")[1])
        self._news.set()
        await self._reading.wait()
        if self._request.startswith("HEAD") or self.status in (204, 304):
            return
        if self.headers.get("transfer-encoding") == "chunked":
            while size := int(await reader.readuntil(b"\r\n"), 16):
                await self._take(reader, size)
                await reader.readexactly(2)
            await reader.readexactly(2)
        elif "content-length" in self.headers:
            await self._take(reader, int(self.headers["content-length"]))
        else:
            while piece := await reader.read(READ_BYTES):
                self._add(piece)

    async def _take(self, reader: asyncio.StreamReader, size: int) -> None:
        while size:
            piece = await reader.read(min(size, READ_BYTES))
            if not piece:
                raise asyncio.IncompleteReadError(b"", size)
            size -= len(piece)
            self._add(piece)

    def _add(self, piece: bytes) -> None:
        self.data += piece
        self._news.set()


class Clients:
    """Makes downloads from one node, and ends them all."""

    def __init__(self, url: str) -> None:
        self.asked = 0  # requests for image data so far
        self._url = url
        self._downloads: list[Download] = []

    def __call__(
        self,
        image_id: str,
        wanted: str | None = None,
        *,
        query: str = "",
        method: str = "GET",
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        paused: bool = False,
    ) -> Download:
        """Ask for an image's data, or the range `wanted`; `paused`: the body is not read yet."""
        fields = dict(headers or {})
        if wanted is not None:
            fields["Range"] = wanted
        if token is not None:
            fields["X-Auth-Token"] = token
        self.asked += 1
        lines = [f"{method} /v2/images/{image_id}/file{query} HTTP/1.1"]
        lines += ["Host: node", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        return self.send("\r\n".join([*lines, "", ""]), paused=paused)

    def send(self, head: str, *, paused: bool = False) -> Download:
        """Send a request's head as it stands."""
        download = Download(self._url, head, paused=paused)
        self._downloads.append(download)
        return download

    async def close(self) -> None:
        """Leave with every download that has not ended."""
        for download in self._downloads:
            if not download.task.done():
                await download.leave()
        for download in self._downloads:
            if not download.task.cancelled():
                download.task.result()
        self._downloads.clear()


@asynccontextmanager
async def clients(url: str) -> AsyncIterator[Clients]:
    """Give clients of a node until the context is left."""
    made = Clients(url)
    try:
        yield made
    finally:
        await made.close()
