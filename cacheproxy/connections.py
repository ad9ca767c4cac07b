"""How the proxy talks to the upstream: aiohttp's client, with what a proxy needs beyond it.

- Nothing is added to what is asked, nothing decoded, followed or remembered: no automatic header,
  no decompression, no redirect, no cookie, no proxy from the environment.
- *Reading* requests share kept-alive connections.  A stale one that the upstream closes just as
  it is used again costs one silent retry.
- *Changing* requests (anything but GET, HEAD, OPTIONS) get a connection of their own, so there is
  no stale one to lose them, and they are never sent twice.
- An answer that arrives while the request's body is still being sent is delivered even if the
  upstream resets the connection behind it, as servers do that refuse an upload.
- A reset is never the end of an answer, also where no length was promised.
- `Expect: 100-continue` is waited for, but not for ever: many servers do not know it.

Errors of aiohttp are translated here, once, to those of `cacheproxy.errors`.
"""

from __future__ import annotations

import asyncio
import functools
import os
import select
import socket
import ssl
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager, suppress

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from aiohttp.http import StreamWriter
from aiohttp.http_parser import RawResponseMessage
from aiohttp.payload import Payload
from aiohttp.streams import StreamReader

from cacheproxy.config import UpstreamSettings
from cacheproxy.errors import UpstreamUnreachableError

READING_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

READING_CONNECTIONS_MAX = 512  # per process; more wait `connect_timeout_seconds` for their turn
CHANGING_CONNECTIONS_MAX = 256
QUESTIONS_MAX = 2  # connections for whether it works; one, and one that is being closed
IDLE_CONNECTION_SECONDS = 4.0  # shorter than gunicorn's and uWSGI's own, which are 2 to 75
READ_BUFFER_BYTES = 512 << 10  # per answer; reading pauses at twice as much
FIELD_BYTES_MAX = 64 << 10  # one header field or the status line, either way
FIELDS_MAX = 256
CONTINUE_SECONDS = 1.0  # how long an upstream may think about `Expect`; curl waits as long
STALL_SECONDS_MAX = 900.0  # how long the receiver of a body may take none of it
KEEPALIVE = {socket.TCP_KEEPIDLE: 30, socket.TCP_KEEPINTVL: 10, socket.TCP_KEEPCNT: 3}  # seconds
LOWEST_ERROR_STATUS = 400
HEARING_TURNS_MAX = 100  # of the loop, in which what has arrived is read
REFUSAL_BYTES_MAX = 256 << 10  # what is read from a connection after it failed


class UpstreamNotReachedError(UpstreamUnreachableError):
    """No connection came about: the request was not sent and has changed nothing."""


class UpstreamDownError(UpstreamNotReachedError):
    """It was not even tried: it has failed before, and did not answer since."""

    def __init__(self, retry_seconds: float) -> None:
        super().__init__("the upstream is down")
        self.retry_seconds = retry_seconds  # until it is looked at again


class UpstreamSilentError(UpstreamUnreachableError):
    """The request was sent, and no answer, or no more of it, came in time."""


class _Answers(ResponseHandler):
    """The client's end of a connection, strict about how it ends."""

    _status = 0  # of the last answer that began

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            # A machine that has vanished says nothing: who waits for a change would wait for hours.
            for option, value in KEEPALIVE.items():
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        self._status = data[0].code
        super().feed_data(data, size)

    def connection_lost(self, exc: BaseException | None) -> None:
        if isinstance(exc, OSError):
            self._read_refusal()
            self._fail_unended_body(exc)
        super().connection_lost(exc)

    def _read_refusal(self) -> None:
        """Take in what arrived before the reset.

        A failed write closes the transport without another read, although the kernel still holds
        the answer that explains it.  The descriptor is open until this callback returns.
        """
        transport = self.transport
        if transport is None or self._reading_paused:
            return  # closed by us, or its reader is behind anyway: then it is a cut
        if transport.get_extra_info("ssl_object") is not None:
            return  # these bytes are not ours to decrypt; `_hear` has seen to them
        descriptor = transport.get_extra_info("socket").fileno()
        left = REFUSAL_BYTES_MAX
        while left > 0:
            try:
                data = os.read(descriptor, left)
            except OSError:
                return
            if not data:
                return
            left -= len(data)
            self.data_received(data)

    def _fail_unended_body(self, exc: OSError) -> None:
        """Say that a body without a length did not end here; one with a length knows by itself.

        An error's text is let pass: who refuses an upload and closes, resets.
        """
        payload = self._payload
        if payload is not None and not payload.is_eof() and self._status < LOWEST_ERROR_STATUS:
            payload.set_exception(aiohttp.ClientPayloadError(f"reset in the middle: {exc}"))


class _Asks(ClientRequest):
    """A request whose head goes out at once, and whose wait for "100 Continue" is bounded."""

    async def write_bytes(
        self,
        writer: AbstractStreamWriter,
        conn: Connection,
        content_length: int | None = None,
    ) -> None:
        try:
            # aiohttp keeps the head back until the first piece; a refusal need not wait for that.
            writer.send_headers()
            if self._continue is not None:
                await asyncio.wait([self._continue], timeout=CONTINUE_SECONDS)
                if not self._continue.done():
                    self._continue.set_result(True)
            await super().write_bytes(writer, conn, content_length)
        except OSError:  # the connection's end is told to who waits for the answer, not here too
            conn.close()


