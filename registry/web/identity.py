"""Puts the caller's identity on a request, before any handler sees it.

Only the tokens in a request say who calls; what else it says of that (`X-Roles`, `X-Project-Id` and
their like, which Glance is told by its middleware) is not read anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeAlias

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from registry.domain.identity import EVERYBODY, Identity
from registry.domain.protection import Protections
from registry.keystone.callers import Callers, Credentials
from registry.web.negotiation import VERSIONED

IDENTITY = web.RequestKey("identity", Identity)
Identify: TypeAlias = Callable[[web.Request], Awaitable[Identity]]
# Tells at once who calls; None: that takes a question, or whoever calls is to be refused.
Recognise: TypeAlias = Callable[[Credentials], Identity | None]


async def everybody(_request: web.Request) -> Identity:
    """Identify callers where there is no authentication."""
    return EVERYBODY


def anybody(_shown: Credentials) -> Identity:
    """Recognise callers where there is no authentication."""
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


def held_to(protections: Protections, identify: Identify) -> Identify:
    """Return what identifies callers as `identify` does, who use properties as they are let."""

    async def held(request: web.Request) -> Identity:
        return replace(await identify(request), protections=protections)

    return held


def _token(request: web.Request, name: str) -> str | None:
    return request.headers.get(name, "").strip() or None


def identifying(identify: Identify, versioned: re.Pattern[str]) -> Middleware:
    """Return the middleware that asks `identify` who is calling.

    Only on `versioned` paths: anybody may ask for the others.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.get(VERSIONED, versioned.match(request.path)):
            request[IDENTITY] = await identify(request)
        return await handler(request)

    return middleware
