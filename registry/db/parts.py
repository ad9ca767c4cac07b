"""Rows of the parts of uploads that may be continued.

Every function runs in its caller's transaction, and leaves alone what others hold.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from registry.db.database import Connection
from registry.db.tables import image_upload_parts as parts
from registry.db.uploads import UploadRow, take_upload


@dataclass(frozen=True, slots=True)
class PartRow:
    """An object with `size` bytes of an upload from `start` on, at `url`; None: it is not complete."""

    name: str
    start: int
    size: int | None = None
    url: str | None = None


async def get_parts(connection: Connection, image_id: str) -> tuple[PartRow, ...]:
    """Return the parts of an upload, in the order of its bytes."""
    question = sa.select(parts.c.name, parts.c.start, parts.c.size, parts.c.value)
    rows = await connection.execute(
        question.where(parts.c.image_id == image_id).order_by(parts.c.start, parts.c.name)
    )
    return tuple(PartRow(*row) for row in rows)


async def add_part(connection: Connection, upload: UploadRow, part: PartRow, seconds: int) -> bool:
    """Note a part before there is anything of it; False if the upload is not the holder's."""
    if not await take_upload(connection, upload, upload.holder, seconds):
        return False
    row = {"name": part.name, "image_id": upload.image_id, "start": part.start}
    await connection.execute(parts.insert().values(row))
    return True


async def complete_part(
    connection: Connection, upload: UploadRow, part: PartRow, seconds: int
) -> bool:
    """Note that a part is there; False if the upload is not the holder's."""
    if not await take_upload(connection, upload, upload.holder, seconds):
        return False
    await connection.execute(
        parts.update().where(parts.c.name == part.name).values(size=part.size, value=part.url)
    )
    return True


async def forget_part(connection: Connection, name: str) -> None:
    """Forget a part of which nothing is left."""
    await connection.execute(parts.delete().where(parts.c.name == name))


async def forget_parts(connection: Connection, image_id: str) -> tuple[PartRow, ...]:
    """Forget all parts of an upload, and return them."""
    found = await get_parts(connection, image_id)
    await connection.execute(parts.delete().where(parts.c.image_id == image_id))
    return found
