"""The projects that images are shared with, over HTTP."""

from __future__ import annotations

from aiohttp import web

from registry.service.members import Members
from registry.web.bodies import json_response, read_json, refuse_body
from registry.web.identity import IDENTITY


class MemberHandlers:
    """`/v2/images/{id}/members` and `/v2/images/{id}/members/{member}`."""

    def __init__(self, members: Members) -> None:
        self._members = members

    async def add(self, request: web.Request) -> web.Response:
        """POST /v2/images/{id}/members: 200, as Glance answers."""
        body = await read_json(request)
        image_id = request.match_info["image_id"]
        return json_response(await self._members.add(request[IDENTITY], image_id, body))

    async def list(self, request: web.Request) -> web.Response:
        """GET /v2/images/{id}/members."""
        refuse_body(request)
        image_id = request.match_info["image_id"]
        return json_response(await self._members.list(request[IDENTITY], image_id))

    async def show(self, request: web.Request) -> web.Response:
        """GET /v2/images/{id}/members/{member}."""
        refuse_body(request)
        image_id, member = request.match_info["image_id"], request.match_info["member"]
        return json_response(await self._members.show(request[IDENTITY], image_id, member))

    async def answer(self, request: web.Request) -> web.Response:
        """PUT /v2/images/{id}/members/{member}."""
        body = await read_json(request)
        image_id, member = request.match_info["image_id"], request.match_info["member"]
        return json_response(await self._members.answer(request[IDENTITY], image_id, member, body))

    async def remove(self, request: web.Request) -> web.Response:
        """DELETE /v2/images/{id}/members/{member}."""
        refuse_body(request)
        image_id, member = request.match_info["image_id"], request.match_info["member"]
        await self._members.remove(request[IDENTITY], image_id, member)
        return web.Response(status=204)
