"""Who may manage a node's cache: whom Glance's own rules let manage Glance's, and nobody else.

Two ways to know, both of the caller's own token; whatever is no clear yes is a no:

* Keystone says that the token is an administrator's, which is what Glance's `cache_*` rules ask for
  unless they were changed.
* The upstream answers `GET /v2/cache` with 200.  Glance judges before it looks whether it has a cache,
  so its 404 to an administrator would be a yes too; but older ones answer so to everybody.
"""

from __future__ import annotations

from typing import Protocol

from aiohttp import web

from cacheproxy.errors import IdentityError, UpstreamError
from cacheproxy.headers import end_to_end
from cacheproxy.identity import Identities
from cacheproxy.upstream import Upstream
from cacheproxy.web.errors import error_response

TOKEN = "X-Auth-Token"  # noqa: S105  the name of a field


class CacheRights(Protocol):
    """Decides who may manage the cache."""

    async def refusal(self, request: web.BaseRequest) -> web.Response | None:
        """Return why the sender may not; None: they may."""


class KeystoneRights:
    """Asks Keystone."""

    def __init__(self, identities: Identities) -> None:
        self._identities = identities

    async def refusal(self, request: web.BaseRequest) -> web.Response | None:
        """Return why the sender may not; None: they may."""
        token = request.headers.get(TOKEN)
        try:
            identity = None if not token else await self._identities.of(token)
        except IdentityError:
            return error_response(503, "Keystone cannot be asked")
        if identity is None:
            response = error_response(401, "a valid token is needed")
            response.headers["WWW-Authenticate"] = self._identities.challenge
            return response
        if not identity.is_admin:
            return error_response(403, "You are not authorized to manage this node's cache.")
        return None


class UpstreamRights:
    """Asks the upstream."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def refusal(self, request: web.BaseRequest) -> web.Response | None:
        """Return why the sender may not; None: they may."""
        asked = end_to_end([(str(name), value) for name, value in request.headers.items()])
        try:
            async with self._upstream.exchange("GET", "/v2/cache", asked) as answer:
                status, headers = answer.status, dict(answer.headers)
        except UpstreamError:
            return error_response(503, "the image service cannot be reached")
        if status == 200:
            return None
        if status == 404:
            return error_response(
                404, "The image service has no cache, so it does not say who may manage this one."
            )
        if status in (401, 403):
            response = error_response(status, "You are not authorized to manage this node's cache.")
            if status == 401 and "WWW-Authenticate" in headers:
                response.headers["WWW-Authenticate"] = headers["WWW-Authenticate"]
            return response
        return error_response(503, "the image service does not say who may manage this cache")
