"""Names of properties as a resource type has them: the association may put something before each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from registry.domain.errors import NotFoundError
from registry.domain.metadefs.kinds import OBJECT, PROPERTY, RESOURCE_TYPE
from registry.domain.metadefs.records import Item


def prefixed(items: Sequence[Item], resource_type: str) -> Sequence[Item]:
    """Return the items of a namespace with the names that a resource type has for properties."""
    found = (
        item.prefix for item in items if item.kind is RESOURCE_TYPE and item.name == resource_type
    )
    prefix = next(found, "")
    return [_prefixed(item, prefix) for item in items] if prefix else items


def _prefixed(item: Item, prefix: str) -> Item:
    if item.kind is PROPERTY:
        return replace(item, name=prefix + item.name)
    if item.kind is not OBJECT:
        return item
    properties, required = item.content.get("properties") or {}, item.content.get("required")
    content = {
        **item.content,
        "properties": {prefix + name: each for name, each in properties.items()},
        "required": [prefix + name for name in required or ()],
    }
    return replace(item, content=content)


def plain_name(association: Item, name: str) -> str:
    """Return the name of a property, of that which a resource type has for it."""
    prefix = association.prefix
    if not prefix or not name.startswith(prefix):
        raise NotFoundError(
            f"Property {name} does not start with the expected resource type association prefix "
            f"of '{prefix}'."
        )
    return name.removeprefix(prefix)
