"""Rows of images in and out: records of the domain in, records of the domain out.

Every function runs in its caller's transaction.  A deleted image is nowhere to be seen.

What was read of an image and is written back is written on the version that was read: otherwise
the transaction was overtaken, and `Database.change` runs it again.  Locks merely make that rare.
"""

from __future__ import annotations

import json
import operator
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from registry.db.changes import add_change
from registry.db.database import Connection
from registry.db.discards import admit_place
from registry.db.failures import OvertakenError
from registry.db.jobs import hurry_jobs
from registry.db.quotas import release
from registry.db.tables import (
    image_locations,
    image_manifest_pages,
    image_members,
    image_properties,
    image_tags,
    images,
)
from registry.db.uploads import give_up_upload
from registry.domain.changes import kind_of
from registry.domain.errors import ConflictError
from registry.domain.fields import CHANGEABLE
from registry.domain.image import Image, ImageLocation, Visibility
from registry.domain.locations import STORE
from registry.domain.status import GONE, ON_ITS_WAY, Status, require_transition

_COLUMNS = tuple(
    column for column in images.columns if column.name not in {"deleted", "deleted_at"}
)
_CHANGEABLE_COLUMNS = CHANGEABLE - {"tags"}
_NAMES = tuple(column.name for column in _COLUMNS)
_WIDTH = len(_COLUMNS)
_Part: TypeAlias = Sequence[Any]  # kind, number, name, value, and what else there is
_PLACE = operator.itemgetter(0, 1, 2)
_PROPERTY, _TAG, _LOCATION, _MEMBER = range(4)


def _parts(condition: Callable[[sa.Column[Any]], sa.ColumnElement[bool]]) -> sa.CompoundSelect[Any]:
    """Return the question for what belongs to the images whose ids the condition is true of.

    One question for all kinds, as each costs more than what is asked.
    """
    zero, empty = sa.literal_column("0", sa.Integer), sa.literal_column("''", sa.String)
    none = sa.cast(sa.null(), sa.Text)
    names, tags, places = image_properties.c, image_tags.c, image_locations.c
    metadata = sa.cast(places.meta_data, sa.Text)
    kinds = (
        (_PROPERTY, names.image_id, zero, names.name, names.value, none),
        (_TAG, tags.image_id, zero, tags.value, none, none),
        (_LOCATION, places.image_id, places.id, empty, places.value, metadata),
        (_MEMBER, image_members.c.image_id, zero, image_members.c.member, none, none),
    )
    labels = ("number", "name", "value", "more")
    return sa.union_all(
        *(
            sa.select(
                image_id.label("image_id"),
                sa.literal_column(str(kind), sa.Integer).label("kind"),
                *(column.label(label) for column, label in zip(columns, labels, strict=True)),
            ).where(condition(image_id))
            for kind, image_id, *columns in kinds
        )
    )


def _one() -> sa.Select[Any]:
    """Return the question for an image and its parts: a row for each, or one with an empty one."""
    parts = _parts(lambda column: column == sa.bindparam("id")).subquery()
    columns = [column for column in parts.c if column.name != "image_id"]
    both = images.outerjoin(parts, parts.c.image_id == images.c.id)
    return sa.select(*_COLUMNS, *columns).select_from(both).where(*_THIS)


_THIS = (images.c.id == sa.bindparam("id"), ~images.c.deleted)
_ONE = _one()
_ONE_LOCKED = sa.select(*_COLUMNS).where(*_THIS).with_for_update()
_PARTS = _parts(lambda column: column.in_(sa.bindparam("ids", expanding=True)))


async def add_image(connection: Connection, image: Image) -> None:
    """Insert a new image; its id must never have been used, not even by one deleted since."""
    row = {column.name: getattr(image, column.name) for column in _COLUMNS}
    try:
        await connection.execute(images.insert().values(_stored(row) | {"deleted": False}))
    except IntegrityError:
        raise ConflictError(f"Image ID {image.id} already exists!") from None
    await _add_children(connection, image)


