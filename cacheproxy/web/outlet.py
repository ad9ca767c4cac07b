"""The way out of one connection: through its transport, and for files round it.

What is in memory of a chunk file goes straight from the page cache into the socket.  When the socket
takes no more, a little is written through the transport, which tells when that is gone: so there is
one notion of a full connection, and nobody else watches its descriptor.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable

from cacheproxy.chunkread import PIECE_BYTES, OpenPart, Piece
from cacheproxy.connections import STALL_SECONDS_MAX

SPILL_BYTES = 16 << 10  # written through the transport where the socket is full


class Outlet:
    """Sends over one connection; `sock` is None where the transport must see every byte (TLS)."""

    def __init__(self, transport: asyncio.Transport, sock: socket.socket | None) -> None:
        self._transport = transport
        self.sock = sock
        self.full = False
        self.on_ready: Callable[[], None] | None = None  # called instead of waking `ready`
        self._waiting: asyncio.Future[None] | None = None
        self._filled_at = 0.0  # of time.monotonic(), the last time
        if sock is not None:
            # Whatever the socket does not take at once fills it: only an empty transport is ready.
            transport.set_write_buffer_limits(high=0)

    def __repr__(self) -> str:
        return f"<Outlet {'full' if self.full else 'ready'}>"

    def full_seconds(self, now: float) -> float:
        """Return for how long, at this time.monotonic(), the client has taken nothing."""
        return now - self._filled_at if self.full else 0.0

    # --- what the transport tells -----------------------------------------------------------------

    def filled(self) -> None:
        """The transport takes no more."""
        self.full = True
        self._filled_at = time.monotonic()

    def emptied(self) -> None:
        """The transport takes more."""
        self.full = False
        if self.on_ready is not None:
            self.on_ready()
        elif self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def lost(self) -> None:
        """The connection is gone."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionResetError("the client has left"))

    # --- sending ----------------------------------------------------------------------------------

    def spill(self, part: OpenPart) -> bool:
        """Write a little of a part through the transport; False if that takes the disk."""
        data = part.read(SPILL_BYTES)
        if data is None:
            return False
        self._transport.write(data)
        return True

    async def ready(self) -> None:
        """Wait until more can be sent; TimeoutError if the client takes nothing for too long."""
        while self.full:
            self._check()
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(STALL_SECONDS_MAX):
                    await self._waiting
            finally:
                self._waiting = None
        self._check()

    async def put(self, piece: Piece) -> None:
        """Send a piece, an `OpenPart` as far as it is in memory.

        ConnectionError if the client has left, TimeoutError as in `ready`.
        """
        await self.ready()
        if isinstance(piece, OpenPart):
            await self.send(piece)
        else:
            self._transport.write(piece)
            await self.ready()

    async def send(self, part: OpenPart) -> None:
        """Send of a part what is in memory; errors as in `put`."""
        await self.ready()
        if self.sock is None:
            while len(part) and (data := part.read(PIECE_BYTES)) is not None:
                self._transport.write(data)
                await self.ready()
            return
        while len(part):
            try:
                if part.send(self.sock) is None:
                    return
            except BlockingIOError:
                if not self.spill(part):
                    return
            await asyncio.sleep(0)  # somebody else's turn
            await self.ready()

    def _check(self) -> None:
        if self._transport.is_closing():
            raise ConnectionResetError("the client has left")
