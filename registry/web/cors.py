"""Cross-origin requests: what browsers are told of pages from elsewhere, as oslo.middleware does it.

`OPTIONS` is answered 200 whatever it is about, and whether or not anybody is allowed anything.
"""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from registry.web.options import CorsSettings

# What browsers send without being allowed to.
_SIMPLE = (
    *("Accept", "Accept-Language", "Content-Type", "Cache-Control", "Content-Language"),
    *("Expires", "Last-Modified", "Pragma"),
)
_BESIDE = "/healthcheck"  # stands beside the API


class Cors:
    """Tells browsers what they may."""

    def __init__(self, settings: CorsSettings) -> None:
        self._settings = settings
        self._allowed = frozenset(name.upper() for name in (*_SIMPLE, *settings.allowed))

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer questions of browsers; the outermost middleware."""
        response = await handler(request)
        if request.method != hdrs.METH_OPTIONS or request.path.startswith(_BESIDE):
            return response
        is_good = HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES
        if not (is_good or response.prepared):
            response = web.Response()
        if not response.prepared:
            self._answer(request, response)
        return response

    async def tell(self, request: web.Request, response: web.StreamResponse) -> None:
        """Tell of an answer that is about to start who may read it (`on_response_prepare`)."""
        if request.method == hdrs.METH_OPTIONS or request.path.startswith(_BESIDE):
            return
        origin = self._origin(request)
        if origin is None:
            return
        self._admit(origin, response)
        if self._settings.exposed:
            exposed = ",".join(self._settings.exposed)
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = exposed

    def _origin(self, request: web.Request) -> str | None:
        """Return the origin as the answer has to name it; None if nothing is allowed to it."""
        origins = self._settings.origins
        origin = request.headers.get(hdrs.ORIGIN) if origins else None
        if origin is None or origin in origins:
            return origin
        return "*" if "*" in origins else None

    def _admit(self, origin: str, response: web.StreamResponse) -> None:
        vary = response.headers.get(hdrs.VARY)
        response.headers[hdrs.VARY] = f"{vary},Origin" if vary else "Origin"
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
        if self._settings.with_credentials:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_CREDENTIALS] = "true"

    def _answer(self, request: web.Request, response: web.StreamResponse) -> None:
        """Say whether a request of this method, with these header fields, may be sent."""
        origin = self._origin(request)
        method = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_METHOD)
        if origin is None or method is None or method not in self._settings.methods:
            return
        asked = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS, "").split(",")
        names = [name.strip() for name in asked if name.strip()]
        if not self._allowed.issuperset(name.upper() for name in names):
            return
        self._admit(origin, response)
        if self._settings.max_age:
            response.headers[hdrs.ACCESS_CONTROL_MAX_AGE] = str(self._settings.max_age)
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = method
        if names:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = ",".join(names)
