"""One client's connection: ordinary requests for data are answered here and now, others by aiohttp.

    idle → sending     the fast lane has taken a request, and sends
    idle → within      aiohttp was given a request, and answers
    either → idle      the answer is written

What arrives meanwhile waits, so that each request is looked at on an idle connection.  Once aiohttp
was given anything but whole requests without a body, nobody outside can tell where its parser stands:
from then on all of the connection is its.  Of aiohttp only what is public is used;
`tests/unit/registry/test_lane.py` fails if a release does not do that any more.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from typing import Any, Protocol, cast

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from backends.ordinary import whole_head
from backends.spans import Span


class Fast(Protocol):
    """Answers ordinary requests."""

    def begin(self, lane: Lane, data: bytes) -> bool:
        """Take a request that came whole; False: it is not for the fast lane, nothing was done.

        It is answered then, or the lane was told what `sends` the answer.
        """


class Lane(RequestHandler):
    """The protocol of an accepted connection."""

    __slots__ = (
        *("descriptor", "memo", "remote"),
        *("_ending", "_fast", "_held", "_sending", "_simple", "_wants_end", "_within"),
    )

    def __init__(self, server: web.Server, fast: Fast, **options: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self.descriptor: int | None = None  # of the socket, where bytes may go round the transport
        self.remote = ""  # where the client is
        self.memo: object = None  # the fast lane's, of this connection
        self._fast = fast
        self._sending: asyncio.Task[None] | None = None
        self._within = False  # aiohttp answers
        self._simple = True  # whether it is known where aiohttp's parser stands
        self._held: list[bytes] = []  # what came meanwhile; then no more is read
        self._ending = False
        self._wants_end = False  # as soon as the fast lane has sent

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self.remote = str(peer[0]) if isinstance(peer, (list, tuple)) else str(peer or "")
        if transport.get_extra_info("sslcontext") is None:
            self.descriptor = transport.get_extra_info("socket").fileno()

    def data_received(self, data: bytes) -> None:
        if not self._simple or not data:  # nothing is aiohttp's own word to itself: it reads on
            super().data_received(data)
        elif self._held or self._within or self._sending is not None:
            # As it came: aiohttp would lose what stands before a mistake in the same piece.
            self._held.append(data)
            self._transport().pause_reading()
        else:
            self._take(data)

    def _take(self, data: bytes) -> None:
        """Have a request answered that has come on an idle connection."""
        if self._takes_more() and self._fast.begin(self, data):
            return
        self._within = self._simple = whole_head(data)
        super().data_received(data)

    def _takes_more(self) -> bool:
        transport = self.transport
        return (
            self.descriptor is not None
            and transport is not None
            and not transport.is_closing()
            and not transport.get_write_buffer_size()
        )

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Write the rest of an answer of aiohttp's, and go on."""
        finished = await super().finish_response(request, resp, start_time)
        self._within = False
        if not resp.keep_alive:
            self._simple = False
        self._go_on()
        return finished

    @property
    def holds(self) -> bool:
        """Whether something has come that waits."""
        return bool(self._held)

    def _go_on(self) -> None:
        """Take what has come meanwhile, as far as that can be."""
        if not self._held or self.transport is None or self.transport.is_closing():
            return
        held, self._held = self._held, []
        self.transport.resume_reading()  # first: what it is given, aiohttp may have to hold back
        while held and not (self._simple and (self._within or self._sending is not None)):
            if self._simple:
                self._take(held.pop(0))
            else:
                super().data_received(held.pop(0))
        if held:
            self._held = held
            self._transport().pause_reading()

    def _transport(self) -> asyncio.Transport:
        return cast("asyncio.Transport", self.transport)

    # --- the fast lane ----------------------------------------------------------------------------

    def write(self, *pieces: bytes | memoryview) -> None:
        """Send something short at once, as far as the client takes it; the rest when it does."""
        assert self.descriptor is not None
        assert self.transport is not None
        try:
            sent = os.writev(self.descriptor, pieces)
        except BlockingIOError:
            sent = 0
        except OSError:  # the client has left
            self.transport.abort()
            return
        for piece in pieces:
            if sent < len(piece):
                self.transport.write(piece[sent:])
            sent = max(0, sent - len(piece))

    def send_pages(self, descriptor: int, part: Span) -> int:
        """Send what the client takes at once of a part of a file that is in memory; how much it took."""
        assert self.descriptor is not None
        assert self.transport is not None
        if self.transport.get_write_buffer_size():
            return 0
        try:
            return os.sendfile(self.descriptor, descriptor, part.start, len(part))
        except OSError:  # it takes no more, has left, or the file cannot be read: `sends` will tell
            return 0

    def sends(self, answer: Coroutine[Any, Any, None]) -> None:
        """Have an answer go on that takes longer; nothing else is answered before its end."""
        self._sending = asyncio.get_running_loop().create_task(answer, name="answer a request")
        self._sending.add_done_callback(self._sent)

    def abort(self) -> None:
        """Reset the connection: nobody may take what was sent for the whole."""
        if self.transport is not None:
            self.transport.abort()

    def _sent(self, sending: asyncio.Task[None]) -> None:
        self._sending = None
        if not sending.cancelled():
            sending.result()  # it has no business to fail
        if self._wants_end:
            self.force_close()
            return
        self._go_on()

    # --- the end ----------------------------------------------------------------------------------

    def force_close(self) -> None:
        """End the connection; aiohttp may take it for idle while the fast lane sends."""
        if self._sending is not None and not self._ending:
            self._wants_end = True
        else:
            super().force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._ending = True
        self._held.clear()
        super().connection_lost(exc)

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # aiohttp's
        """End the connection, whatever it is doing; aiohttp's answer has so many seconds."""
        self._ending = True
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait({self._sending})
        await super().shutdown(timeout)
