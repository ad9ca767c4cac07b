"""Receives image data: from the socket into the pieces that are hashed and written, round aiohttp.

aiohttp gives a body as `bytes` that were copied out of each read, out of the parser, and where they
are joined.  Where the rest of a body is so many plain bytes (it has a `Content-Length`), nothing is
left to parse: the connection gets another protocol, which receives into memory of ours.  Only names
of aiohttp without an underscore are used; `tests/unit/registry/test_incoming.py` fails if they come
to mean something else.

Such a connection ends with its answer: aiohttp's parser would wait for the bytes that went past it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Self, cast

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from registry.domain.errors import UploadCutError
from registry.web.outgoing import CLIENT_SILENCE_SECONDS

PIECE_BYTES = 2 << 20
GATHER_SECONDS = 0.05  # for a piece to become whole, once something of it has come
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


async def received(request: web.Request) -> AsyncIterator[bytes]:
    """Receive the body; a client that waits for it is told to begin now, not before."""
    if hdrs.EXPECT in request.headers:
        await request.writer.write(_CONTINUE)
        request.writer.output_size = 0  # the answer proper has not begun
    raw = RawBody.of(request)
    if raw is not None:
        request[RAW_BODY] = raw
    receive = _receiving(request)
    try:
        while True:
            async with asyncio.timeout(CLIENT_SILENCE_SECONDS):
                piece = await receive()
            if not piece:
                return
            yield piece
    except TimeoutError:
        raise UploadCutError(f"No data came for {CLIENT_SILENCE_SECONDS:.0f} seconds.") from None
    except (web.RequestPayloadError, HttpProcessingError, ConnectionError) as error:
        raise UploadCutError(f"The upload broke off: {error}") from error


async def receive_rest(request: web.Request) -> None:
    """Receive what is left of a body, for nobody."""
    receive = _receiving(request)
    while await receive():
        pass


async def end_connection(request: web.Request, response: web.StreamResponse) -> None:
    """Say that the connection ends, where it does (an `on_response_prepare` signal)."""
    if RAW_BODY in request:
        response.force_close()
        response.headers[hdrs.CONNECTION] = "close"  # aiohttp has decided by now what it says


def _receiving(request: web.Request) -> Callable[[], Awaitable[bytes]]:
    raw = request.get(RAW_BODY)
    return request.content.readany if raw is None else raw.receive


class RawBody(asyncio.BufferedProtocol):
    """A body on a connection that was aiohttp's; one piece is received before it is asked for."""

    def __init__(self, before: RequestHandler, early: bytes, left: int) -> None:
        """Have `left` bytes come behind those that are here, on the connection of `before`."""
        assert before.transport is not None
        self._before = before
        self._transport = before.transport
        self._early = early
        self._left = left  # to come
        self._buffer = bytearray(min(PIECE_BYTES, left))
        self._filled = 0
        self._lost: str | None = None  # the connection, too early
        self._due = asyncio.Event()  # set when what there is must do
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    def of(cls, request: web.Request) -> Self | None:
        """Take the body of a request over that nobody has read of; None if aiohttp has to give it."""
        length, content, transport = request.content_length, request.content, request.transport
        if length is None or any(
            name in request.headers for name in (hdrs.TRANSFER_ENCODING, hdrs.UPGRADE)
        ):
            return None
        if length - content.total_bytes < PIECE_BYTES or content.exception() is not None:
            return None
        if transport is None or transport.is_closing():
            return None
        if transport.get_extra_info("sslcontext") is not None:
            return None
        early = bytearray()
        while piece := content.read_nowait():  # which may let more of it in
            early += piece
        assert content.total_bytes == len(early)
        body = cls(request.protocol, bytes(early), length - len(early))
        transport.pause_reading()
        transport.set_protocol(body)
        body.resume()
        return body

    async def receive(self) -> bytes:
        """Return the next bytes, b"" at the end; ConnectionError if that comes early."""
        if self._early:
            early, self._early = self._early, b""
            return early
        if self._left or self._filled:
            await self._due.wait()
        if self._lost is not None and not self._filled:
            raise ConnectionResetError(self._lost)
        piece = cast("bytes", memoryview(self._buffer)[: self._filled])  # reads alike
        self._buffer, self._filled = bytearray(min(PIECE_BYTES, self._left)), 0
        self.resume()
        return piece

    def resume(self) -> None:
        """Receive on, if anything is to come."""
        self._end_gathering()
        if self._lost is None:
            self._due.clear()
            if self._left:
                self._transport.resume_reading()

    def _end_gathering(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- of the connection ------------------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  there is as much room as there is
        """Return where the next bytes go."""
        return memoryview(self._buffer)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """They are there."""
        self._filled += nbytes
        self._left -= nbytes
        if self._filled == len(self._buffer):
            self._transport.pause_reading()
            self._end_gathering()
            self._due.set()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._due.set)

    def eof_received(self) -> None:
        """No more comes; the end of the connection follows."""

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        self._end_gathering()
        if self._left:
            self._lost = f"{self._left} bytes are missing" + (f": {exc}" if exc else "")
        self._due.set()
        self._before.connection_lost(exc)

    def pause_writing(self) -> None:
        """The answer is aiohttp's."""
        self._before.pause_writing()

    def resume_writing(self) -> None:
        """See `pause_writing`."""
        self._before.resume_writing()


RAW_BODY = web.RequestKey("raw_body", RawBody)
