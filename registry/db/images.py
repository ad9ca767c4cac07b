"""Rows of images in and out: records of the domain in, records of the domain out.

Every function runs in its caller's transaction.  A deleted image is nowhere to be seen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from registry.db.changes import add_change
from registry.db.database import Connection
from registry.db.tables import (
    image_locations,
    image_manifest_pages,
    image_members,
    image_properties,
    image_tags,
    images,
)
from registry.domain.changes import kind_of
from registry.domain.errors import ConflictError
from registry.domain.fields import CHANGEABLE
from registry.domain.image import Image, ImageLocation, Visibility
from registry.domain.status import Status, require_transition

_COLUMNS = tuple(
    column for column in images.columns if column.name not in {"deleted", "deleted_at"}
)
_CHANGEABLE_COLUMNS = CHANGEABLE - {"tags"}


async def add_image(connection: Connection, image: Image) -> None:
    """Insert a new image; its id must never have been used, not even by one deleted since."""
    row = {column.name: getattr(image, column.name) for column in _COLUMNS}
    try:
        await connection.execute(images.insert().values(row | {"deleted": False}))
    except IntegrityError:
        raise ConflictError(f"Image ID {image.id} already exists!") from None
    await _add_children(connection, image)


async def get_image(
    connection: Connection, image_id: str, *, for_update: bool = False
) -> Image | None:
    """Return an image, in a writing transaction also locked against other writers."""
    question = sa.select(*_COLUMNS).where(images.c.id == image_id, ~images.c.deleted)
    if for_update:
        question = question.with_for_update()
    row = (await connection.execute(question)).one_or_none()
    return None if row is None else (await load_images(connection, [row]))[0]


async def save_image(connection: Connection, image: Image) -> None:
    """Write what clients may change, and the time of the change."""
    row = {name: getattr(image, name) for name in _CHANGEABLE_COLUMNS}
    row["updated_at"] = image.updated_at
    await connection.execute(images.update().where(images.c.id == image.id).values(row))
    for table in (image_properties, image_tags):
        await connection.execute(table.delete().where(table.c.image_id == image.id))
    await _add_children(connection, image)


async def move_image(
    connection: Connection,
    image_id: str,
    now: Status,
    then: Status,
    moment: datetime,
    **values: Any,
) -> bool:
    """Change an image's status, and `values` with it; False if it is not (any more) in `now`.

    What that means for its data is told in the feed of changes.
    """
    require_transition(now, then)
    if then is Status.QUEUED:
        values = {"size": None, "virtual_size": None, **values}
    answer = await connection.execute(
        images.update()
        .where(images.c.id == image_id, images.c.status == now, ~images.c.deleted)
        .values(status=then, updated_at=moment, **values)
    )
    if answer.rowcount != 1:
        return False
    kind = kind_of(now, then)
    if kind is not None:
        await add_change(connection, image_id, kind)
    return True


async def add_location(connection: Connection, image_id: str, location: ImageLocation) -> None:
    """Note where (more of) the data of an image is."""
    await connection.execute(
        image_locations.insert().values(
            image_id=image_id, value=location.url, meta_data=location.metadata
        )
    )


async def remove_location(connection: Connection, image_id: str, location: ImageLocation) -> None:
    """Forget one of the places of an image's data."""
    await connection.execute(
        image_locations.delete().where(
            image_locations.c.image_id == image_id, image_locations.c.value == location.url
        )
    )


async def delete_image(connection: Connection, image: Image, moment: datetime) -> None:
    """Delete an image that this transaction has locked; its row stays, so that its id is used up."""
    await move_image(
        connection,
        image.id,
        image.status,
        Status.DELETED,
        moment,
        deleted=True,
        deleted_at=moment,
    )
    for table in (
        *(image_properties, image_tags, image_members, image_locations),
        image_manifest_pages,
    ):
        await connection.execute(table.delete().where(table.c.image_id == image.id))


async def load_images(connection: Connection, rows: Sequence[sa.Row[Any]]) -> list[Image]:
    """Complete rows of `image_columns` to images, in a question for each table however many they are."""
    ids = [row.id for row in rows]
    if not ids:
        return []
    tags: dict[str, list[str]] = defaultdict(list)
    for tag in await _children(connection, image_tags, ids):
        tags[tag.image_id].append(tag.value)
    properties: dict[str, dict[str, str | None]] = defaultdict(dict)
    for item in await _children(connection, image_properties, ids):
        properties[item.image_id][item.name] = item.value
    locations: dict[str, list[ImageLocation]] = defaultdict(list)
    for place in await _children(connection, image_locations, ids):
        locations[place.image_id].append(ImageLocation(place.value, place.meta_data))
    members: dict[str, list[str]] = defaultdict(list)
    shared = [row.id for row in rows if row.visibility == Visibility.SHARED]
    for member in await _children(connection, image_members, shared):
        members[member.image_id].append(member.member)
    return [
        Image(
            **{
                **row._mapping,  # noqa: SLF001  # SQLAlchemy's documented way to a row's names
                "status": Status(row.status),
                "visibility": Visibility(row.visibility),
            },
            tags=tuple(sorted(tags[row.id])),
            properties=properties[row.id],
            locations=tuple(locations[row.id]),
            members=tuple(members[row.id]),
        )
        for row in rows
    ]


def image_columns() -> tuple[sa.Column[Any], ...]:
    """Return what `load_images` needs selected."""
    return _COLUMNS


async def _children(
    connection: Connection, table: sa.Table, ids: Sequence[str]
) -> Sequence[sa.Row[Any]]:
    if not ids:
        return ()
    question = sa.select(table).where(table.c.image_id.in_(ids))
    return (await connection.execute(question.order_by(*table.primary_key))).all()


async def _add_children(connection: Connection, image: Image) -> None:
    tags = [{"image_id": image.id, "value": value} for value in image.tags]
    if tags:
        await connection.execute(image_tags.insert(), tags)
    properties = [
        {"image_id": image.id, "name": name, "value": value}
        for name, value in image.properties.items()
    ]
    if properties:
        await connection.execute(image_properties.insert(), properties)
