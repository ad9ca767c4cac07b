"""Documents of namespaces as files have them: Glance's form, which is nearly the API's.

Definitions of properties are kept as they stand there, and shown by the API as it shows any.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator

from registry.domain.metadefs.kinds import OBJECT, PROPERTY, RESOURCE_TYPE, TAG
from registry.domain.metadefs.reading import ASSOCIATIONS
from registry.domain.metadefs.records import PRIVATE, Item, Namespace
from registry.domain.metadefs.schemas import file_schema
from registry.domain.validation import require_fit

OWNER = "admin"  # of namespaces whose file names none
_FILE = Draft202012Validator(file_schema())


@dataclass(frozen=True, slots=True)
class Namespaced:
    """A namespace and what it has, yet without times."""

    namespace: Namespace
    items: tuple[Item, ...]


def read_file(document: Any) -> Namespaced:
    """Return what a file describes; `InvalidRequestError` if that is no namespace.

    What Glance does not read of a file either is left out.
    """
    require_fit(_FILE, document)
    namespace = Namespace(
        document["namespace"],
        owner=document.get("owner", OWNER),
        visibility=document.get("visibility") or PRIVATE,
        protected=document.get("protected") or False,
        display_name=document.get("display_name"),
        description=document.get("description"),
    )
    return Namespaced(namespace, tuple(_items(document)))


def file_document(namespace: Namespace, items: Sequence[Item]) -> dict[str, Any]:
    """Return the document that `read_file` reads the same from; what is empty is left out."""
    document: dict[str, Any] = {
        "namespace": namespace.name,
        "display_name": namespace.display_name,
        "description": namespace.description,
        "visibility": namespace.visibility,
        "protected": namespace.protected,
        "owner": None if namespace.owner == OWNER else namespace.owner,
        ASSOCIATIONS: [_listed(item) for item in items if item.kind is RESOURCE_TYPE],
        "properties": {item.name: item.content for item in items if item.kind is PROPERTY},
        "objects": [_listed(item) for item in items if item.kind is OBJECT],
        "tags": [_listed(item) for item in items if item.kind is TAG],
    }
    return {name: value for name, value in document.items() if value not in (None, [], {})}


def file_name(namespace: str) -> str:
    """Return a name for the file of a namespace, without an ending; others may have the same."""
    return re.sub(r"\W+", "-", namespace, flags=re.ASCII).strip("-") or "namespace"


def _items(document: Mapping[str, Any]) -> Iterator[Item]:
    for association in document.get(ASSOCIATIONS) or ():
        content = _kept(association, "prefix", "properties_target")
        yield Item(RESOURCE_TYPE, association["name"], content)
    for described in document.get("objects") or ():
        content = _kept(described, "description", "required", "properties")
        yield Item(OBJECT, described["name"], content)
    for tag in document.get("tags") or ():
        yield Item(TAG, tag["name"])
    for name, definition in (document.get("properties") or {}).items():
        yield Item(PROPERTY, name, definition)


def _kept(described: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: described[name] for name in names if described.get(name) is not None}


def _listed(item: Item) -> dict[str, Any]:
    return {"name": item.name, **item.content}
