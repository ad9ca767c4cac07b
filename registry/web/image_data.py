"""The data of images over HTTP: `/v2/images/{id}/file`, and the right to it."""

from __future__ import annotations

import logging
from http import HTTPStatus

from aiohttp import hdrs, web

from backends.spans import END, MultipleRangesError, RangeNotSatisfiableError, Span
from registry.domain.errors import InvalidRequestError, MediaTypeError
from registry.service.athand import AtHand
from registry.service.downloads import Data, Downloads
from registry.service.uploads import Upload, Uploads
from registry.web.bodies import media_type, refuse_body
from registry.web.conditions import entity_tag, is_unchanged, wanted_span
from registry.web.errors import error_response
from registry.web.identity import IDENTITY
from registry.web.incoming import received
from registry.web.outgoing import Outgoing
from registry.web.request_id import REQUEST_ID
from registry.web.resumable import COMPLETE, ResumableHandlers

LOG = logging.getLogger(__name__)

OCTETS = "application/octet-stream"


class ImageDataHandlers:
    """Uploads and downloads."""

    def __init__(
        self,
        uploads: Uploads,
        downloads: Downloads,
        at_hand: AtHand,
        resumable: ResumableHandlers,
    ) -> None:
        self._uploads = uploads
        self._resumable = resumable
        self._downloads = downloads
        self._at_hand = at_hand

    async def upload(self, request: web.Request) -> web.Response:
        """PUT: 204 once the image is active."""
        if request.headers.get(hdrs.EXPECT, "100-continue").lower() != "100-continue":
            raise web.HTTPExpectationFailed
        if media_type(request) != OCTETS:
            raise MediaTypeError(f"The data of an image must be sent as {OCTETS}.", (OCTETS,))
        upload = Upload(announced_size(request), request.headers.get("X-Image-Meta-Store"))
        if COMPLETE in request.headers:
            return await self._resumable.begin(request, upload)
        image_id = request.match_info["image_id"]
        await self._uploads.upload(request[IDENTITY], image_id, upload, received(request))
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def right(self, request: web.Request) -> web.Response:
        """GET /v2/images/{id}/download-right: 204 to whoever may download, else that refusal."""
        refuse_body(request)
        image_id, prefer = request.match_info["image_id"], _preferred(request)
        await self._downloads.require_right(request[IDENTITY], image_id, prefer)
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def download(self, request: web.Request) -> web.StreamResponse:
        """GET and HEAD: 200, 206, 204 (no data), 304, 400 (several ranges), 416."""
        refuse_body(request)
        image_id, prefer = request.match_info["image_id"], _preferred(request)
        data = await self._downloads.find(request[IDENTITY], image_id, prefer)
        etag = entity_tag(data.image_id)
        if is_unchanged(request.headers, etag):
            return web.Response(status=HTTPStatus.NOT_MODIFIED, headers={hdrs.ETAG: etag})
        try:
            # RFC 9110 section 14.2: a range means something for GET only.
            is_get = request.method == hdrs.METH_GET
            span = wanted_span(request.headers, etag, data.size) if is_get else None
        except MultipleRangesError:
            raise InvalidRequestError(
                "Several ranges in one request are not supported; ask for one at a time."
            ) from None
        except RangeNotSatisfiableError:
            return error_response(
                request,
                HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
                f"The Range header is malformed, or names nothing of these {data.size} bytes.",
                {hdrs.CONTENT_RANGE: f"bytes */{data.size}"},
            )
        response = _data_response(data, etag, span)
        if is_get:
            await self._send(request, response, data, span or Span(0, data.size))
        else:
            await response.prepare(request)
        return response

    async def _send(
        self, request: web.Request, response: web.StreamResponse, data: Data, span: Span
    ) -> None:
        async with self._downloads.open(data, span) as download:
            self._at_hand.keep(data, download)
            await response.prepare(request)
            try:
                await Outgoing(request.transport, request.writer).send(download)
                await response.write_eof()
                self._downloads.sent(request[IDENTITY], data, span)
            except ConnectionError:
                LOG.info("%s the client went away", request[REQUEST_ID])
            except BaseException:
                # The status has been sent: only a reset connection tells that the rest is missing.
                if request.transport is not None:
                    request.transport.abort()
                raise


def _data_response(data: Data, etag: str, span: Span | None) -> web.StreamResponse:
    response = web.StreamResponse(status=HTTPStatus.PARTIAL_CONTENT if span else HTTPStatus.OK)
    response.headers[hdrs.CONTENT_TYPE] = OCTETS
    response.headers[hdrs.ACCEPT_RANGES] = "bytes"
    response.headers[hdrs.ETAG] = etag
    if data.checksum is not None:
        response.headers[hdrs.CONTENT_MD5] = data.checksum
    if span:
        response.headers[hdrs.CONTENT_RANGE] = span.content_range(data.size)
    response.content_length = len(span) if span else data.size
    return response


def _preferred(request: web.Request) -> tuple[str, ...]:
    """Return the stores that a client would rather have read, in `?prefer=a,b`."""
    names = request.query.get("prefer", "").split(",")
    return tuple(stripped for name in names if (stripped := name.strip()))


def announced_size(request: web.Request) -> int | None:
    """Return the size of the data where the client tells it; as for Glance, 0 tells nothing."""
    told = request.headers.get("x-openstack-image-size")
    try:
        size = request.content_length if told is None else int(told)
    except ValueError:
        size = -1
    if size is not None and not 0 <= size < END:
        raise InvalidRequestError("Invalid or missing image size in request headers.")
    return size or None


async def promise_nothing(_request: web.Request) -> None:
    """Leave "100 Continue" to the reading of the body, for the image may refuse it.

    An `expect_handler` of aiohttp.
    """
