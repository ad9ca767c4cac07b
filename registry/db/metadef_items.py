"""Rows of what namespaces have: objects, properties, tags, associations of resource types.

Every function runs in its caller's transaction; those that change something hold the namespace.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from registry.db.database import Connection
from registry.db.failures import OvertakenError
from registry.db.metadefs import paged
from registry.db.tables import metadef_items, metadef_resource_types
from registry.domain.errors import ConflictError
from registry.domain.metadefs.kinds import KIND_OF, RESOURCE_TYPE, TAG, Kind
from registry.domain.metadefs.listing import Order
from registry.domain.metadefs.records import Item, Namespace

_TABLE = metadef_items


async def add_items(
    connection: Connection, namespace: Namespace, items: Sequence[Item], *, shipped: bool = False
) -> None:
    """Insert items, no two of one kind and name; `shipped` are resource types of the packages'."""
    if not items:
        return
    for item in items:
        if item.kind is RESOURCE_TYPE:
            await _know(connection, item, shipped=shipped)
    rows = [
        {
            "namespace_id": namespace.id,
            "kind": item.kind.name,
            "name": item.name,
            "content": dict(item.content),
            "created_at": item.created_at,
            "updated_at": item.updated_at,
        }
        for item in items
    ]
    try:
        await connection.execute(_TABLE.insert(), rows)
    except IntegrityError:
        raise _taken(namespace, items) from None


async def get_item(
    connection: Connection, namespace: Namespace, kind: Kind, name: str
) -> Item | None:
    """Return one item."""
    if "\0" in name:
        return None  # PostgreSQL has no such text, not even in a question
    question = sa.select(_TABLE).where(*_of(namespace, kind), _TABLE.c.name == name)
    row = (await connection.execute(question)).one_or_none()
    return None if row is None else _item(row)


async def list_items(
    connection: Connection, namespaces: Sequence[Namespace], *kinds: Kind
) -> dict[int, list[Item]]:
    """Return the items of these kinds that namespaces have, by the namespaces' numbers."""
    question = sa.select(_TABLE).where(
        _TABLE.c.namespace_id.in_([namespace.id for namespace in namespaces]),
        _TABLE.c.kind.in_([kind.name for kind in kinds]),
    )
    found: dict[int, list[Item]] = defaultdict(list)
    for row in await connection.execute(question.order_by(_TABLE.c.id)):
        found[row.namespace_id].append(_item(row))
    return found


async def list_tags(
    connection: Connection, namespace: Namespace, order: Order, marker: Item | None
) -> list[Item]:
    """Return a page of the tags of a namespace, behind `marker` if there is one."""
    behind = None
    if marker is not None:
        behind = {
            "namespace_id": namespace.id,
            **{name: getattr(marker, name) for name in ("id", "name", "created_at", "updated_at")},
        }
    question = sa.select(_TABLE).where(*_of(namespace, TAG))
    rows = await connection.execute(paged(question, _TABLE, order, behind))
    return [_item(row) for row in rows]


async def save_item(connection: Connection, namespace: Namespace, item: Item) -> None:
    """Write an item that was read; it may have another name now."""
    try:
        await connection.execute(
            _TABLE.update()
            .where(_TABLE.c.id == item.id)
            .values(name=item.name, content=dict(item.content), updated_at=item.updated_at)
        )
    except IntegrityError:
        raise _taken(namespace, [item]) from None


async def remove_item(connection: Connection, item: Item) -> None:
    """Delete an item that was read."""
    await connection.execute(_TABLE.delete().where(_TABLE.c.id == item.id))


async def remove_items(connection: Connection, namespace: Namespace, kind: Kind) -> None:
    """Delete all items of a kind that a namespace has."""
    await connection.execute(_TABLE.delete().where(*_of(namespace, kind)))


async def _know(connection: Connection, association: Item, *, shipped: bool) -> None:
    """Make sure that there is a resource type; two may meet it first at once."""
    types = metadef_resource_types
    known = sa.select(types.c.id).where(types.c.name == association.name)
    if (await connection.execute(known)).one_or_none() is not None:
        return
    try:
        await connection.execute(
            types.insert().values(
                name=association.name,
                protected=shipped,
                created_at=association.created_at,
                updated_at=association.updated_at,
            )
        )
    except IntegrityError:
        raise OvertakenError("Others add the same resource type.") from None


def _of(namespace: Namespace, kind: Kind) -> tuple[sa.ColumnElement[bool], ...]:
    return (_TABLE.c.namespace_id == namespace.id, _TABLE.c.kind == kind.name)


def _item(row: sa.Row[Any]) -> Item:
    return Item(KIND_OF[row.kind], row.name, row.content, row.created_at, row.updated_at, row.id)


def _taken(namespace: Namespace, items: Sequence[Item]) -> ConflictError:
    named = f"{items[0].kind.title} {items[0].name}" if len(items) == 1 else "one of these names"
    return ConflictError(f"There is {named} in namespace={namespace.name} already.")
