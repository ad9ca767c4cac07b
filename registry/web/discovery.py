"""What clients ask before they do anything: versions, schemas, abilities."""

from __future__ import annotations

from typing import Any

from aiohttp import hdrs, web

from registry.domain.schemas import (
    Formats,
    image_schema,
    images_schema,
    member_schema,
    members_schema,
    task_schema,
    tasks_schema,
)
from registry.web.bodies import json_response, refuse_body
from registry.web.links import root_of

# What Glance tells of itself without a cache, in its order: with several stores, and with one.
CURRENT_VERSION = "2.17"
_OLD = (CURRENT_VERSION, *(f"2.{minor}" for minor in range(7, -1, -1)))
_WITH_SEVERAL = ("2.15", "2.13", "2.12", "2.11", "2.10", "2.9", "2.8", *_OLD)
_WITH_ONE = ("2.15", "2.9", *_OLD)


class DiscoveryHandlers:
    """`/`, `/versions`, `/v2/schemas/…` and `/v2/info/…`."""

    def __init__(
        self, formats: Formats, public_endpoint: str | None, *, several_stores: bool
    ) -> None:
        self.known_versions = _WITH_SEVERAL if several_stores else _WITH_ONE
        self._image_schema = image_schema(formats)
        self._images_schema = images_schema(formats)
        self._member_schema = member_schema()
        self._members_schema = members_schema()
        self._task_schema = task_schema()
        self._tasks_schema = tasks_schema()
        self._public_endpoint = public_endpoint

    async def choices(self, request: web.Request) -> web.Response:
        """GET /, and any path that names no version: 300."""
        return json_response(self._versions(request), status=300)

    async def versions(self, request: web.Request) -> web.Response:
        """GET /versions, and any other method."""
        return json_response(self._versions(request))

    async def entrance(self, request: web.Request) -> web.Response:
        """/v2, and any other version: 302 to what is told of all of them."""
        location = f"{root_of(request)}/v2/"
        return web.Response(status=302, text="", headers={hdrs.LOCATION: location})

    def _versions(self, request: web.Request) -> dict[str, Any]:
        base = self._public_endpoint or root_of(request)
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

    async def task_schema(self, request: web.Request) -> web.Response:
        """GET /v2/schemas/task."""
        refuse_body(request)
        return json_response(self._task_schema)

    async def tasks_schema(self, request: web.Request) -> web.Response:
        """GET /v2/schemas/tasks."""
        refuse_body(request)
        return json_response(self._tasks_schema)
