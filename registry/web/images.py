"""Records of images, their tags and what is done to them, over HTTP."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from registry.domain.patches import require_media_type
from registry.service.images import Images
from registry.web.bodies import json_response, media_type, read_json, refuse_body
from registry.web.identity import IDENTITY
from registry.web.links import server_of
from registry.web.query import parameters


class ImageHandlers:
    """`/v2/images`, `/v2/images/{id}`, and its `/actions/…` and `/tags/{tag}`."""

    def __init__(self, images: Images, import_methods: Sequence[str] = ()) -> None:
        self._images = images
        self._import_methods = ",".join(import_methods)

    async def create(self, request: web.Request) -> web.Response:
        """POST /v2/images."""
        document = await self._images.create(request[IDENTITY], await read_json(request))
        headers = {"Location": f"{server_of(request)}{document['self']}"}
        if self._import_methods:
            headers["OpenStack-image-import-methods"] = self._import_methods
        if self._images.stores:
            headers["OpenStack-image-store-ids"] = ",".join(self._images.stores)
        return json_response(document, status=201, headers=headers)

    async def list(self, request: web.Request) -> web.Response:
        """GET /v2/images."""
        return json_response(await self._images.list(request[IDENTITY], parameters(request)))

    async def show(self, request: web.Request) -> web.Response:
        """GET /v2/images/{id}."""
        refuse_body(request)
        image_id = request.match_info["image_id"]
        return json_response(await self._images.show(request[IDENTITY], image_id))

    async def patch(self, request: web.Request) -> web.Response:
        """PATCH /v2/images/{id}."""
        sent_type = media_type(request)
        require_media_type(sent_type)
        body = await read_json(request)
        image_id = request.match_info["image_id"]
        return json_response(await self._images.patch(request[IDENTITY], image_id, sent_type, body))

    async def delete(self, request: web.Request) -> web.Response:
        """DELETE /v2/images/{id}."""
        refuse_body(request)
        await self._images.delete(request[IDENTITY], request.match_info["image_id"])
        return web.Response(status=204)

    async def deactivate(self, request: web.Request) -> web.Response:
        """POST /v2/images/{id}/actions/deactivate."""
        refuse_body(request)
        await self._images.deactivate(request[IDENTITY], request.match_info["image_id"])
        return web.Response(status=204)

    async def reactivate(self, request: web.Request) -> web.Response:
        """POST /v2/images/{id}/actions/reactivate."""
        refuse_body(request)
        await self._images.reactivate(request[IDENTITY], request.match_info["image_id"])
        return web.Response(status=204)

    async def add_tag(self, request: web.Request) -> web.Response:
        """PUT /v2/images/{id}/tags/{tag}."""
        refuse_body(request)
        image_id, tag = request.match_info["image_id"], request.match_info["tag"]
        await self._images.add_tag(request[IDENTITY], image_id, tag)
        return web.Response(status=204)

    async def remove_tag(self, request: web.Request) -> web.Response:
        """DELETE /v2/images/{id}/tags/{tag}."""
        refuse_body(request)
        image_id, tag = request.match_info["image_id"], request.match_info["tag"]
        await self._images.remove_tag(request[IDENTITY], image_id, tag)
        return web.Response(status=204)