async def get_image(
    connection: Connection, image_id: str, *, for_update: bool = False
) -> Image | None:
    """Return an image, in a writing transaction also locked against others of the same server."""
    if "\0" in image_id:
        return None  # PostgreSQL has no such text, not even in a question
    if for_update:
        row = (await connection.execute(_ONE_LOCKED, {"id": image_id})).one_or_none()
        return None if row is None else (await load_images(connection, [row]))[0]
    rows = (await connection.execute(_ONE, {"id": image_id})).all()
    return _image(rows[0], [row[_WIDTH:] for row in rows]) if rows else None


async def save_image(connection: Connection, image: Image) -> Image:
    """Write what clients may change, and the time of the change; return the image as it is then.

    `OvertakenError`: it is not (any more) the image that was read.
    """
    row = {name: getattr(image, name) for name in _CHANGEABLE_COLUMNS}
    await _write(connection, image, updated_at=image.updated_at, **row)
    for table in (image_properties, image_tags):
        await connection.execute(table.delete().where(table.c.image_id == image.id))
    await _add_children(connection, image)
    return replace(image, version=image.version + 1)


async def move_image(
    connection: Connection,
    image_id: str,
    now: Status,
    then: Status,
    moment: datetime,
    **values: Any,
) -> bool:
    """Change an image's status, and `values` with it; False if it is not (any more) in `now`.

    What that means for its data is told in the feed of changes; what was reserved for data on its
    way is released.
    """
    require_transition(now, then)
    if then is Status.QUEUED:
        values = {"size": None, "virtual_size": None, **values}
    answer = await connection.execute(
        images.update()
        .where(images.c.id == image_id, images.c.status == now, ~images.c.deleted)
        .values(status=then, updated_at=moment, version=images.c.version + 1, **values)
    )
    if answer.rowcount != 1:
        return False
    if now is Status.QUEUED:  # places that are left of data which was refused
        await save_locations(connection, image_id, ())
    if then in GONE or (now in ON_ITS_WAY and then not in ON_ITS_WAY):
        await release(connection, image_id)
    kind = kind_of(now, then)
    if kind is not None:
        await add_change(connection, image_id, kind)
    return True


async def save_locations(
    connection: Connection, image_id: str, places: Sequence[ImageLocation]
) -> None:
    """Write the places of an image's data, in their order, instead of those that there were.

    The image's row is the caller's to change in the same transaction.
    """
    await connection.execute(image_locations.delete().where(image_locations.c.image_id == image_id))
    for place in places:
        await add_location(connection, image_id, place)


async def places_naming(connection: Connection, name: str) -> list[ImageLocation]:
    """Return places of any images whose addresses have a name in them.  Reads all places there are."""
    question = sa.select(image_locations.c.value, image_locations.c.meta_data).where(
        image_locations.c.value.contains(name, autoescape=True)
    )
    return [ImageLocation(*row) for row in await connection.execute(question)]


async def places_by_store(connection: Connection) -> list[tuple[str, int, str]]:
    """Return how many images have data in each store that records name, and one of the places.

    Reads all places there are.
    """
    store = image_locations.c.meta_data[STORE].as_string()
    count = sa.func.count(image_locations.c.image_id.distinct())
    question = sa.select(store, count, sa.func.min(image_locations.c.value))
    rows = await connection.execute(question.where(store.is_not(None)).group_by(store))
    return [(name, images_there, url) for name, images_there, url in rows]


async def add_location(connection: Connection, image_id: str, location: ImageLocation) -> None:
    """Note where (more of) the data of an image is.

    `ConflictError` while what was in that place before is being deleted.
    """
    await admit_place(connection, image_id, location.url)
    await connection.execute(
        image_locations.insert().values(
            image_id=image_id, value=location.url, meta_data=location.metadata
        )
    )


async def remove_location(connection: Connection, image: Image, location: ImageLocation) -> Image:
    """Forget one of the places of an image's data; return the image as it is then.

    `OvertakenError` as of `save_image`.
    """
    await _write(connection, image)
    mine = (image_locations.c.image_id == image.id, image_locations.c.value == location.url)
    await connection.execute(image_locations.delete().where(*mine))
    left = tuple(place for place in image.locations if place.url != location.url)
    return replace(image, version=image.version + 1, locations=left)