class Upload(Payload):
    """A request's body on its way through; once begun it cannot be sent again."""

    _autoclose = True  # there is nothing to close but the iterator, which writing does

    def __init__(self, pieces: AsyncGenerator[bytes]) -> None:
        super().__init__(pieces)
        self.begun = False
        self.broken = False  # its pieces ended with an error: no fault of the upstream
        self._pieces = pieces
        self._idle = asyncio.Event()
        self._idle.set()

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002  never used
        raise TypeError("an upload is not text in memory")

    async def write(self, writer: AbstractStreamWriter) -> None:
        await self.write_with_length(writer, None)

    async def write_with_length(
        self,
        writer: AbstractStreamWriter,
        content_length: int | None,  # noqa: ARG002  the pieces end where their own framing says
    ) -> None:
        self.begun = self._consumed = True
        assert isinstance(writer, StreamWriter)
        self._idle.clear()
        try:
            async with aclosing(self._pieces) as pieces:
                while (piece := await self._next(pieces)) is not None:
                    await _send(writer, piece)
            if writer.transport is None or writer.transport.is_closing():
                await _lost(writer)
                raise ConnectionResetError("the upstream left before the end of the upload")
        finally:
            self._idle.set()

    async def _next(self, pieces: AsyncGenerator[bytes]) -> bytes | None:
        try:
            return await anext(pieces, None)
        except Exception:
            self.broken = True
            raise

    async def ended(self) -> None:
        """Wait until a cancelled writer has let go of the pieces."""
        await self._idle.wait()


async def _send(writer: StreamWriter, piece: bytes) -> None:
    try:
        async with asyncio.timeout(STALL_SECONDS_MAX):
            await _hear(writer.transport)
            await writer.write(piece)
    except ConnectionError:
        await _lost(writer)
        raise


async def _hear(transport: asyncio.Transport | None) -> None:
    """Over TLS: have what has arrived read before anything more is sent.

    It may be a refusal with a reset behind it.  A write would find the reset first, and end the
    connection; nobody could decrypt then what the kernel still holds (see `_read_refusal`).
    """
    if transport is None or transport.get_extra_info("ssl_object") is None:
        return
    arrived = select.poll()
    arrived.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    for _ in range(HEARING_TURNS_MAX):
        if transport.is_closing() or not arrived.poll(0):
            return
        await asyncio.sleep(0)


async def _lost(writer: StreamWriter) -> None:
    """Wait for the end of a connection that is closing: it may bring the answer.

    aiohttp takes a failed write for the answer if it is told of it first.
    """
    protocol = writer.protocol
    if isinstance(protocol, ResponseHandler) and (closed := protocol.closed):
        with suppress(aiohttp.ClientError):
            await asyncio.shield(closed)


class Connections:
    """The sessions to one URL.  Build it on the loop that will use it; `close` it."""

    def __init__(self, settings: UpstreamSettings, tls: ssl.SSLContext | None = None) -> None:
        self._read_seconds = settings.read_timeout_seconds
        self._connect_seconds = settings.connect_timeout_seconds
        self._change_seconds = settings.change_timeout_seconds
        self._reading = self._session(
            aiohttp.TCPConnector(
                limit=READING_CONNECTIONS_MAX,
                keepalive_timeout=IDLE_CONNECTION_SECONDS,
                ssl=tls or True,
            ),
        )
        self._changing = self._session(
            aiohttp.TCPConnector(limit=CHANGING_CONNECTIONS_MAX, force_close=True, ssl=tls or True)
        )
        # aiohttp would send a PUT or DELETE again whose connection ended without an answer.
        self._changing._retry_connection = False  # noqa: SLF001  it has no public name
        self._asking = self._session(
            aiohttp.TCPConnector(limit=QUESTIONS_MAX, force_close=True, ssl=tls or True)
        )

    def _session(self, connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        # There is no public way to name the protocol class (and `partial` is invariant).
        connector._factory = functools.partial(_Answers, loop=loop)  # type: ignore[assignment]  # noqa: SLF001
        return aiohttp.ClientSession(
            connector=connector,
            request_class=_Asks,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            read_bufsize=READ_BUFFER_BYTES,
            max_line_size=FIELD_BYTES_MAX,
            max_field_size=FIELD_BYTES_MAX,
            max_headers=FIELDS_MAX,
        )

    def session(self, method: str) -> aiohttp.ClientSession:
        """Return the session for this method."""
        return self._reading if method in READING_METHODS else self._changing

    def taken(self, method: str) -> bool:
        """Whether all connections for this method are in use: who asks now waits for his turn."""
        connector = self.session(method).connector
        return connector is None or len(connector._acquired) >= connector.limit  # noqa: SLF001  as above

    @property
    def unshared(self) -> aiohttp.ClientSession:
        """The session for the proxy's own questions: no request of a client takes its place there."""
        return self._asking

    def timeout(self, method: str) -> aiohttp.ClientTimeout:
        """Return the bounds for this method; none for a whole transfer, which may take hours."""
        return aiohttp.ClientTimeout(
            total=None,
            connect=self._connect_seconds,
            sock_connect=self._connect_seconds,
            sock_read=self._read_seconds if method in READING_METHODS else self._change_seconds,
        )

    async def close(self) -> None:
        """End all connections, used or idle."""
        await self._reading.close()
        await self._changing.close()
        await self._asking.close()


@contextmanager
def translated() -> Iterator[None]:
    """Raise what the upstream did in the proxy's own terms."""
    try:
        yield
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise UpstreamNotReachedError(f"cannot connect to the upstream: {error}") from error
    except TimeoutError as error:
        raise UpstreamSilentError("the upstream sent nothing in time") from error
    except (aiohttp.ClientError, OSError) as error:
        kind = type(error).__name__  # its text may quote what was sent
        raise UpstreamUnreachableError(f"the upstream's answer was cut: {kind}") from error
