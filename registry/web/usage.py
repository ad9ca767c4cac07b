"""What projects use, over HTTP: `/v2/info/usage`."""

from __future__ import annotations

from aiohttp import web

from registry.quotas.quotas import Quotas
from registry.web.bodies import json_response, refuse_body
from registry.web.identity import IDENTITY


class UsageHandlers:
    """Quotas, as their projects see them."""

    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas

    async def usage(self, request: web.Request) -> web.Response:
        """GET /v2/info/usage."""
        refuse_body(request)
        return json_response({"usage": await self._quotas.usage(request[IDENTITY])})
