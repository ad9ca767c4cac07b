"""The parameters of a request, in its query string."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from aiohttp import web

from registry.domain.errors import InvalidRequestError


def parameters(request: web.Request) -> tuple[tuple[str, str], ...]:
    """Return them in order; InvalidRequestError if they are no text: nobody has filtered by that."""
    try:
        unquote_to_bytes(request.rel_url.raw_query_string).decode()
    except UnicodeDecodeError:
        raise InvalidRequestError("The parameters are not UTF-8.") from None
    return tuple(request.query.items())
