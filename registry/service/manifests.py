"""Gives out the manifest of an image to whoever may download the image: it is a fingerprint."""

from __future__ import annotations

from dataclasses import dataclass

from backends.manifest import ManifestName, ManifestRoot, ManifestShape
from registry.db.database import Database
from registry.db.images import get_image
from registry.db.manifests import get_page_digests, get_pages
from registry.domain import access
from registry.domain.errors import NotFoundError
from registry.domain.identity import Identity


@dataclass(frozen=True, slots=True)
class Published:
    """The manifest of one image, which its caller may read."""

    image_id: str
    name: ManifestName
    shape: ManifestShape


class Manifests:
    """Manifests as they travel: `backends.manifest`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, identity: Identity, image_id: str) -> Published:
        """Decide whether the caller may read the manifest, and say what there is of it."""
        image = await self._database.ask(get_image, image_id)
        image = access.require_readable(identity, image, image_id)
        if image.os_manifest is None or image.size is None:
            raise NotFoundError(f"Image {image_id} has no manifest.")
        name = ManifestName.parse(image.os_manifest)
        return Published(image.id, name, ManifestShape(image.size, name.chunk_bytes))

    async def root(self, published: Published) -> bytes:
        """Return the root document."""
        digests = await self._database.query(get_page_digests, published.image_id)
        if published.shape.page_count and not digests:
            raise _deleted(published)
        return ManifestRoot(published.shape, digests).pack()

    async def pages(self, published: Published, wanted: range) -> bytes:
        """Return some pages, concatenated; they must be pages of this shape."""
        pages = await self._database.query(get_pages, published.image_id, wanted)
        if not pages:
            raise _deleted(published)
        return pages


def _deleted(published: Published) -> NotFoundError:
    """Return the answer to a question that a deletion overtook; all pages go at once."""
    return NotFoundError(f"No image found with ID {published.image_id}")
