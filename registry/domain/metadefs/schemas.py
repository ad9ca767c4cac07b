"""The JSON schemas of metadata definitions: Glance's fields, types and bounds; the words are ours."""

from __future__ import annotations

from typing import Any, TypeAlias

from registry.domain.metadefs.kinds import OBJECT, PROPERTY, RESOURCE_TYPE, TAG
from registry.domain.metadefs.records import (
    DESCRIPTION_LENGTH_MAX,
    NAME_LENGTH_MAX,
    PRIVATE,
    PUBLIC,
)

Schema: TypeAlias = dict[str, Any]

PATH = "/v2/schemas/metadefs"
TYPES = ("array", "boolean", "integer", "number", "object", "string", None)
_NAME: Schema = {"type": "string", "maxLength": NAME_LENGTH_MAX}
_TEXT: Schema = {"type": "string"}


def namespace_schema() -> Schema:
    """Return the schema of a namespace."""
    properties: Schema = {
        "namespace": {**_NAME, "description": "The name, which no other namespace has"},
        "display_name": {**_NAME, "description": "The name for people"},
        "description": {
            "type": "string",
            "description": "What the namespace is about, for people",
            "maxLength": DESCRIPTION_LENGTH_MAX,
        },
        "visibility": {
            "type": "string",
            "description": "Who may see the namespace",
            "enum": [PUBLIC, PRIVATE],
        },
        "protected": {"type": "boolean", "description": "Whether deleting is refused"},
        "owner": {
            "type": "string",
            "description": "The project that the namespace belongs to",
            "maxLength": 255,
        },
        **_times(),
        **_links(),
        "resource_type_associations": _array(
            {"name": _TEXT, "prefix": _TEXT, "properties_target": _TEXT}
        ),
        "properties": {"$ref": "#/definitions/property"},
        "objects": _array({"name": _TEXT, "description": _TEXT, **_parts_of_an_object()}),
        "tags": _array({"name": _TEXT}),
    }
    return _closed("namespace", properties, ("namespace",), _definitions())


def object_schema() -> Schema:
    """Return the schema of an object."""
    properties: Schema = {
        "name": _NAME,
        "description": _TEXT,
        **_parts_of_an_object(),
        **_links(),
        **_times(),
    }
    return _closed("object", properties, ("name",), _definitions())


def property_schema(*, named: bool = True) -> Schema:
    """Return the schema of a property; those of objects have their names outside."""
    required = ("type", "title", "name") if named else ("type", "title")
    numbers = _numbers()
    numbers["stringArray"]["minItems"] = 1
    return _closed("property", _property(), required, numbers)


def tag_schema() -> Schema:
    """Return the schema of a tag."""
    return _closed("tag", {"name": _NAME, **_times()}, ("name",))


def resource_type_schema() -> Schema:
    """Return the schema of the association of a resource type."""
    properties: Schema = {
        "name": {**_NAME, "description": "The resource type, as Heat names it where it can"},
        "prefix": {
            **_NAME,
            "description": "What the names of the namespace's properties begin with for this "
            "resource type, its separator included",
        },
        "properties_target": {
            **_NAME,
            "description": "Which of several kinds of metadata of the resource type is meant, "
            "such as those of a volume and of its image",
        },
        **_times(),
    }
    return _closed("resource_type_association", properties, ("name",))


def new_tags_schema() -> Schema:
    """Return the schema of several tags that are to be made; nobody asks for it."""
    tags = _array({"name": _TEXT})
    tags["items"] |= {"required": ["name"], "additionalProperties": False}
    return _closed("tags", {"tags": tags}, ())


def file_schema() -> Schema:
    """Return the schema of a file of definitions, of which no more is asked than that it can be kept."""
    text: Schema = {"type": ["string", "null"]}
    name: Schema = {**text, "maxLength": NAME_LENGTH_MAX}
    definitions: Schema = {
        "type": ["object", "null"],
        "propertyNames": {"maxLength": NAME_LENGTH_MAX},
        "additionalProperties": {"type": "object"},
    }

    def named(**more: Schema) -> Schema:
        item = {"type": "object", "required": ["name"], "properties": {"name": _NAME, **more}}
        return {"type": ["array", "null"], "items": item}

    return {
        "name": "file of metadata definitions",
        "type": "object",
        "required": ["namespace"],
        "properties": {
            "namespace": {**_NAME, "minLength": 1},
            "display_name": name,
            "description": text,
            "visibility": {"enum": [PUBLIC, PRIVATE, None]},
            "protected": {"type": ["boolean", "null"]},
            "owner": {"type": "string", "maxLength": 255},
            "resource_type_associations": named(prefix=name, properties_target=name),
            "properties": definitions,
            "objects": named(
                description=text,
                required={"type": ["array", "null"], "items": {"type": "string"}},
                properties={"type": ["object", "null"], "additionalProperties": {"type": "object"}},
            ),
            "tags": named(),
        },
    }


