"""Images by their content over HTTP: `/v2/cacheproxy/content/{name}`; docs/content.md is the contract."""

from __future__ import annotations

from aiohttp import web

from registry.service.content import ContentSearch
from registry.web.bodies import json_response, refuse_body
from registry.web.identity import IDENTITY


class ContentHandlers:
    """The search."""

    def __init__(self, search: ContentSearch) -> None:
        self._search = search

    async def find(self, request: web.Request) -> web.Response:
        """GET: 200, also where no image has it."""
        refuse_body(request)
        name = request.match_info["content"]
        return json_response(await self._search.find(request[IDENTITY], name, request.query))
