"""What clients ask before they do anything: versions, schemas, abilities, health."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from registry.domain.schemas import (
    Formats,
    image_schema,
    images_schema,
    member_schema,
    members_schema,
)
from registry.web.bodies import json_response, refuse_body

# What Glance tells of itself without a cache, newest first: with several stores, and with one.
CURRENT_VERSION = "2.17"
_OLD = tuple(f"2.{minor}" for minor in range(7, -1, -1))
_WITH_SEVERAL = (CURRENT_VERSION, "2.15", "2.13", "2.12", "2.11", "2.10", "2.9", "2.8", *_OLD)
_WITH_ONE = (CURRENT_VERSION, "2.15", "2.9", *_OLD)


class DiscoveryHandlers:
    """`/`, `/versions`, `/v2/schemas/…`, `/v2/info/…` and `/healthcheck`."""

    def __init__(
        self, formats: Formats, public_endpoint: str | None, *, several_stores: bool
    ) -> None:
        self.known_versions = _WITH_SEVERAL if several_stores else _WITH_ONE
        self._image_schema = image_schema(formats)
        self._images_schema = images_schema(formats)
        self._member_schema = member_schema()
        self._members_schema = members_schema()
        self._public_endpoint = public_endpoint

    async def choices(self, request: web.Request) -> web.Response:
        """GET /, and any path that names no version: 300."""
        return json_response(self._versions(request), status=300)

    async def versions(self, request: web.Request) -> web.Response:
        """GET /versions."""
        return json_response(self._versions(request))

    def _versions(self, request: web.Request) -> dict[str, Any]:
        base = self._public_endpoint or f"{request.scheme}://{request.host}"
        link = {"rel": "self", "href": f"{base.rstrip('/')}/v2/"}
        return {
            "versions": [
                {
                    "id": f"v{version}",
                    "status": "CURRENT" if version == CURRENT_VERSION else "SUPPORTED",
                    "links": [link],
                }
                for version in self.known_versions
            ]
        }

    async def image_schema(self, request: web.Request) -> web.Response:
        """GET /v2/schemas/image."""
        refuse_body(request)
        return json_response(self._image_schema)

    async def images_schema(self, request: web.Request) -> web.Response:
        """GET /v2/schemas/images."""
        refuse_body(request)
        return json_response(self._images_schema)

    async def member_schema(self, request: web.Request) -> web.Response:
        """GET /v2/schemas/member."""
        refuse_body(request)
        return json_response(self._member_schema)

    async def members_schema(self, request: web.Request) -> web.Response:
        """GET /v2/schemas/members."""
        refuse_body(request)
        return json_response(self._members_schema)

    async def import_methods(self, request: web.Request) -> web.Response:
        """GET /v2/info/import: clients fall back to plain uploads where there is no method."""
        refuse_body(request)
        methods = {"description": "Import methods available.", "type": "array", "value": []}
        return json_response({"import-methods": methods})

    async def health(self, _request: web.Request) -> web.Response:
        """GET /healthcheck."""
        return web.Response(text="OK")