def collection_schema(name: str, item: Schema) -> Schema:
    """Return the schema of a list of what another schema is about."""
    return _collection(name, item, lambda inner: {"type": "array", "items": inner})


def properties_schema() -> Schema:
    """Return the schema of the properties of a namespace, by their names."""
    item = property_schema(named=False)
    return _collection(
        "properties", item, lambda inner: {"type": "object", "additionalProperties": inner}
    )


def schemas() -> dict[str, Schema]:
    """Return what clients may ask for, by the last part of its path."""
    association, plural = resource_type_schema(), "resource_type_associations"
    return {
        "namespace": namespace_schema(),
        "namespaces": collection_schema("namespaces", namespace_schema()),
        OBJECT.name: object_schema(),
        OBJECT.plural: collection_schema(OBJECT.plural, object_schema()),
        PROPERTY.name: property_schema(),
        PROPERTY.plural: properties_schema(),
        TAG.name: tag_schema(),
        TAG.plural: collection_schema(TAG.plural, tag_schema()),
        RESOURCE_TYPE.name: association,
        RESOURCE_TYPE.plural: collection_schema(plural, association),
    }


def _closed(
    name: str, properties: Schema, required: tuple[str, ...], definitions: Schema | None = None
) -> Schema:
    schema: Schema = {"name": name, "properties": properties, "additionalProperties": False}
    if definitions:
        schema["definitions"] = definitions
    if required:
        schema["required"] = list(required)
    return schema


def _collection(name: str, item: Schema, several: Any) -> Schema:
    """Lift the definitions of an item to the top, which references begin at."""
    inner = {key: value for key, value in item.items() if key != "definitions"}
    schema: Schema = {
        "name": name,
        "properties": {name: several(inner), "first": _TEXT, "next": _TEXT, "schema": _TEXT},
        "links": [
            {"rel": "first", "href": "{first}"},
            {"rel": "next", "href": "{next}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    }
    if "definitions" in item:
        schema["definitions"] = item["definitions"]
    return schema


def _array(properties: Schema) -> Schema:
    return {"type": "array", "items": {"type": "object", "properties": properties}}


def _times() -> Schema:
    time: Schema = {"type": "string", "readOnly": True, "format": "date-time"}
    return {
        "created_at": {**time, "description": "When it was made"},
        "updated_at": {**time, "description": "When it was last changed"},
    }


def _links() -> Schema:
    link: Schema = {"readOnly": True, "type": "string"}
    return {"schema": link, "self": link}


def _parts_of_an_object() -> Schema:
    return {
        "required": {"$ref": "#/definitions/stringArray"},
        "properties": {"$ref": "#/definitions/property"},
    }


def _numbers() -> Schema:
    return {
        "positiveInteger": {"type": "integer", "minimum": 0},
        "positiveIntegerDefault0": {
            "allOf": [{"$ref": "#/definitions/positiveInteger"}, {"default": 0}]
        },
        "stringArray": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
    }


def _definitions() -> Schema:
    definition = {"type": "object", "required": ["title", "type"], "properties": _property()}
    return {**_numbers(), "property": {"type": "object", "additionalProperties": definition}}


def _property() -> Schema:
    count, length = "#/definitions/positiveInteger", "#/definitions/positiveIntegerDefault0"
    kind: Schema = {"type": "string", "enum": list(TYPES)}
    return {
        "name": _NAME,
        "title": _TEXT,
        "description": _TEXT,
        "operators": {"type": "array", "items": {"type": "string"}},
        "type": kind,
        "required": {"$ref": "#/definitions/stringArray"},
        "minimum": {"type": "number"},
        "maximum": {"type": "number"},
        "maxLength": {"$ref": count},
        "minLength": {"$ref": length},
        "pattern": {"type": "string", "format": "regex"},
        "enum": {"type": "array"},
        "readonly": {"type": "boolean"},
        "default": {},
        "items": {"type": "object", "properties": {"type": kind, "enum": {"type": "array"}}},
        "maxItems": {"$ref": count},
        "minItems": {"$ref": length},
        "uniqueItems": {"type": "boolean", "default": False},
        "additionalItems": {"type": "boolean"},
    }
