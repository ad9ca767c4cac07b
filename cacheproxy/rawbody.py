"""The body of an answer, from the socket into the memory that it is for, round aiohttp's reader.

aiohttp gives a body as `bytes`: copied once out of each read, and once more where they are joined.
Where the rest of a body is so many plain bytes (it has a `Content-Length`), nothing is left to
parse: the connection gets another protocol, which has the loop receive into a sink.  aiohttp has
connected, spoken TLS and read the head; of it only names without an underscore are used here, and
test_rawbody.py fails when they come to mean something else.

The connection is not used again: aiohttp's parser would wait for the bytes that went past it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Self

import aiohttp
from aiohttp.client_proto import ResponseHandler

from cacheproxy.fill.source import Sink

UNWANTED_BYTES = 4096  # read at once of what nobody takes any more


class RawBody(asyncio.BufferedProtocol):
    """Receives so many bytes into a sink; `count` is told of them as they come."""

    def __init__(
        self, before: ResponseHandler, early: bytes, length: int, count: Callable[[int], None]
    ) -> None:
        self._before = before
        self._transport = before.transport
        self._seconds = before.read_timeout
        self._early = memoryview(early)
        self._left = length  # bytes of the body that the sink has not got
        self._count = count
        self._sink: Sink | None = None
        self._view: memoryview | None = None  # where the next bytes go
        self._paused = True
        self._lost = False
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._heard_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<RawBody {self._left} bytes to come>"

    @classmethod
    def take_over(
        cls, response: aiohttp.ClientResponse, length: int, count: Callable[[int], None]
    ) -> Self | None:
        """Have the rest of a body that nobody has read of yet; None if aiohttp has to give it.

        `length` is that of the whole body.
        """
        content, connection = response.content, response.connection
        before = connection.protocol if connection is not None else None
        if before is None or before.transport is None or before.transport.is_closing():
            return None  # all of it is there already, or no more will come
        if content.exception() is not None or content.is_eof():
            return None
        early = bytearray()
        while piece := content.read_nowait():  # which may let more of it in
            early += piece
        if not content.is_eof():
            assert content.total_bytes == len(early) < length
            before.pause_reading()  # its time-out ends with that
        body = cls(before, bytes(early), length, count)
        if not content.is_eof():
            before.transport.set_protocol(body)
        return body

    async def into(self, sink: Sink) -> None:
        """Receive until the end, or until the sink is satisfied.

        Raises what aiohttp would: `aiohttp.ClientPayloadError` if the connection ends before the
        body does, `TimeoutError` if nothing comes for too long; and what the sink raises.
        """
        self._sink = sink
        sink.listen(self._look)
        try:
            self._look()
            await self._done
        finally:
            sink.listen(None)
            self._end(None)

    # --- of the sink ------------------------------------------------------------------------------

    def _look(self) -> None:
        """Go on, or wait, as there is room."""
        try:
            while self._early and (room := self._room()) is not None:
                count = min(len(room), len(self._early))
                room[:count] = self._early[:count]
                self._early = self._early[count:]
                self._took(count)
            if self._early or self._done.done():
                return
            self._view = self._room()
            if self._view is None:
                self._pause()
            else:
                self._resume()
        except Exception as error:  # noqa: BLE001  it is raised where `into` is awaited
            self._end(error)

    def _room(self) -> memoryview | None:
        assert self._sink is not None
        if not self._left or self._sink.satisfied:
            self._end(None)
            return None
        room = self._sink.room()
        return None if room is None else room[: self._left]

    def _took(self, count: int) -> None:
        assert self._sink is not None
        self._left -= count
        self._count(count)
        self._sink.advance(count)

    # --- of the connection ------------------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview | bytearray:  # noqa: ARG002  there is as much room as there is
        """Return where the next bytes go."""
        return bytearray(UNWANTED_BYTES) if self._view is None else self._view

    def buffer_updated(self, nbytes: int) -> None:
        """They are there."""
        if self._done.done():
            return
        if self._view is None:  # no event loop reads on when it was paused
            self._end(aiohttp.ClientPayloadError("bytes came for which there was no room"))
            return
        self._heard_at = self._loop.time()
        self._view = None
        try:
            self._took(nbytes)
        except Exception as error:  # noqa: BLE001  it is raised where `into` is awaited
            self._end(error)
            return
        self._look()

    def eof_received(self) -> None:
        """No more comes; the end of the connection follows."""

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        self._lost = True
        kind = "early end" if exc is None else type(exc).__name__
        self._end(aiohttp.ClientPayloadError(f"{self._left} bytes are missing: {kind}"))
        self._before.connection_lost(None)  # why is told to whoever waits for the body

    def _pause(self) -> None:
        if not self._paused and not self._lost and self._transport is not None:
            self._transport.pause_reading()
        self._paused = True

    def _resume(self) -> None:
        if self._paused and not self._lost and self._transport is not None:
            self._paused = False
            self._heard_at = self._loop.time()
            self._transport.resume_reading()
            if self._timer is None and self._seconds:
                self._timer = self._loop.call_later(self._seconds, self._late)

    def _late(self) -> None:
        """See whether anything came in time; who is paused need not say anything."""
        assert self._seconds is not None
        self._timer = None
        left = self._heard_at + self._seconds - self._loop.time()
        if self._paused or left > 0:
            self._timer = self._loop.call_later(left if left > 0 else self._seconds, self._late)
        else:
            self._end(TimeoutError("nothing came for too long"))

    def _end(self, error: Exception | None) -> None:
        """Read no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._view = None
        if self._done.done():
            return
        if error is None:
            self._done.set_result(None)
        else:
            self._done.set_exception(error)
            self._done.exception()  # who was cancelled meanwhile does not ask for it
        self._pause()
