"""The id of a request: on every response, in every log line of what it does, in its tasks.

A client's own id is kept as it came, and answered with `req-` before it, both as Glance does: what
is kept is no longer than what a client may send.
"""

from __future__ import annotations

import re
from uuid import uuid4

from aiohttp import web

from registry import logs

REQUEST_ID = web.RequestKey("request_id", str)
REQUEST_ID_LENGTH_MAX = 64  # Glance's max_request_id_length
REQUEST_ID_HEADER = "X-OpenStack-Request-ID"
_PREFIX = "req-"
_SAFE = re.compile(r"[\w.:-]+", re.ASCII)


class RequestIdTooLongError(ValueError):
    """A client's request id that is longer than logs should hold."""


def assign_request_id(request: web.Request) -> None:
    """Take over the client's id, as Glance does, or make one."""
    given = request.headers.get(REQUEST_ID_HEADER, "")
    short = len(given) <= REQUEST_ID_LENGTH_MAX
    request[REQUEST_ID] = request_id = request_id_of(given if short else "")
    logs.REQUEST_ID.set(request_id)  # aiohttp runs each request in a context of its own
    if not short:
        raise RequestIdTooLongError(
            f"x-openstack-request-id is too long, max size {REQUEST_ID_LENGTH_MAX}"
        )


def request_id_of(given: str) -> str:
    """Return the id that a client gave, one of our own if that is none."""
    return given if _SAFE.fullmatch(given) else f"{_PREFIX}{uuid4()}"


def shown_request_id(request_id: str) -> str:
    """Return an id as it is answered."""
    return request_id if request_id.startswith(_PREFIX) else f"{_PREFIX}{request_id}"


async def add_request_id(request: web.Request, response: web.StreamResponse) -> None:
    """Put the id on a response that is about to start (an `on_response_prepare` signal)."""
    # aiohttp answers some requests itself, before the middleware that assigns ids.
    request_id = request.get(REQUEST_ID) or request_id_of("")
    response.headers[REQUEST_ID_HEADER] = shown_request_id(request_id)
