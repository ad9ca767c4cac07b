"""What namespaces of metadata definitions have, of whatever kind: one transaction for each call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from registry.db.database import Connection, Database
from registry.db.metadef_items import (
    add_items,
    get_item,
    list_items,
    list_tags,
    remove_item,
    remove_items,
    save_item,
)
from registry.domain.errors import NotFoundError
from registry.domain.identity import Identity
from registry.domain.metadefs import access
from registry.domain.metadefs.documents import (
    Document,
    changed_document,
    item_document,
    items_document,
    tags_document,
)
from registry.domain.metadefs.kinds import OBJECT, PROPERTY, RESOURCE_TYPE, TAG, Kind
from registry.domain.metadefs.listing import (
    TAG_KEYS,
    Order,
    check_object_query,
    parse_tag_query,
    wanted_resource_type,
)
from registry.domain.metadefs.notices import item_notice, namespace_notice
from registry.domain.metadefs.prefixes import plain_name
from registry.domain.metadefs.reading import read_item, read_new_tags, read_tag_name
from registry.domain.metadefs.records import Item, ItemPath, Namespace
from registry.domain.notices import SILENT, Notifier
from registry.service.clock import Clock, utc_now
from registry.service.metadefs import held, seen


class MetadefItems:
    """What callers do with objects, properties, tags and associations of resource types.

    Documents are the API's JSON.
    """

    def __init__(
        self, database: Database, clock: Clock = utc_now, notifier: Notifier = SILENT
    ) -> None:
        self._database = database
        self._clock = clock
        self._notifier = notifier

    async def list(
        self,
        identity: Identity,
        kind: Kind,
        namespace: str,
        parameters: Sequence[tuple[str, str]],
    ) -> Document:
        """Return the items of a kind; of tags a page, if one is asked for."""
        if kind is TAG:
            order = parse_tag_query(parameters)
            return await self._database.query(_page_of_tags, identity, namespace, order)
        if kind is OBJECT:
            check_object_query(parameters)
        return await self._database.query(_all, identity, kind, namespace)

    async def show(
        self, identity: Identity, path: ItemPath, parameters: Sequence[tuple[str, str]]
    ) -> Document:
        """Return one item; a property may be asked for by the name for a resource type."""
        resource_type = wanted_resource_type(parameters) if path.kind is PROPERTY else None
        return await self._database.query(_one, identity, path, resource_type)

    async def add(self, identity: Identity, kind: Kind, namespace: str, body: Any) -> Document:
        """Make an item."""
        item = await asyncio.to_thread(read_item, kind, body, new=True)  # a long one takes seconds
        holder, (made,) = await self._add(identity, namespace, kind.add_rule, [item])
        return changed_document(holder, made)

    async def add_tag(self, identity: Identity, namespace: str, name: str) -> Document:
        """Make a tag of a name."""
        # Who does not see the namespace hears nothing of the name.
        await self._database.query(seen, identity, namespace)
        tag = read_tag_name(name)
        holder, (made,) = await self._add(identity, namespace, TAG.add_rule, [tag])
        return changed_document(holder, made)

    async def add_tags(
        self, identity: Identity, namespace: str, body: Any, *, append: bool
    ) -> Document:
        """Make tags, beside those that there are or instead of them; no tags change nothing."""
        tags = await asyncio.to_thread(read_new_tags, body)
        instead_of = None if append or not tags else TAG
        await self._add(identity, namespace, "add_metadef_tags", tags, instead_of=instead_of)
        return tags_document(tags)

    async def _add(
        self,
        identity: Identity,
        namespace: str,
        rule: str,
        items: Sequence[Item],
        *,
        instead_of: Kind | None = None,
    ) -> tuple[Namespace, Sequence[Item]]:
        """Make items, instead of all that there are of a kind, and tell of them."""
        now = self._clock()
        made = [replace(item, created_at=now, updated_at=now) for item in items]

        async def work(connection: Connection) -> Namespace:
            holder = await held(connection, identity, namespace)
            access.require(identity, holder, rule)
            if instead_of is not None:
                await remove_items(connection, holder, instead_of)
            await add_items(connection, holder, made)
            return holder

        holder = await self._database.change(work)
        for item in made:
            self._notifier.emit(f"metadef_{item.kind.name}.create", item_notice(holder, item))
        return holder, made

    async def replace(self, identity: Identity, path: ItemPath, body: Any) -> Document:
        """Replace an item by what is said of it now."""
        kind = path.kind
        given = await asyncio.to_thread(read_item, kind, body, new=False)

        async def work(connection: Connection) -> tuple[Namespace, Item]:
            holder = await held(connection, identity, path.namespace)
            assert kind.change_rule is not None  # no way leads here
            access.require(identity, holder, kind.change_rule)
            item = await _found(connection, holder, kind, path.name)
            changed = replace(
                item, name=given.name, content=given.content, updated_at=self._clock()
            )
            await save_item(connection, holder, changed)
            return holder, changed

        holder, changed = await self._database.change(work)
        self._notifier.emit(
            f"metadef_{kind.name}.update", item_notice(holder, changed, before=path.name)
        )
        return changed_document(holder, changed)

    async def remove(self, identity: Identity, path: ItemPath) -> None:
        """Delete an item."""
        kind, name = path.kind, path.name

        async def work(connection: Connection) -> tuple[Namespace, Item]:
            holder = await held(connection, identity, path.namespace)
            access.require(identity, holder, kind.remove_rule)
            item = await _found(connection, holder, kind, name)
            access.require_unprotected(holder, f"{kind.title} {name}")
            await remove_item(connection, item)
            return holder, item

        holder, item = await self._database.change(work)
        notice = item_notice(holder, item, deleted_at=self._clock())
        self._notifier.emit(f"metadef_{kind.name}.delete", notice)

    async def clear(self, identity: Identity, kind: Kind, namespace: str) -> None:
        """Delete all items of a kind."""

        async def work(connection: Connection) -> Namespace:
            holder = await held(connection, identity, namespace)
            access.require(identity, holder, *kind.clear_rules)
            access.require_unprotected(holder, f"namespace {namespace}")
            await remove_items(connection, holder, kind)
            return holder

        holder = await self._database.change(work)
        self._notifier.emit(f"metadef_namespace.delete_{kind.plural}", namespace_notice(holder))


async def _page_of_tags(
    connection: Connection, identity: Identity, name: str, order: Order
) -> Document:
    namespace = await seen(connection, identity, name)
    access.require(identity, namespace, TAG.list_rule)
    order.require_key(TAG_KEYS)
    marker = await _found(connection, namespace, TAG, order.marker) if order.marker else None
    return tags_document(await list_tags(connection, namespace, order, marker))


async def _all(connection: Connection, identity: Identity, kind: Kind, name: str) -> Document:
    namespace = await seen(connection, identity, name)
    access.require(identity, namespace, kind.list_rule)
    items = (await list_items(connection, [namespace], kind))[namespace.id]
    # Glance does not ask it of properties.
    if kind is not PROPERTY and not access.may(identity, namespace, kind.show_rule):
        items = []
    return items_document(namespace, kind, items)


async def _one(
    connection: Connection, identity: Identity, path: ItemPath, resource_type: str | None
) -> Document:
    namespace, name = await seen(connection, identity, path.namespace), path.name
    access.require(identity, namespace, path.kind.show_rule)
    if resource_type is not None:
        access.require(identity, namespace, RESOURCE_TYPE.show_rule)
        association = await _found(connection, namespace, RESOURCE_TYPE, resource_type)
        name = plain_name(association, name)
    return item_document(namespace, await _found(connection, namespace, path.kind, name))


async def _found(connection: Connection, namespace: Namespace, kind: Kind, name: str) -> Item:
    item = await get_item(connection, namespace, kind, name)
    if item is None:
        raise NotFoundError(f"There is no {kind.title} {name} in namespace {namespace.name}.")
    return item
