"""`GET` and `HEAD /v2/images/{id}/file`: from the cache if the caller may, else as it stands.

Headers and statuses are Glance's own (it answers 405 to HEAD, and knows no ETag, If-Range or
If-None-Match; those are additions, and appear only for images whose whole is proven).
"""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import NamedTuple, Protocol
from urllib.parse import unquote_plus
from uuid import uuid4

from aiohttp import web

from backends.spans import MultipleRangesError, RangeNotSatisfiableError, Span, parse_range
from cacheproxy.chunkread import OpenPart, Piece
from cacheproxy.connections import STALL_SECONDS_MAX
from cacheproxy.core.facts import ImageFacts
from cacheproxy.errors import ProofFailedError, ProxyError, UpstreamAnswerError
from cacheproxy.headers import Headers
from cacheproxy.meter import Meter
from cacheproxy.metrics import FILE_REQUESTS, REQUESTS, SERVED_BYTES, TIME_TO_FIRST_BYTE
from cacheproxy.serve import Download, Image, Images
from cacheproxy.web.cache_rights import TOKEN
from cacheproxy.web.errors import SERVER, error_response, reset, response_for
from cacheproxy.web.inner import Inner
from cacheproxy.web.passthrough import SENT_BYTES

REQUEST_ID = "x-openstack-request-id"
REQUEST_ID_LENGTH_MAX = 64  # Glance's own default; what it says to longer ones is for it to say
RESULT = web.RequestKey("result", str)  # of a request, for the access log
FIRST_BYTE_SECONDS = web.RequestKey("first_byte_seconds", float)  # how long a request waited for it

# Request ids are UUIDs, as Glance makes them; those of one process count on from where it began.
_UUID_BEGINS = str(uuid4())[:24]
_numbers = itertools.count(random.getrandbits(40))

# Glance takes any id for a path; what is no such token is for Glance to judge.
_PREFER = re.compile(r"prefer=([0-9A-Za-z._,%+-]{0,1024})", re.ASCII)  # and nothing else
_IMAGE_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}", re.ASCII)


class Handler(Protocol):
    """Answers a request."""

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer it."""


class Permission(Protocol):
    """Decides who may download."""

    async def allowed(self, image_id: str, headers: Headers, query: str = "") -> bool:
        """Ask the upstream, or remember its answer of a moment ago."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The part of the image that is wanted, and how to say so."""

    status: int
    span: Span


class Wish(NamedTuple):
    """Who wants it, from which stores rather, and since when."""

    headers: Headers
    prefer: tuple[str, ...]
    started: float


class Sent(NamedTuple):
    """An answer with image data that has ended, well or not; `result` as in the metrics."""

    facts: ImageFacts
    expected_bytes: int
    sent_bytes: int
    result: str


class OnSent(Protocol):
    """Takes notice of an answer."""

    def __call__(self, sent: Sent, address: str | None, token: str | None) -> None:
        """It has ended; whoever sent this token from there got it."""


def nobody(sent: Sent, address: str | None, token: str | None) -> None:
    """Take no notice."""


