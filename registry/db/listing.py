"""The list of images as one SQL statement: filters, visibility, order and page."""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from registry.db.database import Connection
from registry.db.images import image_columns, load_images
from registry.db.tables import image_members, image_properties, image_tags, images
from registry.domain.errors import InvalidRequestError
from registry.domain.identity import Identity
from registry.domain.image import Image, Visibility
from registry.domain.listing import Condition, ListQuery, Operator
from registry.domain.status import Status

_SECOND = timedelta(seconds=1)
_NEVER_LISTED = (Status.KILLED, Status.DELETED)
_COMPARE: dict[Operator, Callable[[Any, Any], sa.ColumnElement[bool]]] = {
    "eq": operator.eq,
    "gte": operator.ge,
    "lte": operator.le,
}
# Where NULL stands in an order: before everything.
_LOWEST = {"size": -1}


async def list_images(connection: Connection, query: ListQuery, identity: Identity) -> list[Image]:
    """Return one page, in order."""
    question = sa.select(*image_columns()).where(
        ~images.c.deleted,
        images.c.status.not_in(_NEVER_LISTED),
        _visibility(query, identity),
        *(_condition(condition) for condition in query.conditions),
        *(_property(name, value) for name, value in query.properties),
        *(_tag(value) for value in query.tags),
    )
    if query.marker is not None:
        question = question.where(await _after(connection, query, query.marker))
    for key in query.sort:
        column = _sort_column(key.field)
        question = question.order_by(column.desc() if key.descending else column.asc())
    rows = (await connection.execute(question.limit(query.limit))).all()
    return await load_images(connection, rows)


def _visibility(query: ListQuery, identity: Identity) -> sa.ColumnElement[bool]:
    mine: sa.ColumnElement[bool] = sa.false()
    if identity.project_id is not None:
        mine = images.c.owner == identity.project_id
    if identity.is_admin:
        permitted: sa.ColumnElement[bool] = sa.true()
    else:
        open_to_all = images.c.visibility.in_([Visibility.PUBLIC, Visibility.COMMUNITY])
        permitted = sa.or_(mine, open_to_all, _shared(query, identity))
    if query.visibility == "all":
        return permitted
    if query.visibility is not None:
        return permitted & (images.c.visibility == query.visibility)
    # By default the community images of others are left out, for administrators too.
    return permitted & sa.or_(mine, images.c.visibility != Visibility.COMMUNITY)


def _shared(query: ListQuery, identity: Identity) -> sa.ColumnElement[bool]:
    """Return the condition "shared with the caller, who has answered as the query asks"."""
    if identity.project_id is None:
        return sa.false()
    member = sa.exists().where(
        image_members.c.image_id == images.c.id, image_members.c.member == identity.project_id
    )
    if query.member_status != "all":
        member = member.where(image_members.c.status == query.member_status)
    return (images.c.visibility == Visibility.SHARED) & member


def _condition(condition: Condition) -> sa.ColumnElement[bool]:
    column = images.c[condition.field]
    value = condition.value
    if isinstance(value, tuple):
        return column.in_(value)
    if isinstance(value, datetime):
        return _time_condition(column, condition.operator, value)
    return _COMPARE[condition.operator](column, value)


def _time_condition(
    column: sa.Column[Any], comparison: Operator, second: datetime
) -> sa.ColumnElement[bool]:
    """Compare in whole seconds, as times are shown: what is shown equal is equal."""
    end = second + _SECOND
    if comparison in {"eq", "neq"}:
        inside = sa.and_(column >= second, column < end)
        return inside if comparison == "eq" else ~inside
    if comparison in {"gt", "gte"}:
        return column >= (end if comparison == "gt" else second)
    return column < (second if comparison == "lt" else end)


def _property(name: str, value: str) -> sa.ColumnElement[bool]:
    return sa.exists().where(
        image_properties.c.image_id == images.c.id,
        image_properties.c.name == name,
        image_properties.c.value == value,
    )


def _tag(value: str) -> sa.ColumnElement[bool]:
    return sa.exists().where(image_tags.c.image_id == images.c.id, image_tags.c.value == value)


def _sort_column(field: str) -> sa.ColumnElement[Any]:
    column = images.c[field]
    return sa.func.coalesce(column, _LOWEST.get(field, "")) if column.nullable else column


async def _after(connection: Connection, query: ListQuery, marker: str) -> sa.ColumnElement[bool]:
    """Return the condition "behind the image `marker`" in the query's order."""
    columns = [_sort_column(key.field) for key in query.sort]
    found = await connection.execute(
        sa.select(*columns).where(images.c.id == marker, ~images.c.deleted)
    )
    place = found.one_or_none()
    if place is None:
        raise InvalidRequestError(f"Invalid marker: no image with ID {marker}")
    behind: list[sa.ColumnElement[bool]] = []
    for index, key in enumerate(query.sort):
        equal = [columns[i] == place[i] for i in range(index)]
        beyond = columns[index] < place[index] if key.descending else columns[index] > place[index]
        behind.append(sa.and_(*equal, beyond))
    return sa.or_(*behind)
