"""Puts the caller's identity on a request, before any handler sees it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from registry.domain.identity import EVERYBODY, Identity

IDENTITY = web.RequestKey("identity", Identity)
Identify: TypeAlias = Callable[[web.Request], Awaitable[Identity]]


async def everybody(_request: web.Request) -> Identity:
    """Identify callers where there is no authentication."""
    return EVERYBODY


def identifying(
    identify: Identify,
) -> Middleware:
    """Return the middleware that asks `identify` who is calling."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[IDENTITY] = await identify(request)
        return await handler(request)

    return middleware
