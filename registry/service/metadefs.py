"""Namespaces of metadata definitions: one transaction for each call."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from registry.db.database import Connection, Database
from registry.db.metadef_items import add_items, list_items
from registry.db.metadefs import (
    add_namespace,
    get_namespace,
    list_namespaces,
    list_resource_types,
    remove_namespace,
    save_namespace,
)
from registry.domain.identity import Identity
from registry.domain.limits import Limits
from registry.domain.metadefs import access
from registry.domain.metadefs.documents import (
    Document,
    created_document,
    namespace_document,
    namespaces_document,
    resource_types_document,
)
from registry.domain.metadefs.kinds import KINDS, RESOURCE_TYPE
from registry.domain.metadefs.listing import (
    NamespaceQuery,
    check_namespace_view,
    parse_namespace_query,
    wanted_resource_type,
)
from registry.domain.metadefs.notices import item_notice, namespace_notice
from registry.domain.metadefs.prefixes import prefixed
from registry.domain.metadefs.reading import read_fields, read_namespace
from registry.domain.metadefs.records import PRIVATE, Item, Namespace
from registry.domain.notices import SILENT, Notifier
from registry.service.clock import Clock, utc_now


class Metadefs:
    """What callers do with namespaces.  Documents are the API's JSON."""

    def __init__(
        self,
        database: Database,
        limits: Limits,
        clock: Clock = utc_now,
        notifier: Notifier = SILENT,
    ) -> None:
        self._database = database
        self._limits = limits
        self._clock = clock
        self._notifier = notifier

    async def create(self, identity: Identity, body: Any) -> Document:
        """Make a namespace with all that its body says: all of it or nothing."""
        described = await asyncio.to_thread(read_namespace, body)  # a long one takes seconds
        kinds = [kind for kind in KINDS if any(item.kind is kind for item in described.items)]
        rules = [kind.add_rule for kind in kinds]
        access.require(identity, None, "add_metadef_namespace", *rules)
        now = self._clock()
        blank = Namespace("", owner=identity.project_id, created_at=now)
        namespace = _filled(blank, described.fields, self._clock)
        items = [replace(item, created_at=now, updated_at=now) for item in described.items]
        await self._database.change(_add, namespace, items)
        self._notifier.emit("metadef_namespace.create", namespace_notice(namespace))
        for item in items:
            self._notifier.emit(f"metadef_{item.kind.name}.create", item_notice(namespace, item))
        return created_document(namespace, described)

    async def list(self, identity: Identity, parameters: Sequence[tuple[str, str]]) -> Document:
        """Return a page of the namespaces that a query string asks for."""
        query = parse_namespace_query(parameters, self._limits)
        rules = ("get_metadef_namespaces", RESOURCE_TYPE.list_rule)
        access.require(identity, None, *rules)
        return await self._database.query(_page, identity, query)

    async def show(
        self, identity: Identity, name: str, parameters: Sequence[tuple[str, str]]
    ) -> Document:
        """Return a namespace with all that it has, by the names for a resource type if asked."""
        check_namespace_view(parameters)
        resource_type = wanted_resource_type(parameters)
        namespace, items = await self._database.query(_whole, identity, name)
        if resource_type is not None:
            items = prefixed(items, resource_type)
        return namespace_document(namespace, items)

    async def update(self, identity: Identity, name: str, body: Any) -> Document:
        """Replace what is said of a namespace; what it has stays."""
        fields = await asyncio.to_thread(read_fields, body)

        async def work(connection: Connection) -> Namespace:
            found = await held(connection, identity, name)
            access.require(identity, found, "modify_metadef_namespace")
            blank = Namespace(
                "", owner=identity.project_id, created_at=found.created_at, id=found.id
            )
            changed = _filled(blank, fields, self._clock)
            await save_namespace(connection, changed)
            return changed

        changed = await self._database.change(work)
        self._notifier.emit("metadef_namespace.update", namespace_notice(changed, before=name))
        return namespace_document(changed)

    async def delete(self, identity: Identity, name: str) -> None:
        """Delete a namespace and all that it has."""

        async def work(connection: Connection) -> Namespace:
            namespace = await held(connection, identity, name)
            access.require(identity, namespace, "delete_metadef_namespace")
            access.require_unprotected(namespace, f"namespace {name}")
            await remove_namespace(connection, namespace)
            return namespace

        gone = await self._database.change(work)
        notice = namespace_notice(gone, deleted_at=self._clock())
        self._notifier.emit("metadef_namespace.delete", notice)

    async def resource_types(self, identity: Identity) -> Document:
        """Return all resource types that a namespace was ever associated with."""
        access.require(identity, None, RESOURCE_TYPE.list_rule)
        return resource_types_document(await self._database.query(list_resource_types))


async def seen(connection: Connection, identity: Identity, name: str) -> Namespace:
    """Return a namespace that the caller sees."""
    return access.require_visible(identity, await get_namespace(connection, name), name)


async def held(connection: Connection, identity: Identity, name: str) -> Namespace:
    """Return a namespace that the caller sees, locked."""
    found = await get_namespace(connection, name, for_update=True)
    return access.require_visible(identity, found, name)


async def _add(connection: Connection, namespace: Namespace, items: Sequence[Item]) -> None:
    number = await add_namespace(connection, namespace)
    await add_items(connection, replace(namespace, id=number), items)


async def _page(connection: Connection, identity: Identity, query: NamespaceQuery) -> Document:
    name, marker = query.order.marker, None
    if name is not None:
        marker = await seen(connection, identity, name)
    found = await list_namespaces(connection, query, identity, marker)
    shown = [each for each in found if access.may(identity, each, "get_metadef_namespace")]
    items = await list_items(connection, shown, RESOURCE_TYPE)
    documents = [namespace_document(each, items.get(each.id, ())) for each in shown]
    return namespaces_document(documents, query)


async def _whole(
    connection: Connection, identity: Identity, name: str
) -> tuple[Namespace, Sequence[Item]]:
    namespace = await seen(connection, identity, name)
    rules = (kind.list_rule for kind in KINDS)
    access.require(identity, namespace, "get_metadef_namespace", *rules)
    return namespace, (await list_items(connection, [namespace], *KINDS))[namespace.id]


def _filled(blank: Namespace, fields: Mapping[str, Any], clock: Clock) -> Namespace:
    """Return a namespace of these fields; what they do not say is as in a new one."""
    return replace(
        blank,
        name=fields["namespace"],
        display_name=fields.get("display_name"),
        description=fields.get("description"),
        visibility=fields.get("visibility") or PRIVATE,
        protected=fields.get("protected", False),
        owner=fields.get("owner", blank.owner),
        updated_at=clock(),
    )
