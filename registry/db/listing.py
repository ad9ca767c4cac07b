"""The list of images as one SQL statement: filters, visibility, order and page."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from registry.db.columns import or_empty
from registry.db.database import Connection
from registry.db.images import image_columns, load_images
from registry.db.tables import image_members, images
from registry.db.traits import Trait
from registry.domain.errors import InvalidRequestError
from registry.domain.identity import Identity
from registry.domain.image import Image, Visibility
from registry.domain.listing import Condition, ListQuery, Operator
from registry.domain.status import Status

# What the order begins with where an index has it.
_INDEXED_ORDERS = frozenset({"created_at", "updated_at"})
STATEMENTS_MAX = 256  # about 50 KiB each
_SECOND = timedelta(seconds=1)
_NEVER_LISTED = (Status.KILLED, Status.DELETED)
_COMPARE: dict[Operator, Callable[[Any, Any], sa.ColumnElement[bool]]] = {
    "eq": operator.eq,
    "gte": operator.ge,
    "lte": operator.le,
}
_PLACE = "place_{}"
_BEFORE_ALL_SIZES = -1  # where images without one stand in an order


@dataclass(frozen=True, slots=True)
class _Way:
    """How the images with all traits that are asked for are found."""

    among: bool = False  # few, whose ids are given
    joined: tuple[Trait, ...] = ()
    looked_up: tuple[Trait, ...] = ()


async def list_images(connection: Connection, query: ListQuery, identity: Identity) -> list[Image]:
    """Return one page, in order."""
    places: dict[str, Any] = {}
    if query.marker is not None:
        places = await _place(connection, query, query.marker, identity)
    if not all(identity.may_use("read", name) for name, _ in query.properties):
        return []  # else it would tell, value by value, what the caller may not read
    way, ids = await _narrowed(connection, query)
    if way.among:
        places["ids"] = ids
    question = _statement(
        replace(query, properties=(), tags=(), marker=None, parameters=()),
        way,
        identity.project_id,
        is_admin=identity.is_admin,
        behind=query.marker is not None,
    )
    rows = (await connection.execute(question, places)).all()
    return await load_images(connection, rows)


async def _narrowed(connection: Connection, query: ListQuery) -> tuple[_Way, Sequence[str]]:
    """Find the way to the images with all traits, and the ids of those with one that few have."""
    traits = [Trait(value, name) for name, value in query.properties]
    traits += [Trait(value) for value in query.tags]

    def without(trait: Trait) -> tuple[Trait, ...]:
        return tuple(each for each in traits if each != trait)

    for trait in traits:
        ids = await trait.few(connection)
        if ids is not None:
            return _Way(among=True, looked_up=without(trait)), ids
    if query.sort[0].field not in _INDEXED_ORDERS:
        return _Way(joined=tuple(traits)), ()
    for trait in traits:
        if not await trait.is_common(connection):
            return _Way(joined=(trait,), looked_up=without(trait)), ()
    return _Way(looked_up=tuple(traits)), ()


@lru_cache(STATEMENTS_MAX)
def _statement(
    query: ListQuery, way: _Way, project: str | None, *, is_admin: bool, behind: bool
) -> sa.Select[Any]:
    """Return the question for a page, from the start or behind a place that is given with it.

    Kept: to make one, and to see that it has been compiled before, takes as long as its answer.
    """
    question = sa.select(*image_columns()).where(
        ~images.c.deleted,
        images.c.status.not_in(_NEVER_LISTED),
        _visibility(query, project, is_admin=is_admin),
        *(_condition(condition) for condition in query.conditions),
        *(trait.joined() for trait in way.joined),
        *(trait.looked_up() for trait in way.looked_up),
    )
    if way.among:
        question = question.where(images.c.id.in_(sa.bindparam("ids", expanding=True)))
    if behind:
        question = question.where(_behind(query))
    for key in query.sort:
        column = _sort_column(key.field)
        question = question.order_by(column.desc() if key.descending else column.asc())
    return question.limit(query.limit)


def _visibility(query: ListQuery, project: str | None, *, is_admin: bool) -> sa.ColumnElement[bool]:
    mine: sa.ColumnElement[bool] = sa.false()
    if project is not None:
        mine = images.c.owner == project
    if is_admin:
        permitted: sa.ColumnElement[bool] = sa.true()
    else:
        open_to_all = images.c.visibility.in_([Visibility.PUBLIC, Visibility.COMMUNITY])
        permitted = sa.or_(mine, open_to_all, _shared(query, project))
    if query.visibility == "all":
        return permitted
    if query.visibility is not None:
        return permitted & (images.c.visibility == query.visibility)
    # By default the community images of others are left out, for administrators too.
    return permitted & sa.or_(mine, images.c.visibility != Visibility.COMMUNITY)


def _shared(query: ListQuery, project: str | None) -> sa.ColumnElement[bool]:
    """Return the condition "shared with the caller, who has answered as the query asks"."""
    if project is None:
        return sa.false()
    member = sa.exists().where(
        image_members.c.image_id == images.c.id, image_members.c.member == project
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
    if isinstance(value, int) and not isinstance(value, bool):
        # As wide as numbers in a query may be, whatever the column's own width.
        return _COMPARE[condition.operator](column, sa.literal(value, sa.BigInteger))
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


def _sort_column(field: str) -> sa.ColumnElement[Any]:
    column = images.c[field]
    if not column.nullable:
        return column
    return sa.func.coalesce(column, _BEFORE_ALL_SIZES) if field == "size" else or_empty(column)


async def _place(
    connection: Connection, query: ListQuery, marker: str, identity: Identity
) -> dict[str, Any]:
    """Return the place of the image `marker` in the query's order.

    For administrators, as Glance has it, also of one that is deleted: their walk goes on.
    """
    there = sa.true() if identity.is_admin else ~images.c.deleted
    columns = [
        _sort_column(key.field).label(_PLACE.format(number))
        for number, key in enumerate(query.sort)
    ]
    found = await connection.execute(sa.select(*columns).where(images.c.id == marker, there))
    place = found.mappings().one_or_none()
    if place is None:
        raise InvalidRequestError(f"Invalid marker: no image with ID {marker}")
    return dict(place)


def _behind(query: ListQuery) -> sa.ColumnElement[bool]:
    """Return the condition "behind the place", each of whose values is a parameter."""
    columns = [_sort_column(key.field) for key in query.sort]
    place = [
        sa.bindparam(_PLACE.format(number), type_=column.type)
        for number, column in enumerate(columns)
    ]
    behind: list[sa.ColumnElement[bool]] = []
    for index, key in enumerate(query.sort):
        equal = [columns[i] == place[i] for i in range(index)]
        beyond = columns[index] < place[index] if key.descending else columns[index] > place[index]
        behind.append(sa.and_(*equal, beyond))
    # Implied by what follows, but a place in an index, which no database finds in that.
    first = columns[0] <= place[0] if query.sort[0].descending else columns[0] >= place[0]
    return sa.and_(first, sa.or_(*behind))
