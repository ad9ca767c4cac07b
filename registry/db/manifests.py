"""Rows of manifests.  Every function runs in its caller's transaction."""

from __future__ import annotations

import sqlalchemy as sa

from registry.db.database import Connection
from registry.db.tables import image_manifest_pages as pages
from registry.domain.manifest import ManifestPage

_INSERT_PAGES = 64  # in one statement: 2 MiB, which every database takes as it is set up


async def set_pages(connection: Connection, image_id: str, made: tuple[ManifestPage, ...]) -> None:
    """Keep an image's manifest, instead of what hashing that came to nothing may have left."""
    await remove_pages(connection, image_id)
    rows = [
        {
            "image_id": image_id,
            "number": number,
            "digest": page.digest,
            "chunk_digests": page.chunk_digests,
        }
        for number, page in enumerate(made)
    ]
    for start in range(0, len(rows), _INSERT_PAGES):
        await connection.execute(pages.insert(), rows[start : start + _INSERT_PAGES])


async def remove_pages(connection: Connection, image_id: str) -> None:
    """Forget an image's manifest."""
    await connection.execute(pages.delete().where(pages.c.image_id == image_id))


async def get_page_digests(connection: Connection, image_id: str) -> bytes:
    """Return the digests of all pages, in order, concatenated."""
    question = sa.select(pages.c.digest).where(pages.c.image_id == image_id)
    return b"".join((await connection.execute(question.order_by(pages.c.number))).scalars())


async def get_pages(connection: Connection, image_id: str, numbers: range) -> bytes:
    """Return some pages, those that there are, concatenated."""
    question = sa.select(pages.c.chunk_digests).where(
        pages.c.image_id == image_id,
        pages.c.number >= numbers.start,
        pages.c.number < numbers.stop,
    )
    return b"".join((await connection.execute(question.order_by(pages.c.number))).scalars())
