"""Sends image data: through the transport, and what is in memory of a file round it.

What a file has in memory goes from there straight into the socket.  When that takes no more, a little
is written through the transport, which tells when it is gone: so there is one notion of a full
connection, and nobody else watches its descriptor.  The loop never waits for a disk: what is not in
memory is read by the store, in a thread.
"""

from __future__ import annotations

import asyncio
import os
from typing import Protocol, Self

from aiohttp.abc import AbstractStreamWriter

from backends.spans import Span

CLIENT_SILENCE_SECONDS = 300.0  # a client that neither sends nor takes a byte for so long is gone
SPILL_BYTES = 16 << 10  # written through the transport where the socket is full
JOINED_BYTES_MAX = 60 << 10  # what goes out with its head in one call, rather than without a copy
TURN_BYTES = 2 << 20  # sent at once to a client who takes it, before others have their turn


class Source(Protocol):
    """What is sent: see `registry.service.downloads.Download`."""

    @property
    def left(self) -> int:
        """How many bytes are still to come."""

    def __aiter__(self) -> Self:
        """Iterate over the pieces."""

    async def __anext__(self) -> bytes:
        """Return the next piece."""

    def file(self) -> tuple[int, Span] | None:
        """Return a descriptor and what of it is in memory now; None if it is no file."""

    def sent(self, count: int) -> None:
        """Note what was taken of the file."""


class Outgoing:
    """The body of one prepared answer, whose length its head has told.

    TimeoutError if the client takes nothing for too long, ConnectionError if it is gone; the
    source's own errors.
    """

    def __init__(self, transport: asyncio.Transport | None, writer: AbstractStreamWriter) -> None:
        """`writer` is that of the answer, which writes through the transport."""
        if transport is None:
            raise ConnectionResetError("the client has left")
        self._transport = transport
        self._writer = writer
        # TLS must see every byte.
        plain = transport.get_extra_info("sslcontext") is None
        self._socket = transport.get_extra_info("socket") if plain else None
        self._turn = 0  # bytes sent since others had theirs

    async def send(self, source: Source) -> None:
        """Send all of it."""
        if self._socket is None or source.file() is None:
            async for piece in source:
                await self._write(piece)
            return
        # Whatever the socket does not take at once fills it: only an empty transport is ready.
        self._transport.set_write_buffer_limits(high=0)
        try:
            await self._send(source)
        finally:
            if not self._transport.is_closing():
                self._transport.set_write_buffer_limits()

    async def _send(self, source: Source) -> None:
        if source.left > JOINED_BYTES_MAX:
            self._writer.send_headers()
        while source.left:
            await self._ready()
            file = source.file()
            count = 0 if file is None else await self._send_from_memory(*file)
            if count:
                source.sent(count)
            else:
                await self._write(await anext(source))

    async def _send_from_memory(self, descriptor: int, part: Span) -> int:
        """Send of a part what the client takes; the number of bytes, 0 if they cannot be had."""
        sent, most = 0, len(part)
        if most > JOINED_BYTES_MAX:
            sent, most = self._send_pages(descriptor, part), SPILL_BYTES
        spilt = _read_memory(descriptor, part.start + sent, min(most, len(part) - sent))
        if spilt:
            await self._writer.write(spilt)  # too little to wait for: `_ready` does
        self._turn += sent + len(spilt)
        return sent + len(spilt)

    def _send_pages(self, descriptor: int, part: Span) -> int:
        """Send what the socket takes at once, behind all that was written."""
        assert self._socket is not None
        if self._transport.get_write_buffer_size():
            return 0
        try:
            sent = os.sendfile(self._socket.fileno(), descriptor, part.start, len(part))
        except ConnectionError:
            self._transport.abort()
            raise
        except OSError:  # the socket takes no more, or the file cannot be read
            return 0
        self._writer.output_size += sent
        return sent

    async def _write(self, piece: bytes) -> None:
        async with asyncio.timeout(CLIENT_SILENCE_SECONDS):
            await self._writer.write(piece)

    async def _ready(self) -> None:
        if self._transport.get_write_buffer_size():
            async with asyncio.timeout(CLIENT_SILENCE_SECONDS):
                await self._writer.drain()
        if self._turn >= TURN_BYTES:
            self._turn = 0
            await asyncio.sleep(0)
        if self._transport.is_closing():
            raise ConnectionResetError("the client has left")


def _read_memory(descriptor: int, position: int, size: int) -> bytes:
    """Read what is in memory; nothing where the file cannot be read, of which the store will tell."""
    try:
        return os.pread(descriptor, size, position) if size else b""
    except OSError:
        return b""