class ImageFile:
    """The handler of image data; `passthrough` answers whatever is not for the cache.

    `on_sent` is told of each answer that the cache had a part in.
    """

    def __init__(
        self,
        images: Images,
        permission: Permission,
        passthrough: Handler,
        meter: Meter,
        on_sent: OnSent = nobody,
    ) -> None:
        self._images = images
        self._permission = permission
        self._passthrough = passthrough
        self._meter = meter
        self._on_sent = on_sent

    async def answer(self, request: web.BaseRequest, image_id: str) -> web.StreamResponse:
        """Answer; count the request and its one result at its end, if the process lives to see it."""
        request[RESULT] = "error"
        started = time.monotonic()
        try:
            return await self._answer(request, image_id, started)
        finally:
            self._meter.inc(FILE_REQUESTS)
            self._meter.inc(REQUESTS, 1, request[RESULT])
            if FIRST_BYTE_SECONDS in request:
                seconds = request[FIRST_BYTE_SECONDS]
                self._meter.observe(TIME_TO_FIRST_BYTE, seconds, request[RESULT])

    async def _answer(  # noqa: PLR0911  each early return is one rule of the protocol
        self, request: web.BaseRequest, image_id: str, started: float
    ) -> web.StreamResponse:
        # Authorise first, look up second: nothing below depends on the cache before the upstream
        # has said that this caller may download this image.
        headers = [(str(name), value) for name, value in request.headers.items()]
        query = request.raw_path.partition("?")[2]
        prefer = preferred(query)
        if prefer is None or not _ordinary(request, image_id):
            return await self._pass(request)
        if not await self._permission.allowed(image_id, headers, query):
            return await self._pass(request)
        image = await self._images.find(image_id, headers)
        if image is None:
            return await self._pass(request)
        etag = f'"{image_id}"' if image.proven else None
        if etag is not None and _matches(request.headers.getall("If-None-Match", []), etag):
            return self._done(
                request, web.Response(status=304, headers=_headers(request, image, etag))
            )
        try:
            selection = _select(request, image, etag)
        except MultipleRangesError:
            return self._done(request, error_response(400, "one range at a time"))
        except RangeNotSatisfiableError:
            response = error_response(416, "the range names no byte of the image")
            response.headers["Content-Range"] = f"bytes */{image.facts.size}"
            return self._done(request, response, "hit" if image.proven else "miss")
        if request.method == "HEAD":
            return self._done(request, _response(request, image, selection, etag))
        if not len(selection.span):
            return await self._pass(request)  # an empty image: there is nothing to keep
        wish = Wish(headers, prefer, started)
        return await self._download(request, image, selection, wish)

    async def _download(
        self,
        request: web.BaseRequest,
        image: Image,
        selection: Selection,
        wish: Wish,
    ) -> web.StreamResponse:
        opening = self._images.open(image, selection.span, wish.headers, wish.prefer)
        async with aclosing(await opening) as download:
            if image.proven and not download.proven and "If-Range" in request.headers:
                # It was promised in the time between; the caller's part may not fit any more.
                selection = Selection(200, Span(0, image.facts.size))
                await download.aclose()
                image = Image(image.facts, proven=False)
                return await self._download(request, image, selection, wish)
            async with aclosing(download.pieces()) as pieces:
                try:
                    first = await anext(pieces)
                except ProofFailedError as error:
                    if download.proven:
                        return self._done(request, response_for(error), "error")
                    reset(request)
                    return web.Response()
                except UpstreamAnswerError:
                    # Image data is not to be had (204, 404, 503, ...): in the upstream's own words.
                    return await self._pass(request)
                except ProxyError as error:
                    return self._done(request, response_for(error), "error")
                etag = f'"{image.facts.image_id}"' if download.proven else None
                response = _response(request, image, selection, etag)
                request[FIRST_BYTE_SECONDS] = time.monotonic() - wish.started
                try:
                    return await self._send(request, response, download, first, pieces)
                finally:
                    expected, sent = len(selection.span), request[SENT_BYTES]
                    self._on_sent(
                        Sent(image.facts, expected, sent, download.result),
                        request.remote,
                        request.headers.get(TOKEN),
                    )

    async def _send(
        self,
        request: web.BaseRequest,
        response: web.StreamResponse,
        download: Download,
        first: Piece,
        pieces: AsyncGenerator[Piece],
    ) -> web.StreamResponse:
        request[SENT_BYTES] = 0
        try:
            await response.prepare(request)
            await _write(request, response, first)
            async for piece in pieces:
                await _write(request, response, piece)
            await response.write_eof()
        except ProxyError:
            reset(request)
            return response
        except TimeoutError:
            reset(request)  # it took nothing for so long: what it holds is wanted elsewhere
        except ConnectionError:
            pass  # the client left: the server knows
        except asyncio.CancelledError:  # the same, noticed earlier
            request[RESULT] = download.result
            raise
        except Exception:
            reset(request)  # a mistake of ours: nobody may take what was sent for the whole
            raise
        request[RESULT] = download.result
        return response

    async def _pass(self, request: web.BaseRequest) -> web.StreamResponse:
        response = await self._passthrough(request)
        if response.status < 400:
            request[RESULT] = "bypass"
            if request.method == "GET":
                self._meter.inc(SERVED_BYTES, request[SENT_BYTES], "bypass")
        elif response.status < 500:
            request[RESULT] = "refused"
        return response

    def _done(
        self, request: web.BaseRequest, response: web.StreamResponse, result: str = "hit"
    ) -> web.StreamResponse:
        request[RESULT] = result
        response.headers.setdefault(REQUEST_ID, _request_id(request))
        return response


