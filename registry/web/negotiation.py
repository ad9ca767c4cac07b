"""Which version a request is for: by its path, or by `Accept`, whose version stands before the path then.

    Accept: application/vnd.openstack.images-v2.15

All versions that are told mean the same.  Several slashes are one.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from aiohttp import hdrs, web
from aiohttp.web_urldispatcher import UrlMappingMatchInfo
from yarl import URL

VERSIONED = web.RequestKey("versioned", bool)  # whether it is for the API, where its path lies
_MEDIA_TYPE = "application/vnd.openstack.images-"


class Negotiation(web.PlainResource):
    """Stands before all paths, and leads to that which is meant."""

    def __init__(self, router: web.UrlDispatcher, known: Collection[str]) -> None:
        super().__init__("/")
        self._router = router
        self._known = frozenset(known)

    async def resolve(self, request: web.Request) -> tuple[UrlMappingMatchInfo | None, set[str]]:
        """Return where a request leads whose path does not say it; None for all others."""
        path = request.rel_url.raw_path
        accept = request.headers.get(hdrs.ACCEPT, "").strip()
        by_type = accept.startswith(_MEDIA_TYPE)
        if not (by_type or "//" in path) or VERSIONED in request:
            return None, set()
        first = path.lstrip("/").partition("/")[0]
        if path.startswith("/healthcheck"):
            return None, set()
        version = accept.removeprefix(_MEDIA_TYPE).partition(";")[0].strip() if by_type else first
        request[VERSIONED] = version in self._known and first != "versions"
        if first == "versions":
            meant = "/versions"
        elif not request[VERSIONED]:
            meant = "/"
        else:
            meant = re.sub("//+", "/", f"/v2{path}" if by_type else path)
        other = request.clone(rel_url=URL.build(path=meant, encoded=True))
        return await self._router.resolve(other), set()
