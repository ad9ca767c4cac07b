"""The one door for a worker's clients: which handler answers what, and the log of it.

There is no router besides: whatever is not image data goes to the upstream as it stands.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from cacheproxy.identity import Identities
from cacheproxy.meter import Meter
from cacheproxy.metrics import CONNECTIONS
from cacheproxy.web.access_log import IDENTITIES, AccessLog, access_log
from cacheproxy.web.cache_api import CacheApi
from cacheproxy.web.errors import SERVER, reset
from cacheproxy.web.image_file import Handler, ImageFile
from cacheproxy.web.signed import is_own

# Image ids need no quoting; anything else in their place is for Glance to judge.
_IMAGE_FILE = re.compile(r"/v2/images/([^/?#%]+)/file(?:\?.*)?", re.ASCII)

KEEPALIVE_SECONDS = 75.0
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
    """The protocol factory of accepted connections; tells when each of them ends."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        meter: Meter,
        on_closed: Callable[[], None],
        *,
        log: bool,
        identities: Identities | None = None,
    ) -> None:
        super().__init__(
            self._answer,
            handler_cancellation=True,  # who leaves ends what was done for him alone
            access_log=access_log if log else None,
            access_log_class=AccessLog,
            logger=http_log,
            keepalive_timeout=KEEPALIVE_SECONDS,
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
            max_headers=HEADERS_MAX,
            lingering_time=LINGERING_SECONDS,
            auto_decompress=False,
        )
        self._handler = handler
        self._meter = meter
        self._on_closed = on_closed
        self._identities = identities
        self._answering: dict[RequestHandler, web.BaseRequest] = {}  # one at a time on each
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False
        self._silent: set[RequestHandler] = set()  # connections that have not asked anything yet
        self._spoken = asyncio.Event()
        self._spoken.set()
        self._open = 0
        self._empty = asyncio.Event()
        self._empty.set()

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Count it."""
        super().connection_made(handler, transport)
        self._meter.add(CONNECTIONS, 1)
        self._open += 1
        self._empty.clear()
        self._silent.add(handler)
        self._spoken.clear()

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """Count it off, and report it."""
        super().connection_lost(handler, exc)
        self._meter.add(CONNECTIONS, -1)
        self._on_closed()
        self._heard(handler)
        # Not `connections`: aiohttp keeps a handler there until its task has ended.
        self._open -= 1
        if not self._open:
            self._empty.set()

    def _heard(self, handler: RequestHandler) -> None:
        self._silent.discard(handler)
        if not self._silent:
            self._spoken.set()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self._heard(request.protocol)
        self._answering[request.protocol] = request
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
            del self._answering[request.protocol]
            if not self._answering:
                self._idle.set()

    async def drain(self, seconds: float) -> None:
        """Let requests in progress end, uploads too, for so long at the most; then close.

        Who has just connected gets an answer as well: his request is on its way, and he would not
        try again, as he does on a connection that was idle and is closed.

        aiohttp drops what arrives on a connection that it was told to close, so it is told only
        when no request is being answered.
        """
        self._draining = True
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                with suppress(TimeoutError):
                    async with asyncio.timeout(FIRST_WORDS_SECONDS):
                        await self._spoken.wait()
                await self._idle.wait()
                await self.shutdown(LAST_WORDS_SECONDS)
                await self._empty.wait()
        for request in self._answering.values():
            reset(request)  # what was sent of it is not all
        await self.shutdown(0)
