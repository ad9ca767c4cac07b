"""Locations over HTTP: `/v2/images/{id}/locations`."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web

from registry.service.locating import Locating
from registry.web.bodies import json_response, read_json, refuse_body
from registry.web.identity import IDENTITY
from registry.web.request_id import REQUEST_ID


class LocationHandlers:
    """Adds and tells where the data of an image is."""

    def __init__(self, locating: Locating) -> None:
        self._locating = locating

    async def add(self, request: web.Request) -> web.Response:
        """POST: 202; what is to be hashed is hashed later."""
        body, image_id = await read_json(request), request.match_info["image_id"]
        await self._locating.add(request[IDENTITY], image_id, body, request[REQUEST_ID])
        return web.Response(status=HTTPStatus.ACCEPTED)

    async def list(self, request: web.Request) -> web.Response:
        """GET: the places, as a bare list."""
        refuse_body(request)
        image_id = request.match_info["image_id"]
        return json_response(await self._locating.list(request[IDENTITY], image_id))
