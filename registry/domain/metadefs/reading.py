"""Reads what clients and files say of namespaces and of what they have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator

from registry.domain.errors import ForbiddenError, InvalidRequestError
from registry.domain.metadefs.kinds import OBJECT, PROPERTY, RESOURCE_TYPE, TAG, Kind
from registry.domain.metadefs.properties import read_definition
from registry.domain.metadefs.records import NAME_LENGTH_MAX, Content, Item
from registry.domain.metadefs.schemas import (
    namespace_schema,
    new_tags_schema,
    object_schema,
    property_schema,
    resource_type_schema,
    tag_schema,
)
from registry.domain.validation import require_fit

_TIMES = ("created_at", "updated_at")
_LINKED = (*_TIMES, "self", "schema")
_NAMESPACE = Draft202012Validator(namespace_schema())
_DEFINITION = Draft202012Validator(property_schema(named=False))
_NEW_TAGS = Draft202012Validator(new_tags_schema())
_ITEMS = {
    OBJECT: Draft202012Validator(object_schema()),
    PROPERTY: Draft202012Validator(property_schema()),
    TAG: Draft202012Validator(tag_schema()),
    RESOURCE_TYPE: Draft202012Validator(resource_type_schema()),
}
# Where a namespace's own document has them.
ASSOCIATIONS = "resource_type_associations"
_PARTS = {OBJECT.plural, PROPERTY.plural, TAG.plural, ASSOCIATIONS}


@dataclass(frozen=True, slots=True)
class Described:
    """What a body says of a namespace."""

    fields: Mapping[str, Any]  # by the names of its document
    parts: tuple[str, ...]  # those that are listed, be they empty
    items: tuple[Item, ...]  # of all these


def read_namespace(body: Any) -> Described:
    """Return what a body says of a namespace and of what it shall have."""
    fields = read_fields(body)
    return Described(fields, tuple(body.keys() & _PARTS), tuple(_items_of(body)))


def read_fields(body: Any) -> dict[str, Any]:
    """Return what a body says of a namespace alone.

    What the namespace has may be told beside it, as clients do who send back what they were shown.
    """
    body = _document(body, _LINKED)
    require_fit(_NAMESPACE, body)
    return {name: value for name, value in body.items() if name not in _PARTS}


def read_item(kind: Kind, body: Any, *, new: bool) -> Item:
    """Return the item that a body describes.  Glance looks closer at `new` objects than at others."""
    body = _document(body, _LINKED if kind is OBJECT else _TIMES)
    require_fit(_ITEMS[kind], body)
    if kind is OBJECT and new:
        for definition in body.get("properties", {}).values():
            require_fit(_DEFINITION, definition)
    return _READERS[kind](body)


def read_new_tags(body: Any) -> tuple[Item, ...]:
    """Return the tags that a body lists."""
    body = _document(body, _TIMES)
    require_fit(_NEW_TAGS, body)
    if "tags" not in body:
        raise InvalidRequestError("Tags are listed as 'tags'.")
    return tuple(map(_tag, body["tags"]))


def read_tag_name(name: str) -> Item:
    """Return the tag of a name."""
    require_fit(_ITEMS[TAG], {"name": name})
    return _tag({"name": name})


def _document(body: Any, read_only: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise InvalidRequestError("A JSON object is expected.")
    for name in read_only:
        if name in body:
            raise ForbiddenError(f"Attribute '{name}' is read-only.")
    return body


def _items_of(body: dict[str, Any]) -> Iterator[Item]:
    """Read what a document of a namespace lists, in the order in which it is made."""
    for association in body.get(ASSOCIATIONS, ()):
        yield _association(association)
    for described in body.get(OBJECT.plural, ()):
        yield _object(described)
    for tag in body.get(TAG.plural, ()):
        yield _tag(tag)
    for name, definition in body.get(PROPERTY.plural, {}).items():
        yield _named(PROPERTY, name, read_definition(definition))


def _object(body: dict[str, Any]) -> Item:
    content = _only(body, ("description", "required", "properties"))
    if "properties" in content:
        definitions = content["properties"].items()
        content["properties"] = {name: read_definition(each) for name, each in definitions}
    return _named(OBJECT, body.get("name"), content)


def _property(body: dict[str, Any]) -> Item:
    return _named(PROPERTY, body["name"], read_definition(body))


def _tag(body: dict[str, Any]) -> Item:
    return _named(TAG, body.get("name"), _only(body, ()))


def _association(body: dict[str, Any]) -> Item:
    content = _only(body, ("prefix", "properties_target"))
    for name, value in content.items():
        _require_length(name, value)
    return _named(RESOURCE_TYPE, body.get("name"), content)


def _only(body: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Return the content of an item, which may say nothing that nobody would keep."""
    unknown = sorted(body.keys() - {"name", *names})
    if unknown:
        raise InvalidRequestError(f"Nobody keeps {', '.join(unknown)[:80]}.")
    return {name: body[name] for name in names if name in body}


def _named(kind: Kind, name: str | None, content: Content) -> Item:
    if name is None:
        raise InvalidRequestError(f"Each {kind.title} has a name.")
    _require_length("name", name)
    return Item(kind, name, content)


def _require_length(what: str, text: str) -> None:
    if len(text) > NAME_LENGTH_MAX:
        raise InvalidRequestError(f"A {what} has {NAME_LENGTH_MAX} characters at most.")


_READERS: dict[Kind, Callable[[dict[str, Any]], Item]] = {
    OBJECT: _object,
    PROPERTY: _property,
    TAG: _tag,
    RESOURCE_TYPE: _association,
}
