"""Finds images by their content, in all projects: for administrators."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlencode

from registry.db.content import images_with_content
from registry.db.database import Database
from registry.domain import access
from registry.domain.content import ContentName
from registry.domain.documents import Document, image_document
from registry.domain.identity import Identity
from registry.domain.limits import Limits
from registry.domain.listing import parse_limit
from registry.domain.validation import check_text
from registry.service.places import Places


class ContentSearch:
    """Which images have this content."""

    def __init__(self, database: Database, places: Places, limits: Limits) -> None:
        self._database = database
        self._places = places
        self._limits = limits

    async def find(self, identity: Identity, name: str, parameters: Mapping[str, str]) -> Document:
        """Return a page of them, in the order of their ids: `limit` of them, behind `marker`."""
        access.require_content_search(identity)
        content = ContentName.parse(name)
        limit = parse_limit(parameters.get("limit"), self._limits)
        marker = parameters.get("marker", "").lower()
        check_text(marker)
        # One more tells whether there is a next page.
        found = await self._database.query(images_with_content, content, marker, limit + 1)
        shown = found[:limit]
        document: Document = {
            "images": [
                image_document(identity, image, self._places.document(identity, image))
                for image in shown
            ]
        }
        if shown and len(found) > limit:
            query = urlencode({"limit": limit, "marker": shown[-1].id})
            document["next"] = f"/v2/cacheproxy/content/{quote(name, safe=':')}?{query}"
        return document
