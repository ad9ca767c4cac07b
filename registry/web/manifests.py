"""Manifests of images over HTTP: `/v2/images/{id}/manifest`; docs/manifest.md is the contract."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import hdrs, web

from backends.manifest import MEDIA_TYPE, REQUEST_PAGES_MAX, ManifestShape
from registry.domain.errors import InvalidRequestError
from registry.service.manifests import Manifests
from registry.web.bodies import refuse_body
from registry.web.conditions import is_unchanged
from registry.web.identity import IDENTITY

# It never changes, but who may read it does: to be kept by its reader only, and asked for anew.
_CACHE_CONTROL = "private, no-cache"


class ManifestHandlers:
    """Root documents and pages."""

    def __init__(self, manifests: Manifests) -> None:
        self._manifests = manifests

    async def manifest(self, request: web.Request) -> web.Response:
        """GET and HEAD: 200 or 304; with `page` (and `pages`) the pages, else the root document."""
        refuse_body(request)
        published = await self._manifests.find(request[IDENTITY], request.match_info["image_id"])
        wanted = wanted_pages(dict(request.query.items()), published.shape)
        part = f"/{wanted.start}+{len(wanted)}" if wanted else ""
        headers = {
            hdrs.ETAG: f'"{published.name}{part}"',
            hdrs.CACHE_CONTROL: _CACHE_CONTROL,
        }
        if is_unchanged(request.headers, headers[hdrs.ETAG]):
            return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
        if wanted is None:
            body = await self._manifests.root(published)
        else:
            body = await self._manifests.pages(published, wanted)
        return web.Response(body=body, content_type=MEDIA_TYPE, headers=headers)


def wanted_pages(query: Mapping[str, str], shape: ManifestShape) -> range | None:
    """Return the pages that a query string asks for, None for the root document."""
    if "page" not in query:
        if "pages" in query:
            raise InvalidRequestError("pages says how many, from page on: page is missing.")
        return None
    if not shape.page_count:
        raise InvalidRequestError("The manifest of an empty image has no pages.")
    first = _number("page", query["page"], 0, shape.page_count - 1)
    most = min(REQUEST_PAGES_MAX, shape.page_count - first)
    return range(first, first + _number("pages", query.get("pages", "1"), 1, most))


def _number(name: str, text: str, least: int, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
        raise InvalidRequestError(f"{name} must be a number from {least} to {most} here.")
    return int(text)
