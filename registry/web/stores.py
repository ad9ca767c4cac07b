"""The stores over HTTP: `/v2/info/stores` and `/v2/stores/{store}/{image_id}`."""

from __future__ import annotations

from aiohttp import web

from registry.service.copies import Copies
from registry.service.storeinfo import StoreInfo
from registry.web.bodies import json_response, refuse_body
from registry.web.identity import IDENTITY


class StoreHandlers:
    """What there is of stores, and what lies in them."""

    def __init__(self, info: StoreInfo, copies: Copies) -> None:
        self._info = info
        self._copies = copies

    async def list(self, request: web.Request) -> web.Response:
        """GET /v2/info/stores: 404 where there is one store of each kind, as Glance answers."""
        refuse_body(request)
        return json_response(self._info.list())

    async def detail(self, request: web.Request) -> web.Response:
        """GET /v2/info/stores/detail."""
        refuse_body(request)
        return json_response(self._info.detail(request[IDENTITY]))

    async def remove(self, request: web.Request) -> web.Response:
        """DELETE /v2/stores/{store}/{image_id}: 204; 403 for the last copy."""
        refuse_body(request)
        store, image_id = request.match_info["store"], request.match_info["image_id"]
        await self._copies.remove(request[IDENTITY], store, image_id)
        return web.Response(status=204)
