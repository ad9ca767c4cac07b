"""Staging and import over HTTP: `/v2/images/{id}/stage` and `/import`, and which ways there are."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import hdrs, web

from registry.domain.errors import MediaTypeError, NotFoundError
from registry.domain.importing import DIRECT
from registry.imports.requests import Caller, Imports
from registry.imports.staging import Staging
from registry.web.bodies import json_response, media_type, read_json, refuse_body
from registry.web.identity import IDENTITY
from registry.web.image_data import OCTETS, announced_size
from registry.web.incoming import received
from registry.web.request_id import REQUEST_ID


class ImportHandlers:
    """Staging and import."""

    def __init__(self, staging: Staging, imports: Imports) -> None:
        self._staging = staging
        self._imports = imports

    async def methods(self, request: web.Request) -> web.Response:
        """GET /v2/info/import: clients fall back to plain uploads where there is no method."""
        refuse_body(request)
        methods = {
            "description": "Import methods available.",
            "type": "array",
            "value": list(self._imports.methods),
        }
        return json_response({"import-methods": methods})

    async def stage(self, request: web.Request) -> web.Response:
        """PUT /v2/images/{id}/stage: 204 once all data is there."""
        if DIRECT not in self._imports.methods:
            raise NotFoundError("'glance-direct' method is not available at this site.")
        if request.headers.get(hdrs.EXPECT, "100-continue").lower() != "100-continue":
            raise web.HTTPExpectationFailed
        if media_type(request) != OCTETS:
            raise MediaTypeError(f"The data of an image must be sent as {OCTETS}.", (OCTETS,))
        image_id, size = request.match_info["image_id"], announced_size(request)
        await self._staging.stage(request[IDENTITY], image_id, size, received(request))
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def begin(self, request: web.Request) -> web.Response:
        """POST /v2/images/{id}/import: 202, and the work goes on."""
        token = request.headers.get("X-Auth-Token", "").strip() or None
        caller = Caller(request[IDENTITY], request[REQUEST_ID], token)
        body = await read_json(request)
        header = request.headers.get("X-Image-Meta-Store")
        await self._imports.request(caller, request.match_info["image_id"], body, header)
        return web.Response(status=HTTPStatus.ACCEPTED)
