"""Bodies of requests and responses that are JSON, and requests that may have none."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from registry.domain.errors import InvalidRequestError

JSON_BODY_BYTES_MAX = 8 << 20  # far above what 128 properties and tags can fill sensibly


async def read_json(request: web.Request) -> Any:
    """Read a JSON body, of at most `JSON_BODY_BYTES_MAX`."""
    body = await request.read()
    if not body:
        raise InvalidRequestError("Body expected in request.")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidRequestError("Malformed JSON in request body.") from None


def refuse_body(request: web.Request) -> None:
    """Refuse a body where none belongs, as Glance does."""
    if request.can_read_body:
        raise InvalidRequestError("A body is not expected with this request.")


def json_response(
    document: Any, *, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """Answer with a document."""
    text = json.dumps(document, ensure_ascii=False)
    return web.Response(status=status, text=text, content_type="application/json", headers=headers)
