"""The one door for a worker's clients: which handler answers what, and the log of it.

There is no router besides: whatever is not image data goes to the upstream as it stands.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from cacheproxy.connections import STALL_SECONDS_MAX
from cacheproxy.identity import Identities
from cacheproxy.meter import Meter
from cacheproxy.metrics import CONNECTIONS
from cacheproxy.web.access_log import IDENTITIES, AccessLog, access_log
from cacheproxy.web.cache_api import CacheApi
from cacheproxy.web.errors import SERVER, reset
from cacheproxy.web.image_file import Handler, ImageFile
from cacheproxy.web.inner import Inner
from cacheproxy.web.lane import Fast, Lane
from cacheproxy.web.signed import is_own

# Image ids need no quoting; anything else in their place is for Glance to judge.
_IMAGE_FILE = re.compile(r"/v2/images/([^/?#%]+)/file(?:\?.*)?", re.ASCII)

KEEPALIVE_SECONDS = 75.0  # of a connection on which nothing is asked
SWEEP_SECONDS = 5.0  # between two looks for such
HEADER_BYTES_MAX = 64 << 10  # one header; tokens with a catalog inside are long
HEADERS_MAX = 256
LINGERING_SECONDS = 30.0  # for clients that send all of a refused upload before they listen
FIRST_WORDS_SECONDS = 1.0  # for requests on their way here, when connections are to be closed
LAST_WORDS_SECONDS = 2.0  # for an answer that is complete to be written, when all are
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

http_log = logging.getLogger("cacheproxy.http")


class _NoTraceOfTheMalformed(logging.Filter):
    """Makes one line of what is no HTTP: it is not our error, and may hold somebody's token."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            record.exc_info = None
            record.msg = f"{record.msg}: malformed ({type(error).__name__})"
            record.levelno, record.levelname = logging.INFO, "INFO"
        return True


http_log.addFilter(_NoTraceOfTheMalformed())


class Front:
    """Answers every request of the image API."""

    def __init__(
        self,
        image_file: ImageFile | None,
        passthrough: Handler,
        signed_urls: Handler,
        cache_api: CacheApi | None = None,
    ) -> None:
        """Serve with or without a cache, and with or without an interface to it."""
        self._image_file = image_file
        self._passthrough = passthrough
        self._signed_urls = signed_urls
        self._cache_api = cache_api

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if self._image_file is not None and request.method in ("GET", "HEAD"):
            match = _IMAGE_FILE.fullmatch(request.raw_path)
            if match is not None:
                return await self._image_file.answer(request, match[1])
        if is_own(request.raw_path):
            return await self._signed_urls(request)
        if self._cache_api is not None and self._cache_api.serves(request.raw_path):
            return await self._cache_api(request)
        return await self._passthrough(request)