def _response(
    request: web.BaseRequest, image: Image, selection: Selection, etag: str | None
) -> web.StreamResponse:
    headers = _headers(request, image, etag)
    headers["Content-Length"] = str(len(selection.span))
    headers["Content-Type"] = "application/octet-stream"
    if selection.status == 206:
        headers["Content-Range"] = selection.span.content_range(image.facts.size)
    return web.StreamResponse(status=selection.status, headers=headers)


def _headers(request: web.BaseRequest, image: Image, etag: str | None) -> dict[str, str]:
    headers = {"Accept-Ranges": "bytes", "Server": SERVER, REQUEST_ID: _request_id(request)}
    if image.facts.checksum is not None:
        headers["Content-MD5"] = image.facts.checksum  # in hex, of the whole: Glance's way
    if etag is not None:
        headers["ETag"] = etag
    return headers


def request_id_of(brought: str) -> str:
    """Return the id of a request: the one that it brings, as Glance spells it, or a new one."""
    if not brought:
        return f"req-{_UUID_BEGINS}{next(_numbers):012x}"
    return brought if brought.startswith("req-") else f"req-{brought}"


def _request_id(request: web.BaseRequest) -> str:
    return request_id_of(",".join(request.headers.getall(REQUEST_ID, [])))


def _ordinary(request: web.BaseRequest, image_id: str) -> bool:
    """Whether the cache understands all of the request."""
    return (
        "Content-Range" not in request.headers  # a range request, of Glance's own kind
        and len(request.headers.get(REQUEST_ID, "")) <= REQUEST_ID_LENGTH_MAX
        and not request.body_exists
        and _IMAGE_ID.fullmatch(image_id) is not None
    )


def preferred(query: str) -> tuple[str, ...] | None:
    """Return the stores that a query names, as Glance reads it; None: it is about something else."""
    if not query:
        return ()
    match = _PREFER.fullmatch(query)
    if match is None:
        return None
    names = (name.strip() for name in unquote_plus(match[1]).split(","))
    return tuple(name for name in names if name)


def _matches(fields: list[str], etag: str) -> bool:
    """Whether `If-None-Match` names this tag; weak comparison, RFC 9110 section 13.1.2."""
    tags = [tag.strip() for field in fields for tag in field.split(",")]
    return any(tag == "*" or tag.removeprefix("W/") == etag for tag in tags)


def _select(request: web.BaseRequest, image: Image, etag: str | None) -> Selection:
    """Choose the whole or one range.

    `If-Range` with anything but this proven image's own tag, a date too, means the whole (RFC 9110
    section 13.1.5): an answer that began before the proof must not be continued behind it.
    """
    size = image.facts.size
    fields = request.headers.getall("Range", [])
    header = ",".join(fields) if fields else None  # as Glance's own server joins them
    condition = request.headers.get("If-Range")
    if header is None or request.method == "HEAD":
        return Selection(200, Span(0, size))
    if condition is not None and (etag is None or condition.strip() != etag):
        return Selection(200, Span(0, size))
    return Selection(206, parse_range(header, size))


async def _write(request: web.BaseRequest, response: web.StreamResponse, piece: Piece) -> None:
    if isinstance(piece, OpenPart):
        assert isinstance(request.protocol, Inner)
        before = piece.position
        try:
            await request.protocol.lane.outlet.send(piece)
        finally:
            request[SENT_BYTES] += piece.position - before
    else:
        request[SENT_BYTES] += len(piece)
        async with asyncio.timeout(STALL_SECONDS_MAX):
            await response.write(piece)
