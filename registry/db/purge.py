"""Takes the rows of images away that were deleted long ago."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from registry.db.database import Connection
from registry.db.tables import METADATA, images
from registry.domain.status import Status


async def purge_images(connection: Connection, before: datetime, most: int) -> int:
    """Remove up to `most` images that were deleted before a moment, the oldest first; say how many.

    With the row goes what keeps the id from being used again.
    """
    # What is only to be deleted still has its data.
    is_gone = images.c.status != Status.PENDING_DELETE
    is_old = [images.c.deleted, is_gone, images.c.deleted_at < before]
    question = sa.select(images.c.id).where(*is_old).order_by(images.c.deleted_at).limit(most)
    ids = (await connection.execute(question)).scalars().all()
    if not ids:
        return 0
    for table in METADATA.sorted_tables:
        for key in table.foreign_keys:
            if key.column is images.c.id:
                await connection.execute(table.delete().where(key.parent.in_(ids)))
    answer = await connection.execute(images.delete().where(images.c.id.in_(ids), *is_old))
    return int(answer.rowcount)