async def hold_image(connection: Connection, image: Image) -> None:
    """Let nobody else change an image or what belongs to it beside this transaction.

    For changes that depend on an image and are not its row's; `OvertakenError` as of `save_image`.
    """
    await _write(connection, image)


async def describe_image(connection: Connection, image: Image, **values: Any) -> Image:
    """Write what the catalog itself has learnt of an image; return the image as it is then.

    `OvertakenError` as of `save_image`.
    """
    await _write(connection, image, **values)
    return replace(image, version=image.version + 1, **values)


async def delete_image(connection: Connection, image: Image, moment: datetime) -> None:
    """Delete an image; its row stays, so that its id is used up until it is purged.

    `OvertakenError`: it is not (any more) the image that was read.
    """
    await _write(connection, image)
    await move_image(
        connection,
        image.id,
        image.status,
        Status.DELETED,
        moment,
        deleted=True,
        deleted_at=moment,
    )
    await delete_children(connection, image.id)
    if image.status is Status.SAVING:
        await give_up_upload(connection, image.id)
    await hurry_jobs(connection, image.id)  # what is owed for it can end


async def delete_children(connection: Connection, image_id: str) -> None:
    """Delete all that belongs to an image but its row."""
    for table in (
        *(image_properties, image_tags, image_members, image_locations),
        image_manifest_pages,
    ):
        await connection.execute(table.delete().where(table.c.image_id == image_id))


async def retire_image(connection: Connection, image: Image, moment: datetime) -> None:
    """Delete an image for all who look, and keep all that is needed to restore it.

    `OvertakenError`: it is not (any more) the image that was read.
    """
    await _write(connection, image)
    await move_image(
        connection,
        image.id,
        image.status,
        Status.PENDING_DELETE,
        moment,
        deleted=True,
        deleted_at=moment,
    )


async def load_images(connection: Connection, rows: Sequence[sa.Row[Any]]) -> list[Image]:
    """Complete rows of `image_columns` to images, by one question however many they are."""
    ids = [row[0] for row in rows]
    if not ids:
        return []
    parts: dict[str, list[_Part]] = defaultdict(list)
    for image_id, *part in await connection.execute(_PARTS, {"ids": ids}):
        parts[image_id].append(part)
    return [_image(row, parts[row[0]]) for row in rows]


def _image(row: Sequence[Any], parts: Iterable[_Part]) -> Image:
    """Put an image together from its row, whose rest is not looked at, and what belongs to it."""
    values = dict(zip(_NAMES, row, strict=False))
    tags: list[str] = []
    properties: dict[str, str | None] = {}
    locations: list[ImageLocation] = []
    members: list[str] = []
    for kind, _, name, value, more in sorted(parts, key=_PLACE):
        if kind == _PROPERTY:
            properties[name] = value
        elif kind == _TAG:
            tags.append(name)
        elif kind == _LOCATION:
            locations.append(ImageLocation(value, json.loads(more)))
        elif kind == _MEMBER and values["visibility"] == Visibility.SHARED:
            members.append(name)
    values["status"] = Status(values["status"])
    values["visibility"] = Visibility(values["visibility"])
    return Image(
        **values,
        tags=tuple(tags),
        properties=properties,
        locations=tuple(locations),
        members=tuple(members),
    )


def image_columns() -> tuple[sa.Column[Any], ...]:
    """Return what `load_images` needs selected."""
    return _COLUMNS


async def _write(connection: Connection, image: Image, **values: Any) -> None:
    """Change the row of an image, if it is still at the version that was read."""
    answer = await connection.execute(
        images.update()
        .where(images.c.id == image.id, images.c.version == image.version, ~images.c.deleted)
        .values(version=image.version + 1, **_stored(values))
    )
    if answer.rowcount != 1:
        raise OvertakenError(f"Image {image.id} is being changed by others.")


def _stored(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return columns as they are stored: an owner without a name is nobody, as in Glance."""
    return {
        name: None if (name, value) == ("owner", "") else value for name, value in values.items()
    }


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
