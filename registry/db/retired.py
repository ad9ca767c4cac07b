"""Images that are deleted for all who look, and still have their data (pending_delete).

Every function runs in its caller's transaction.
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from registry.db.changes import add_change
from registry.db.clock import moment_in
from registry.db.database import Connection
from registry.db.images import delete_children, image_columns, load_images
from registry.db.tables import images
from registry.domain.changes import ChangeKind
from registry.domain.image import Image
from registry.domain.status import Status

_IS_RETIRED = (images.c.deleted, images.c.status == Status.PENDING_DELETE)


async def retired_images(connection: Connection, seconds: float, most: int) -> list[str]:
    """Return the ids of images that were deleted so long ago or longer, the longest ago first.

    By the database's clock: an instance whose own is wrong ends none before its time.
    """
    question = (
        sa.select(images.c.id)
        .where(*_IS_RETIRED, images.c.deleted_at <= moment_in(-seconds))
        .order_by(images.c.deleted_at)
        .limit(most)
    )
    return list((await connection.execute(question)).scalars())


async def get_retired(connection: Connection, image_id: str) -> Image | None:
    """Return such an image; None if it is none (any more)."""
    question = sa.select(*image_columns()).where(images.c.id == image_id, *_IS_RETIRED)
    row = (await connection.execute(question)).one_or_none()
    return None if row is None else (await load_images(connection, [row]))[0]


async def end_retired(connection: Connection, image: Image) -> bool:
    """Forget all but the id of an image; False if somebody has restored or ended it."""
    answer = await connection.execute(
        images.update()
        .where(images.c.id == image.id, *_IS_RETIRED, images.c.version == image.version)
        .values(status=Status.DELETED, version=image.version + 1)
    )
    if answer.rowcount != 1:
        return False
    await delete_children(connection, image.id)
    return True


async def restore_retired(connection: Connection, image_id: str, moment: datetime) -> bool:
    """Make an image active again; False if it is none that can be restored."""
    answer = await connection.execute(
        images.update()
        .where(images.c.id == image_id, *_IS_RETIRED)
        .values(
            status=Status.ACTIVE,
            deleted=False,
            deleted_at=None,
            updated_at=moment,
            version=images.c.version + 1,
        )
    )
    if answer.rowcount != 1:
        return False
    await add_change(connection, image_id, ChangeKind.DATA)
    return True
