"""One client's connection: ordinary requests are answered here and now, all others by aiohttp.

    idle → sending     the fast lane has taken a request; what arrives meanwhile waits
    idle → within      aiohttp was given what arrived, and answers
    either → idle      the answer is written

The lane owns the transport.  aiohttp is made when it is first needed, and gets what is not for the
fast lane as it came.  Once it was given anything but whole requests without a body, nobody outside
can tell where its parser stands: from then on all of the connection is its.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from typing import Protocol, cast

from backends.ordinary import whole_head
from cacheproxy.web.inner import Behind, Inner
from cacheproxy.web.outlet import Outlet

HELD_MAX = 4  # pieces that come while the fast lane sends; then no more is read


class Sending(Protocol):
    """An answer that the fast lane has begun."""

    def go_on(self) -> None:
        """Send more: the client takes more; tells the lane when all is sent."""

    def end(self) -> None:
        """Give everything back: the client has left, or is left; safe to be called again."""


class Fast(Protocol):
    """Answers ordinary requests."""

    def begin(self, lane: Lane, data: bytes) -> bool:
        """Take a request that came whole; False: it is not for the fast lane, nothing was done.

        It is answered then, or the lane was told what `sends` the answer.
        """


class House(Protocol):
    """What connections belong to."""

    fast: Fast | None  # what answers at once; None: nothing does, now

    def inner(self, lane: Lane) -> Inner:
        """Make aiohttp's half of a connection."""

    def opened(self, lane: Lane) -> None:
        """A connection is there."""

    def closed(self, lane: Lane) -> None:
        """It has ended."""

    def heard(self, lane: Lane) -> None:
        """It has asked something, for the first time."""

    def settled(self) -> None:
        """An answer has ended that was begun when there was a fast lane."""


class Lane(asyncio.Protocol):
    """The protocol of an accepted connection; `sock` where bytes may go round the transport."""

    __slots__ = (
        *("outlet", "transport", "memo", "idle_since", "silent", "_house", "_sock", "_inner"),
        *("_sending", "_asked", "_simple", "_held", "_closing", "_address"),
    )

    outlet: Outlet
    transport: asyncio.Transport

    def __init__(self, house: House, sock: socket.socket | None) -> None:
        self.memo: object = None  # the fast lane's, of this connection
        self.idle_since: float | None = None  # of time.monotonic(); None: an answer is due
        self.silent = True  # nothing was asked yet
        self._house = house
        self._sock = sock
        self._inner: Inner | None = None
        self._sending: Sending | None = None
        self._asked = 0  # requests that aiohttp was given and has not answered
        self._simple = True  # whether it is known where aiohttp's parser stands
        self._held: list[bytes] = []  # what came while the fast lane sent
        self._closing = False  # as soon as it has sent
        self._address: str | None = None

    def __repr__(self) -> str:
        state = "sending" if self._sending else "within" if self._asked else "idle"
        return f"<Lane {state}>"

    # --- the connection ---------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.outlet = Outlet(self.transport, self._sock)
        peer = transport.get_extra_info("peername")
        if peer is not None:
            self._address = str(peer[0] if isinstance(peer, (list, tuple)) else peer)
        self.idle_since = time.monotonic()
        self._house.opened(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.outlet.lost()
        sending, self._sending = self._sending, None
        if sending is not None:
            sending.end()
        if self._inner is not None:
            self._inner.connection_lost(exc)
        self._held.clear()
        self._house.closed(self)

    def data_received(self, data: bytes) -> None:
        if self._sending is not None:
            self._hold(data)
            return
        fast = self._house.fast
        if (
            fast is not None
            and self._simple
            and not self._asked
            and not self.outlet.full
            and fast.begin(self, data)
        ):
            if self.silent:
                self._speak()
            if self._sending is None:
                self.idle_since = time.monotonic()
            else:
                self._sending.go_on()
            return
        self._give(data)

    def eof_received(self) -> bool:
        """Let an answer that has begun go on to its end: its client may only have said all.

        TLS has no such half of a connection here: its end is the end, and an answer's with it.
        """
        if self._sending is not None and self._sock is not None:
            self._closing = True
            return True
        if self._inner is not None:
            self._inner.eof_received()
        return False

    def pause_writing(self) -> None:
        self.outlet.filled()
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()
        self.outlet.emptied()

    @property
    def address(self) -> str | None:
        """Where the client is, as aiohttp tells it of its requests."""
        return self._address

    @property
    def sending(self) -> bool:
        """Whether the fast lane is in the middle of an answer."""
        return self._sending is not None

    def _speak(self) -> None:
        self.silent = False
        self._house.heard(self)

    # --- the fast lane ----------------------------------------------------------------------------

    def _hold(self, data: bytes) -> None:
        """Keep what comes early for aiohttp, as it comes: a pipeline is its affair.

        It would lose what stands before a mistake in the same piece, so pieces are not joined, not
        in the kernel either as long as there are few.
        """
        self._held.append(data)
        if len(self._held) == HELD_MAX:
            self.transport.pause_reading()

    def sends(self, sending: Sending) -> None:
        """The fast lane has begun an answer that goes on."""
        self._sending, self.idle_since = sending, None

    def sent(self) -> None:
        """The fast lane has ended its answer in good order."""
        self._sending = None
        self.idle_since = time.monotonic()
        if self._house.fast is None:
            self._house.settled()
        if self._closing:
            self.transport.close()
        elif self._held:
            held, self._held = self._held, []
            if len(held) >= HELD_MAX:
                self.transport.resume_reading()
            for data in held:
                self._give(data)

    def broken(self) -> None:
        """The fast lane cannot go on: nobody may take what was sent for the whole."""
        self._sending = None
        self.reset()
        self._house.settled()

    def reset(self) -> None:
        """End the connection at once, with a reset where there is such a thing."""
        if self._sock is not None and self._sock.family in (socket.AF_INET, socket.AF_INET6):
            linger = struct.pack("ii", 1, 0)
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.transport.abort()

    # --- aiohttp ----------------------------------------------------------------------------------

    def _give(self, data: bytes) -> None:
        if self._inner is None:
            self._inner = self._house.inner(self)
            self._inner.connection_made(Behind(self.transport, self.close))
            if self.outlet.full:  # with the end of an answer of the fast lane
                self._inner.pause_writing()
        if self._simple and whole_head(data):
            # It may come before the answer to the last one has quite ended here.
            self._asked += 1
            self.idle_since = None
        else:
            self._simple = False
        self._inner.data_received(data)

    def begun(self) -> None:
        """aiohttp has begun to answer."""
        self.idle_since = None
        if self.silent:
            self._speak()

    def answered(self, goes_on: bool) -> None:
        """aiohttp has written an answer; `goes_on` unless it ends the connection then."""
        self._asked = max(0, self._asked - 1)
        self._simple = self._simple and goes_on
        if not self._asked:
            self.idle_since = time.monotonic()

    def close(self) -> None:
        """End the connection when what was begun is sent."""
        if self._sending is not None:
            self._closing = True
        else:
            self.transport.close()

    async def shut(self, seconds: float) -> None:
        """End the connection, with so much time for the end of aiohttp's answer."""
        if self._inner is not None:
            await self._inner.shutdown(seconds)
        self.close()