def metrics_page(meter: Meter) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    """Make the handler of the metrics address."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.path not in ("/", "/metrics"):
            return web.Response(status=404, text="404 ask for /metrics\n")
        return web.Response(body=meter.render(), headers={"Content-Type": METRICS_TYPE})

    return answer


class Door(web.Server):
    """The protocol factory of accepted connections; tells when each of them ends.

    With a fast lane, ordinary requests are answered before aiohttp sees them.
    """

    def __init__(  # noqa: PLR0913  everything but the handler and the meter has a default
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        meter: Meter,
        on_closed: Callable[[], None],
        *,
        log: bool,
        identities: Identities | None = None,
        fast: Fast | None = None,
    ) -> None:
        super().__init__(
            self._answer, handler_cancellation=True
        )  # who leaves ends what was for him
        self._options = {
            "access_log": access_log if log else None,
            "access_log_class": AccessLog,
            "logger": http_log,
            "max_line_size": HEADER_BYTES_MAX,
            "max_field_size": HEADER_BYTES_MAX,
            "max_headers": HEADERS_MAX,
            "lingering_time": LINGERING_SECONDS,
            "auto_decompress": False,
        }
        self._handler = handler
        self._meter = meter
        self._on_closed = on_closed
        self._identities = identities
        self.fast = fast  # None as soon as all connections are to end
        self._answering: dict[RequestHandler, web.BaseRequest] = {}  # one at a time on each
        self._idle = asyncio.Event()  # while draining: no answer is on its way
        self._draining = False
        self._lanes: set[Lane] = set()
        self._silent: set[Lane] = set()  # connections that have not asked anything yet
        self._spoken = asyncio.Event()
        self._spoken.set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._sweeping: asyncio.TimerHandle | None = None

    def __call__(self, sock: socket.socket | None = None) -> Lane:  # type: ignore[override]  # a handler is made when one is needed
        """Make the protocol of a connection; bytes may go through `sock` besides its transport."""
        return Lane(self, sock)

    # --- for its connections ----------------------------------------------------------------------

    def inner(self, lane: Lane) -> Inner:
        """Make aiohttp's half of a connection."""
        return Inner(self, lane, **self._options)

    def opened(self, lane: Lane) -> None:
        """Count a connection."""
        self._meter.add(CONNECTIONS, 1)
        self._lanes.add(lane)
        self._empty.clear()
        self._silent.add(lane)
        self._spoken.clear()
        if self._sweeping is None:
            self._sweep_later()

    def closed(self, lane: Lane) -> None:
        """Count it off, and report it."""
        self._meter.add(CONNECTIONS, -1)
        self._on_closed()
        self.heard(lane)
        self._lanes.discard(lane)
        if not self._lanes:
            self._empty.set()
            if self._sweeping is not None:
                self._sweeping.cancel()
                self._sweeping = None
        self.settled()

    def heard(self, lane: Lane) -> None:
        """A connection has asked something."""
        self._silent.discard(lane)
        if not self._silent:
            self._spoken.set()

    def settled(self) -> None:
        """An answer has ended: see whether it was the last."""
        if not self._draining:
            return  # nobody waits for it
        if not self._answering and not any(lane.sending for lane in self._lanes):
            self._idle.set()

    def _sweep_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweeping = loop.call_later(SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """Close what has been idle for too long, and leave who takes nothing of an answer."""
        now = time.monotonic()
        for lane in tuple(self._lanes):
            if lane.outlet.full_seconds(now) > STALL_SECONDS_MAX:
                # What it holds is wanted elsewhere; nor does a polite end come to an end.
                lane.reset()
            elif lane.idle_since is not None and now - lane.idle_since > KEEPALIVE_SECONDS:
                lane.close()
        self._sweep_later()

    # --- answering --------------------------------------------------------------------------------

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        inner = request.protocol
        assert isinstance(inner, Inner)
        inner.lane.begun()
        self._answering[inner] = request
        self._idle.clear()
        if self._identities is not None:
            request[IDENTITIES] = self._identities
        try:
            response = await self._handler(request)
            if not response.prepared:
                response.headers.setdefault("Server", SERVER)
            if self._draining:
                response.force_close()
            return response
        finally:
            del self._answering[inner]
            self.settled()

    async def drain(self, seconds: float) -> None:
        """Let requests in progress end, uploads too, for so long at the most; then close.

        Who has just connected gets an answer as well: his request is on its way, and he would not
        try again, as he does on a connection that was idle and is closed.

        aiohttp drops what arrives on a connection that it was told to close, so it is told only
        when no request is being answered.
        """
        self._draining, self.fast = True, None
        self._idle.clear()
        self.settled()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                with suppress(TimeoutError):
                    async with asyncio.timeout(FIRST_WORDS_SECONDS):
                        await self._spoken.wait()
                await self._idle.wait()
                await self._shut(LAST_WORDS_SECONDS)
                await self._empty.wait()
        for request in self._answering.values():
            reset(request)  # what was sent of it is not all
        for lane in tuple(self._lanes):
            if lane.sending:
                lane.reset()
        await self._shut(0)

    async def _shut(self, seconds: float) -> None:
        await asyncio.gather(*(lane.shut(seconds) for lane in tuple(self._lanes)))
        await self.shutdown(seconds)
