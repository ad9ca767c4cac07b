"""The one table from errors to HTTP statuses, and the bodies that tell them.

The body has the form that the client prefers, each readable by python-glanceclient and
openstacksdk: JSON if it accepts that, HTML if it accepts anything, else plain text.
"""

from __future__ import annotations

import asyncio
import html
import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler

from registry.domain.errors import (
    ConflictError,
    DataRefusedError,
    ForbiddenError,
    GoneError,
    InvalidRequestError,
    LimitExceededError,
    MediaTypeError,
    NoDataError,
    NotFoundError,
    OffsetError,
    RegistryError,
    UnauthenticatedError,
    UnavailableError,
)
from registry.web.incoming import receive_rest
from registry.web.request_id import RequestIdTooLongError, assign_request_id

LOG = logging.getLogger(__name__)

REFUSED_BODY_SECONDS = 30.0  # how long a client that was refused may go on sending
RETRY_AFTER_SECONDS = 5  # when the database or a store may be there again

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")  # of any path, as Allow lists them

# Complete; a test holds it to that.
STATUSES: tuple[tuple[type[RegistryError], HTTPStatus], ...] = (
    (InvalidRequestError, HTTPStatus.BAD_REQUEST),
    (UnauthenticatedError, HTTPStatus.UNAUTHORIZED),
    (ForbiddenError, HTTPStatus.FORBIDDEN),
    (NotFoundError, HTTPStatus.NOT_FOUND),
    (ConflictError, HTTPStatus.CONFLICT),
    (GoneError, HTTPStatus.GONE),
    (LimitExceededError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (MediaTypeError, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    (DataRefusedError, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    (NoDataError, HTTPStatus.NO_CONTENT),
    (UnavailableError, HTTPStatus.SERVICE_UNAVAILABLE),
)


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every failure into a response; the outermost boundary of a request."""
    try:
        assign_request_id(request)
        return await handler(request)
    except Exception as error:  # noqa: BLE001  # the boundary: whatever it is, the client hears of it
        response = _response_to(request, error)
    if not request.content.is_eof():
        await _deliver(request, response)
    return response


async def _deliver(request: web.Request, response: web.Response) -> None:
    """Answer a client that is still sending its body, so that it hears the answer.

    A connection that is closed with bytes unread is reset, and takes the answer along.  A client
    that waits for "100 Continue" sends nothing.
    """
    if hdrs.EXPECT in request.headers:
        response.force_close()
        return
    with suppress(TimeoutError, HttpProcessingError, web.RequestPayloadError, ConnectionError):
        await response.prepare(request)
        await response.write_eof()
        async with asyncio.timeout(REFUSED_BODY_SECONDS):
            await receive_rest(request)


def _response_to(request: web.Request, error: Exception) -> web.Response:
    if isinstance(error, RequestIdTooLongError):
        return error_response(request, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, str(error))
    if isinstance(error, RegistryError):
        return _registry_error_response(request, error)
    if isinstance(error, web.HTTPException):
        headers: dict[str, str] = {}
        if isinstance(error, web.HTTPMethodNotAllowed):
            headers[hdrs.ALLOW] = ", ".join(sorted(error.allowed_methods, key=METHODS.index))
        elif isinstance(error, web.HTTPNotFound) and request.method not in METHODS:
            status = HTTPStatus.NOT_IMPLEMENTED
            return error_response(request, status, f"{request.method} is implemented nowhere here.")
        return error_response(request, HTTPStatus(error.status), error.reason, headers)
    LOG.error("%s %s failed", request.method, request.path, exc_info=error)
    return error_response(
        request, HTTPStatus.INTERNAL_SERVER_ERROR, "The server has failed; its log says why."
    )


def _registry_error_response(request: web.Request, error: RegistryError) -> web.Response:
    status = next(status for kind, status in STATUSES if isinstance(error, kind))
    headers: dict[str, str] = {}
    if isinstance(error, MediaTypeError) and request.method == hdrs.METH_PATCH:
        headers["Accept-Patch"] = ", ".join(error.accepted)
    if isinstance(error, UnauthenticatedError):
        headers[hdrs.WWW_AUTHENTICATE] = error.challenge
    if isinstance(error, OffsetError):
        headers["Upload-Offset"] = str(error.expected)
    if isinstance(error, UnavailableError):
        headers[hdrs.RETRY_AFTER] = str(RETRY_AFTER_SECONDS)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        LOG.error("%s %s: %s", request.method, request.path, error)
    return error_response(request, status, str(error), headers)


def error_response(
    request: web.Request,
    status: HTTPStatus,
    message: str,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """Tell a failure in the form that the client prefers."""
    if status == HTTPStatus.NO_CONTENT:
        return web.Response(status=status, headers=headers)
    title = f"{status.value} {status.phrase}"
    accept = request.headers.get(hdrs.ACCEPT, "")
    if "application/json" in accept:
        error = {"code": status.value, "title": status.phrase, "message": message}
        text, content_type = json.dumps({"error": error}), "application/json"
    elif "html" in accept or "*/*" in accept:
        text = (
            f"<html>\n <head>\n  <title>{title}</title>\n </head>\n <body>\n"
            f"  <h1>{title}</h1>\n  {html.escape(message)}<br /><br />\n </body>\n</html>\n"
        )
        content_type = "text/html"
    else:
        text, content_type = f"{title}\n\n{message}\n", "text/plain"
    charset = None if content_type == "application/json" else "utf-8"
    return web.Response(
        status=status,
        body=text.encode(),
        content_type=content_type,
        charset=charset,
        headers=headers,
    )
