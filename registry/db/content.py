"""Images by their content; every question reads an index."""

from __future__ import annotations

import sqlalchemy as sa

from registry.db.database import Connection
from registry.db.images import image_columns, load_images
from registry.db.tables import images
from registry.domain.content import ContentName
from registry.domain.image import Image


async def images_with_content(
    connection: Connection, content: ContentName, marker: str, limit: int
) -> list[Image]:
    """Return images of all projects, in the order of their ids, those behind `marker`."""
    question = sa.select(*image_columns()).where(
        _has(content), ~images.c.deleted, images.c.id > marker
    )
    rows = await connection.execute(question.order_by(images.c.id).limit(limit))
    return await load_images(connection, rows.all())


def _has(content: ContentName) -> sa.ColumnElement[bool]:
    if content.algorithm is None:
        return images.c.os_manifest == content.value
    if content.algorithm == "md5":
        return images.c.checksum == content.value
    return (images.c.os_hash_value == content.value) & (images.c.os_hash_algo == content.algorithm)
