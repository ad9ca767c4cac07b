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
# Sent at once to a client who takes it, before others have their turn.  After shorter turns readers
# are asleep and must be woken each time: 64 readers of whole images cost 0.33 s of a core per GB
# with 1 MiB, 0.21 with 2, 0.16 with 4; but each turn is what everybody else waits for.
TURN_BYTES = 2 << 20


class Outlet:
    """Sends over one connection; `sock` is None where the transport must see every byte (TLS)."""

    def __init__(self, transport: asyncio.Transport, sock: socket.socket | None) -> None:
        self._transport = transport
        self.sock = sock
        self.full = False
        self.on_ready: Callable[[], None] | None = None  # called instead of waking `ready`
        self._waiting: asyncio.Future[None] | None = None
        self._filled_at = 0.0  # of time.monotonic(), the last time
        self._turn = 0  # bytes of files sent since others had theirs
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

    def write(self, data: bytes) -> None:
        """Send something short, at once as far as the client takes it; only while not `full`."""
        taken = 0
        if self.sock is not None:
            try:
                taken = self.sock.send(data)
            except BlockingIOError:
                pass
            except OSError:
                self._transport.abort()  # the client has left
                return
        if taken < len(data):
            self._transport.write(data[taken:])

    def send_head(self, head: bytes, part: OpenPart) -> bool:
        """Send the head of an answer and what goes with it of its first part; only while not `full`.

        False if that takes the disk: then nothing was sent.
        """
        if self.sock is None:
            return self._copy(part, head)
        try:
            taken = part.send(self.sock, head)
        except OSError:
            self._transport.abort()  # the client has left
            return True
        if taken is None:
            return False
        if taken < len(head):
            self._transport.write(head[taken:])
        return True

    def send_now(self, part: OpenPart) -> bool:
        """Send of a part what the client takes; whether that was all.

        If not, the outlet is `full`, or the connection closing, or that takes the disk.
        """
        while len(part) and not self.full and not self._transport.is_closing():
            try:
                if self.sock is not None and part.send(self.sock) is None:
                    break
            except OSError:
                self._transport.abort()  # the client has left
                break
            if len(part) and not self._copy(part):
                break
        return not len(part)

    def _copy(self, part: OpenPart, head: bytes = b"") -> bool:
        """Have the transport send a little of a part; False if that takes the disk."""
        data = part.read(SPILL_BYTES if self.sock is not None else PIECE_BYTES)
        if data is None:
            return False
        self._transport.write(head + data)
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
        self._turn += len(part)
        while not self.send_now(part) and self.full:
            self._turn = 0
            await self.ready()
        self._check()
        if self._turn >= TURN_BYTES:
            self._turn = 0
            await asyncio.sleep(0)  # somebody else's turn

    def _check(self) -> None:
        if self._transport.is_closing():
            raise ConnectionResetError("the client has left")
