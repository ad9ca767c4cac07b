"""Rows of namespaces of metadata definitions.  Every function runs in its caller's transaction."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from registry.db.database import Connection
from registry.db.tables import metadef_items, metadef_namespaces, metadef_resource_types
from registry.domain.errors import ConflictError
from registry.domain.identity import Identity
from registry.domain.metadefs.kinds import RESOURCE_TYPE
from registry.domain.metadefs.listing import NamespaceQuery, Order
from registry.domain.metadefs.records import PUBLIC, Namespace, ResourceType

_TABLE = metadef_namespaces
_CHANGEABLE = ("display_name", "description", "visibility", "protected", "owner", "updated_at")


async def add_namespace(connection: Connection, namespace: Namespace) -> int:
    """Insert a namespace, whose name no other has; return its number."""
    row = _row(namespace) | {"created_at": namespace.created_at}
    try:
        added = await connection.execute(_TABLE.insert().values(row))
    except IntegrityError:
        raise _taken(namespace.name) from None
    assert added.inserted_primary_key is not None
    return int(added.inserted_primary_key[0])


async def get_namespace(
    connection: Connection, name: str, *, for_update: bool = False
) -> Namespace | None:
    """Return a namespace, in a writing transaction also locked against others of the same server.

    Whoever changes what it has holds it, so that nothing is added to one that is being deleted.
    """
    if "\0" in name:
        return None  # PostgreSQL has no such text, not even in a question
    question = sa.select(_TABLE).where(_TABLE.c.namespace == name)
    if for_update:
        question = question.with_for_update()
    row = (await connection.execute(question)).one_or_none()
    return None if row is None else _namespace(row)


async def list_namespaces(
    connection: Connection, query: NamespaceQuery, identity: Identity, marker: Namespace | None
) -> list[Namespace]:
    """Return a page of the namespaces that a caller may see, behind `marker` if there is one."""
    question = sa.select(_TABLE)
    if not identity.is_admin:
        mine = _TABLE.c.owner.is_(None) | (_TABLE.c.visibility == PUBLIC)
        if identity.project_id is not None:
            mine |= _TABLE.c.owner == identity.project_id
        question = question.where(mine)
    if query.visibility is not None:
        question = question.where(_TABLE.c.visibility == query.visibility)
    if query.resource_types is not None:
        associated = sa.exists().where(
            metadef_items.c.namespace_id == _TABLE.c.id,
            metadef_items.c.kind == RESOURCE_TYPE.name,
            metadef_items.c.name.in_(query.resource_types),
        )
        question = question.where(associated)
    behind = None
    if marker is not None:
        behind = {**_row(marker), "created_at": marker.created_at, "id": marker.id}
    rows = await connection.execute(paged(question, _TABLE, query.order, behind))
    return [_namespace(row) for row in rows]


async def save_namespace(connection: Connection, namespace: Namespace) -> None:
    """Write a namespace that this transaction has locked; it may have another name now."""
    row = _row(namespace)
    try:
        await connection.execute(_TABLE.update().where(_TABLE.c.id == namespace.id).values(row))
    except IntegrityError:
        raise _taken(namespace.name) from None


async def remove_namespace(connection: Connection, namespace: Namespace) -> None:
    """Delete a namespace that this transaction has locked, and all that it has."""
    items = metadef_items
    await connection.execute(items.delete().where(items.c.namespace_id == namespace.id))
    await connection.execute(_TABLE.delete().where(_TABLE.c.id == namespace.id))


async def list_resource_types(connection: Connection) -> list[ResourceType]:
    """Return all resource types, the oldest first."""
    types = metadef_resource_types
    rows = await connection.execute(sa.select(types).order_by(types.c.id))
    return [ResourceType(row.name, row.created_at, row.updated_at) for row in rows]


async def every_namespace(connection: Connection) -> list[Namespace]:
    """Return all namespaces, whoever may see them, by their names."""
    rows = await connection.execute(sa.select(_TABLE).order_by(_TABLE.c.namespace))
    return [_namespace(row) for row in rows]


async def clear_definitions(connection: Connection) -> int:
    """Delete namespaces, what they have, and resource types; say how many namespaces there were."""
    await connection.execute(metadef_items.delete())
    removed = await connection.execute(_TABLE.delete())
    await connection.execute(metadef_resource_types.delete())
    return int(removed.rowcount)


def paged(
    question: sa.Select[Any], table: sa.Table, order: Order, behind: dict[str, Any] | None
) -> sa.Select[Any]:
    """Ask for a page: in order, behind a row whose values are given."""
    keys = ["created_at", "id"]
    if order.key not in keys:
        keys.insert(0, order.key)
    columns = [_sortable(table.c[key]) for key in keys]
    if behind is not None:
        place = [_place(behind[key], column) for key, column in zip(keys, columns, strict=True)]
        either = []
        for number, column in enumerate(columns):
            same = [columns[each] == place[each] for each in range(number)]
            beyond = column < place[number] if order.descending else column > place[number]
            either.append(sa.and_(*same, beyond))
        question = question.where(sa.or_(*either))
    ordered = [column.desc() if order.descending else column.asc() for column in columns]
    return question.order_by(*ordered).limit(order.limit)


def _sortable(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """Return what to sort by: no value is one group with an empty one, truths are numbers."""
    if isinstance(column.type, sa.Boolean):
        return sa.case((column, 1), else_=0)
    return sa.func.coalesce(column, "") if column.nullable else column


def _place(value: Any, column: sa.ColumnElement[Any]) -> Any:
    if isinstance(value, datetime):
        return sa.literal(value, column.type)
    return int(value) if isinstance(value, bool) else value or ""


def _row(namespace: Namespace) -> dict[str, Any]:
    return {
        "namespace": namespace.name,
        **{name: getattr(namespace, name) for name in _CHANGEABLE},
    }


def _namespace(row: sa.Row[Any]) -> Namespace:
    return Namespace(
        row.namespace,
        row.owner,
        row.visibility,
        row.protected,
        row.display_name,
        row.description,
        row.created_at,
        row.updated_at,
        row.id,
    )


def _taken(name: str) -> ConflictError:
    return ConflictError(f"The metadata definition namespace={name} already exists.")
