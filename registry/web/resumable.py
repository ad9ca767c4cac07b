"""Uploads that may be continued, as the draft "Resumable Uploads for HTTP" has them.

    PUT    /v2/images/{id}/file      with Upload-Complete: begins one, and appends its body
    HEAD   /v2/images/{id}/upload    tells Upload-Offset
    PATCH  /v2/images/{id}/upload    appends at Upload-Offset, the rest where Upload-Complete is ?1
    DELETE /v2/images/{id}/upload    gives it up

No interim answer (104) tells where an upload may be continued: Python's http.client takes any but
100 for the answer itself.  The address is known beforehand.
Source: draft-ietf-httpbis-resumable-upload-10.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from http import HTTPStatus

from aiohttp import hdrs, web

from registry.domain.errors import InvalidRequestError, MediaTypeError
from registry.service.resumable import ResumableUploads, Standing
from registry.service.uploads import Upload
from registry.web.bodies import refuse_body
from registry.web.identity import IDENTITY

COMPLETE = "Upload-Complete"
OFFSET = "Upload-Offset"
LENGTH = "Upload-Length"
LIMIT = "Upload-Limit"
PARTIAL = "application/partial-upload"
_TRUTHS = {"?1": True, "?0": False}
_DIGITS_MAX = 19

Received = Callable[[web.Request], AsyncIterator[bytes]]


class ResumableHandlers:
    """What is asked of them; `received` makes an iterator of a request's body."""

    def __init__(self, uploads: ResumableUploads, received: Received) -> None:
        self._uploads = uploads
        self._received = received

    async def begin(self, request: web.Request, upload: Upload) -> web.Response:
        """PUT: as `append` from the first byte on."""
        completes = _truth(request)
        length = _number(request, LENGTH)
        if length is None and completes:
            length = upload.size
        image_id = request.match_info["image_id"]
        whole = Upload(length, upload.store)
        await self._uploads.begin(request[IDENTITY], image_id, whole)
        return await self._appended(request, 0, completes=completes)

    async def standing(self, request: web.Request) -> web.Response:
        """HEAD: 204, and how many bytes are there."""
        refuse_body(request)
        image_id = request.match_info["image_id"]
        return self._response(await self._uploads.standing(request[IDENTITY], image_id))

    async def append(self, request: web.Request) -> web.Response:
        """PATCH: 204 when the bytes are stored; with the last of them, once the image is active."""
        media_type = request.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0]
        if media_type.strip().lower() != PARTIAL:
            raise MediaTypeError(f"What is appended must be sent as {PARTIAL}.", (PARTIAL,))
        offset = _number(request, OFFSET)
        if offset is None:
            raise InvalidRequestError(f"{OFFSET} says where an upload goes on.")
        return await self._appended(request, offset, completes=_truth(request))

    async def cancel(self, request: web.Request) -> web.Response:
        """DELETE: 204, and the image is queued."""
        refuse_body(request)
        await self._uploads.cancel(request[IDENTITY], request.match_info["image_id"])
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def _appended(
        self, request: web.Request, offset: int, *, completes: bool
    ) -> web.Response:
        image_id, body = request.match_info["image_id"], self._received(request)
        return self._response(
            await self._uploads.append(
                request[IDENTITY], image_id, offset, body, completes=completes
            )
        )

    def _response(self, standing: Standing) -> web.Response:
        headers = {
            OFFSET: str(standing.offset),
            COMPLETE: "?1" if standing.is_complete else "?0",
            hdrs.CACHE_CONTROL: "no-store",
        }
        if standing.length is not None:
            headers[LENGTH] = str(standing.length)
        if not standing.is_complete:
            headers[LIMIT] = f"max-age={self._uploads.kept_seconds}"
        return web.Response(status=HTTPStatus.NO_CONTENT, headers=headers)


def _truth(request: web.Request) -> bool:
    try:
        return _TRUTHS[request.headers.get(COMPLETE, "").strip()]
    except KeyError:
        raise InvalidRequestError(f"{COMPLETE} is ?1 with the last bytes, else ?0.") from None


def _number(request: web.Request, header: str) -> int | None:
    told = request.headers.get(header)
    if told is None:
        return None
    if not told.isascii() or not told.isdigit() or len(told) > _DIGITS_MAX:
        raise InvalidRequestError(f"{header} is a number of bytes.")
    return int(told)
