"""Namespaces and what they have as the API shows them: what has no value is left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, TypeAlias
from urllib.parse import urlencode

from registry.domain.metadefs.kinds import OBJECT, PROPERTY, RESOURCE_TYPE, TAG, Kind
from registry.domain.metadefs.listing import NamespaceQuery
from registry.domain.metadefs.properties import shown_definition
from registry.domain.metadefs.reading import ASSOCIATIONS, Described
from registry.domain.metadefs.records import Item, Namespace, ResourceType
from registry.domain.metadefs.schemas import PATH as SCHEMAS

Document: TypeAlias = dict[str, Any]

NAMESPACES = "/v2/metadefs/namespaces"


def namespace_document(namespace: Namespace, items: Iterable[Item] = ()) -> Document:
    """Return a namespace with those of its items that are to be shown."""
    document = {
        "namespace": namespace.name,
        "display_name": namespace.display_name,
        "description": namespace.description,
        "visibility": namespace.visibility,
        "protected": namespace.protected,
        "owner": namespace.owner,
        **_times(namespace.created_at, namespace.updated_at),
        "self": f"{NAMESPACES}/{namespace.name}",
        "schema": f"{SCHEMAS}/namespace",
    }
    return _told(document) | _parts(namespace, items)


def created_document(namespace: Namespace, described: Described) -> Document:
    """Return a new namespace, with its items as they were given: neither times nor links."""
    document = namespace_document(namespace)
    for part in described.parts:
        document[part] = {} if part == PROPERTY.plural else []
    for item in described.items:
        if item.kind is PROPERTY:
            document["properties"][item.name] = item.content
        else:
            document[_PARTS[item.kind]].append({"name": item.name, **item.content})
    return document


def namespaces_document(documents: Sequence[Document], query: NamespaceQuery) -> Document:
    """Return a page of namespaces, with the link to the next one if there may be more."""
    page: Document = {
        "namespaces": list(documents),
        "first": _link(query.parameters),
        "schema": f"{SCHEMAS}/namespaces",
    }
    if documents and len(documents) == query.limit:
        page["next"] = _link((*query.parameters, ("marker", documents[-1]["namespace"])))
    return page


def changed_document(namespace: Namespace, item: Item) -> Document:
    """Return an item that has just been made or changed, as it was given."""
    if item.kind is PROPERTY:
        return {**item.content, "name": item.name}
    document = {"name": item.name, **item.content, **_times(item.created_at, item.updated_at)}
    if item.kind is OBJECT:
        document["self"] = f"{NAMESPACES}/{namespace.name}/objects/{item.name}"
        document["schema"] = f"{SCHEMAS}/object"
    return document


def item_document(namespace: Namespace, item: Item) -> Document:
    """Return an item as it is shown when it is asked for."""
    if item.kind is PROPERTY:
        return {**shown_definition(item.content), "name": item.name}
    document = _told(changed_document(namespace, item))
    if item.kind is OBJECT:
        definitions = document.get("properties") or {}
        shown = {name: shown_definition(each) for name, each in definitions.items()}
        return {"required": [], **document, "properties": shown}
    return document


def items_document(namespace: Namespace, kind: Kind, items: Sequence[Item]) -> Document:
    """Return the items of one kind."""
    if kind is PROPERTY:
        return {"properties": _definitions(items)}
    if kind is TAG:
        return tags_document(items)
    documents = [item_document(namespace, item) for item in items]
    if kind is RESOURCE_TYPE:
        return {ASSOCIATIONS: documents}
    return {"objects": documents, "schema": f"{SCHEMAS.lstrip('/')}/objects"}


def tags_document(tags: Iterable[Item]) -> Document:
    """Return tags by their names."""
    return {"tags": [{"name": tag.name} for tag in tags]}


def resource_types_document(types: Iterable[ResourceType]) -> Document:
    """Return all resource types."""
    return {
        "resource_types": [
            {"name": each.name, **_times(each.created_at, each.updated_at)} for each in types
        ]
    }


def _parts(namespace: Namespace, items: Iterable[Item]) -> Document:
    """Return the items of a namespace as its own document lists them."""
    parts: Document = {}
    for item in items:
        if item.kind is PROPERTY:
            parts.setdefault("properties", {})[item.name] = shown_definition(item.content)
        else:
            shown = {"name": item.name} if item.kind is TAG else item_document(namespace, item)
            parts.setdefault(_PARTS[item.kind], []).append(shown)
    parts.get("tags", []).reverse()  # Glance's: the newest first
    return parts


def _definitions(items: Iterable[Item]) -> Document:
    return {item.name: shown_definition(item.content) for item in items}


def _told(document: Document) -> Document:
    return {name: value for name, value in document.items() if value is not None}


def _times(created_at: datetime | None, updated_at: datetime | None) -> Document:
    return {"created_at": time_text(created_at), "updated_at": time_text(updated_at)}


def time_text(moment: datetime | None) -> str | None:
    """Return a time as the API writes it."""
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _link(parameters: Sequence[tuple[str, str]]) -> str:
    return f"{NAMESPACES}?{urlencode(parameters)}" if parameters else NAMESPACES


_PARTS = {RESOURCE_TYPE: ASSOCIATIONS, OBJECT: "objects", TAG: "tags"}
