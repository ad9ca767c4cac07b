"""Puts the caller's identity on a request, before any handler sees it.

Only the tokens in a request say who calls; what else it says of that (`X-Roles`, `X-Project-Id` and
their like, which Glance is told by its middleware) is not read anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from registry.domain.identity import EVERYBODY, Identity
from registry.keystone.callers import Callers, Credentials

IDENTITY = web.RequestKey("identity", Identity)
Identify: TypeAlias = Callable[[web.Request], Awaitable[Identity]]

VERSIONED = r"v2(\.\d+)?(/|$)"  # paths that are about images, as they go on behind the first slash
_VERSIONED = re.compile(f"/{VERSIONED}")


async def everybody(_request: web.Request) -> Identity:
    """Identify callers where there is no authentication."""
    return EVERYBODY


def known_to(callers: Callers) -> Identify:
    """Return what identifies callers by their tokens."""

    async def identify(request: web.Request) -> Identity:
        return await callers.identify(
            Credentials(
                token=_token(request, "X-Auth-Token") or _token(request, "X-Storage-Token"),
                service_token=_token(request, "X-Service-Token"),
                method=request.method,
                path=request.path,
            )
        )

    return identify


def _token(request: web.Request, name: str) -> str | None:
    return request.headers.get(name, "").strip() or None


def identifying(identify: Identify) -> Middleware:
    """Return the middleware that asks `identify` who is calling; for versions anybody may ask."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if _VERSIONED.match(request.path):
            request[IDENTITY] = await identify(request)
        return await handler(request)

    return middleware
