"""Namespaces in and out of the database as a whole: one transaction for each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from enum import Enum, StrEnum

from registry.db.database import Connection
from registry.db.metadef_items import add_items, list_items, save_item
from registry.db.metadefs import (
    add_namespace,
    every_namespace,
    get_namespace,
    remove_namespace,
    save_namespace,
)
from registry.domain.metadefs.files import Namespaced
from registry.domain.metadefs.kinds import KINDS
from registry.domain.metadefs.records import Item, Namespace


class Merging(Enum):
    """What becomes of a namespace that is there already."""

    LEAVE = "leave"
    ADD = "add what it lacks"
    PREFER_NEW = "add what it lacks, and replace what it has by what is loaded"
    OVERWRITE = "replace all of it"


class Outcome(StrEnum):
    """What became of a file."""

    ADDED = "added"
    MERGED = "merged"
    OVERWRITTEN = "overwritten"
    LEFT = "left as they were"


async def load(
    connection: Connection, loaded: Namespaced, merging: Merging, now: datetime
) -> Outcome:
    """Put a namespace in."""
    namespace = replace(loaded.namespace, created_at=now, updated_at=now)
    items = [replace(item, created_at=now, updated_at=now) for item in loaded.items]
    found = await get_namespace(connection, namespace.name, for_update=True)
    if found is None or merging is Merging.OVERWRITE:
        if found is not None:
            await remove_namespace(connection, found)
        number = await add_namespace(connection, namespace)
        await add_items(connection, replace(namespace, id=number), items, shipped=True)
        return Outcome.ADDED if found is None else Outcome.OVERWRITTEN
    if merging is Merging.LEAVE:
        return Outcome.LEFT
    if merging is Merging.PREFER_NEW:
        kept = replace(namespace, id=found.id, created_at=found.created_at)
        await save_namespace(connection, kept)
    await _merge(connection, found, items, prefer_new=merging is Merging.PREFER_NEW)
    return Outcome.MERGED


async def _merge(
    connection: Connection, namespace: Namespace, items: Iterable[Item], *, prefer_new: bool
) -> None:
    there = (await list_items(connection, [namespace], *KINDS))[namespace.id]
    known = {(item.kind, item.name): item for item in there}
    new = [item for item in items if (item.kind, item.name) not in known]
    await add_items(connection, namespace, new, shipped=True)
    if not prefer_new:
        return
    for item in items:
        before = known.get((item.kind, item.name))
        if before is not None:
            changed = replace(before, content=item.content, updated_at=item.updated_at)
            await save_item(connection, namespace, changed)


async def everything(connection: Connection) -> list[Namespaced]:
    """Take all namespaces out, as of one moment."""
    namespaces = await every_namespace(connection)
    items = await list_items(connection, namespaces, *KINDS) if namespaces else {}
    return [Namespaced(each, tuple(items.get(each.id, ()))) for each in namespaces]
