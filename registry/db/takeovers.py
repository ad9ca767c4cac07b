"""Rows of images that were taken over from a Glance.  Every function runs in its caller's transaction.

Beside an image stands what Glance told when it was taken, and what was made of that here: so a later
run knows who has changed it since.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from registry.db.changes import add_change
from registry.db.database import Connection
from registry.db.images import add_image, add_location, get_image, save_image
from registry.db.members import add_member, list_members
from registry.db.tables import image_locations, image_members, image_takeovers, images
from registry.domain.changes import kind_of
from registry.domain.image import Image
from registry.domain.member import Member


@dataclass(frozen=True, slots=True)
class Held:
    """What the catalog has under an id: `image` is None if nothing, or if it was deleted here.

    `told` and `kept` are the marks of when it was taken over, None if it was not.
    """

    image: Image | None
    members: tuple[Member, ...] = ()
    is_deleted: bool = False
    told: str | None = None
    kept: str | None = None


async def get_held(connection: Connection, image_id: str) -> Held:
    """Return what there is under an id."""
    question = (
        sa.select(images.c.deleted, image_takeovers.c.told, image_takeovers.c.kept)
        .select_from(images.outerjoin(image_takeovers))
        .where(images.c.id == image_id)
    )
    row = (await connection.execute(question)).one_or_none()
    if row is None:
        return Held(None)
    if row.deleted:
        return Held(None, (), True, row.told, row.kept)
    image = await get_image(connection, image_id)
    members = await list_members(connection, image_id)
    return Held(image, tuple(members), False, row.told, row.kept)


async def taken_ids(connection: Connection) -> list[str]:
    """Return the ids of all images that were taken over and are still there."""
    question = sa.select(image_takeovers.c.image_id).join(images).where(~images.c.deleted)
    return list((await connection.execute(question)).scalars())


async def add_taken(
    connection: Connection, image: Image, members: Sequence[Member], told: str, kept: str
) -> None:
    """Insert an image that the catalog does not know."""
    await add_image(connection, image)
    await _add_children(connection, image, members)
    row = {"image_id": image.id, "told": told, "kept": kept}
    await connection.execute(image_takeovers.insert().values(row))


async def replace_taken(  # noqa: PLR0913, PLR0917  # what was, and what is to be
    connection: Connection,
    before: Image,
    image: Image,
    members: Sequence[Member],
    told: str,
    kept: str,
) -> None:
    """Write what Glance tells now over what it told before; what was computed of its data stays."""
    await save_image(connection, replace(image, version=before.version))
    columns = ("size", "virtual_size", "checksum", "os_hash_algo", "os_hash_value")
    values = {name: getattr(image, name) for name in columns if getattr(image, name) is not None}
    await connection.execute(
        images.update().where(images.c.id == image.id).values(status=image.status, **values)
    )
    if all(place in before.locations for place in image.locations):
        image = replace(image, locations=())  # beside copies that were made since
    else:
        gone = image_locations.delete().where(image_locations.c.image_id == image.id)
        await connection.execute(gone)
    gone = image_members.delete().where(image_members.c.image_id == image.id)
    await connection.execute(gone)
    change = None if before.status is image.status else kind_of(before.status, image.status)
    if change is not None:
        await add_change(connection, image.id, change)
    await _add_children(connection, image, members)
    await connection.execute(
        image_takeovers.update()
        .where(image_takeovers.c.image_id == image.id)
        .values(told=told, kept=kept)
    )


async def _add_children(connection: Connection, image: Image, members: Sequence[Member]) -> None:
    for place in image.locations:
        await add_location(connection, image.id, place)
    for member in members:
        await add_member(connection, member)
