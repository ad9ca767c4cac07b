"""The id of a request: on every response, in every log line of its access."""

from __future__ import annotations

import re
from uuid import uuid4

from aiohttp import web

REQUEST_ID = web.RequestKey("request_id", str)
REQUEST_ID_LENGTH_MAX = 64  # Glance's max_request_id_length
_HEADER = "X-OpenStack-Request-ID"
_SAFE = re.compile(r"[\w.:-]+", re.ASCII)


class RequestIdTooLongError(ValueError):
    """A client's request id that is longer than logs should hold."""


def assign_request_id(request: web.Request) -> None:
    """Take over the client's id, as Glance does, or make one."""
    given = request.headers.get(_HEADER, "")
    request[REQUEST_ID] = f"req-{uuid4()}"
    if len(given) > REQUEST_ID_LENGTH_MAX:
        raise RequestIdTooLongError(
            f"x-openstack-request-id is too long, max size {REQUEST_ID_LENGTH_MAX}"
        )
    if _SAFE.fullmatch(given):
        request[REQUEST_ID] = given if given.startswith("req-") else f"req-{given}"


async def add_request_id(request: web.Request, response: web.StreamResponse) -> None:
    """Put the id on a response that is about to start (an `on_response_prepare` signal)."""
    # aiohttp answers some requests itself, before the middleware that assigns ids.
    response.headers[_HEADER] = request.get(REQUEST_ID) or f"req-{uuid4()}"
