"""Bodies of requests and responses that are JSON, and requests that may have none."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from aiohttp import hdrs, web

from registry.domain.errors import InvalidRequestError, LimitExceededError

JSON_BODY_BYTES_MAX = 8 << 20  # far above what 128 properties and tags can fill sensibly


async def read_json(request: web.Request, bytes_max: int = JSON_BODY_BYTES_MAX) -> Any:
    """Read a JSON body, of at most so many bytes."""
    body = await request.read()
    if len(body) > bytes_max:
        raise LimitExceededError(f"A body of more than {bytes_max} bytes is not taken here.")
    if not body:
        raise InvalidRequestError("Body expected in request.")
    try:
        return json.loads(body.decode())  # as it stands: bytes would be taken for other encodings
    except (ValueError, RecursionError):
        raise InvalidRequestError("Malformed JSON in request body.") from None


def media_type(request: web.Request) -> str:
    """Return the type of a body as it was sent, without parameters: Glance knows no other letters."""
    return request.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip()


def refuse_body(request: web.Request) -> None:
    """Refuse a body where none belongs, as Glance does."""
    if request.can_read_body:
        raise InvalidRequestError("A body is not expected with this request.")


def json_response(
    document: Any, *, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """Answer with a document."""
    return web.Response(
        status=status,
        body=msgspec.json.encode(document),  # of a page of images a twentieth of json's time
        content_type="application/json",  # which has no charset: RFC 8259 section 11
        headers=headers,
    )
