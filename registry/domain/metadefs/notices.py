"""What others are told of metadata definitions: Glance's event types and payloads."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeAlias

from registry.domain.metadefs.documents import time_text
from registry.domain.metadefs.kinds import OBJECT, PROPERTY, RESOURCE_TYPE
from registry.domain.metadefs.records import Item, Namespace

Notice: TypeAlias = dict[str, Any]

_DEFINED = (
    *("type", "title", "description", "default", "minimum", "maximum", "enum", "pattern"),
    *("minLength", "maxLength", "confidential", "items", "uniqueItems", "minItems", "maxItems"),
    "additionalItems",
)


def namespace_notice(
    namespace: Namespace, *, before: str | None = None, deleted_at: datetime | None = None
) -> Notice:
    """Return what is told of a namespace; `before` is its name until now, if it had another."""
    return {
        "namespace": namespace.name,
        "namespace_old": namespace.name if before is None else before,
        "display_name": namespace.display_name,
        "protected": namespace.protected,
        "visibility": namespace.visibility,
        "owner": namespace.owner,
        "description": namespace.description,
        **_times(namespace.created_at, namespace.updated_at),
        **_deletion(deleted_at),
    }


def item_notice(
    namespace: Namespace,
    item: Item,
    *,
    before: str | None = None,
    deleted_at: datetime | None = None,
) -> Notice:
    """Return what is told of what a namespace has; `before` and `deleted_at` as above."""
    notice: Notice = {
        "namespace": namespace.name,
        "name": item.name,
        "name_old": item.name if before is None else before,
    }
    content = item.content
    if item.kind is PROPERTY:
        notice |= {name: content.get(name) for name in _DEFINED}
    else:
        notice |= _times(item.created_at, item.updated_at)
    if item.kind is RESOURCE_TYPE:
        notice |= {name: content.get(name) for name in ("prefix", "properties_target")}
    if item.kind is OBJECT:
        notice |= {name: content.get(name) for name in ("required", "description")}
        definitions: Mapping[str, Any] = content.get("properties") or {}
        notice["properties"] = [
            {"name": name, **{field: about.get(field) or None for field in _DEFINED}}
            for name, about in definitions.items()
        ]
    return notice | _deletion(deleted_at)


def _times(created_at: datetime | None, updated_at: datetime | None) -> Notice:
    return {"created_at": time_text(created_at), "updated_at": time_text(updated_at)}


def _deletion(moment: datetime | None) -> Notice:
    return {"deleted": moment is not None, "deleted_at": time_text(moment)}
