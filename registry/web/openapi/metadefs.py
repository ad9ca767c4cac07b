"""Metadata definitions: namespaces, what they have, and the schemas of it all."""

from __future__ import annotations

from collections.abc import Iterator

from registry.domain.metadefs.kinds import KINDS, OBJECT, PROPERTY, RESOURCE_TYPE, TAG, Kind
from registry.domain.metadefs.schemas import schemas
from registry.web.openapi.parts import (
    DONE,
    JSON,
    LIMIT,
    TEXT,
    Answer,
    Operation,
    Parameter,
    Schema,
    answer,
)

_OF_ALL = "/v2/metadefs/namespaces"
_ONE = f"{_OF_ALL}/{{namespace}}"
_SOMETHING: Schema = {"type": "object"}
_MADE = (403, 404, 409, 413)
_VISIBILITY = Parameter("visibility", "public or private.")
_PREFIX = Parameter("resource_type", "By whose prefix properties are to be named.")
_ORDER = (
    LIMIT,
    Parameter("marker", "The name behind which the page begins."),
    Parameter("sort_key", "A field; created_at if it is left out."),
    Parameter("sort_dir", "asc or desc."),
)


def _required(*names: str) -> Schema:
    return {
        "type": "object",
        "properties": dict.fromkeys(names, TEXT),
        "required": list(names),
    }


_NAMED = {
    OBJECT: _required("name"),
    PROPERTY: _required("name", "title", "type"),
    TAG: _required("name"),
    RESOURCE_TYPE: _required("name"),
}
_TAGS: Schema = {
    "type": "object",
    "properties": {"tags": {"type": "array", "items": _required("name")}},
    "required": ["tags"],
}


def _of_kind(kind: Kind) -> Iterator[Operation]:
    of_all, one = f"{_ONE}/{kind.plural}", f"{_ONE}/{kind.plural}/{{name}}"
    listed = {200: answer("They.", _SOMETHING)}
    query = _ORDER if kind is TAG else ()
    yield Operation("GET", of_all, f"List {kind.title}s", listed, (403, 404), query)
    body = {JSON: _TAGS if kind is TAG else _NAMED[kind]}
    said = (
        "Make tags, instead of others or beside them" if kind is TAG else f"Make one: {kind.title}"
    )
    append = Parameter("X-Openstack-Append", "true: beside others.", place="header")
    made = {201: answer("What was made.", _SOMETHING)}
    parameters = (append,) if kind is TAG else ()
    yield Operation("POST", of_all, said, made, _MADE, parameters, body)
    yield Operation("DELETE", one, f"Delete one: {kind.title}", {204: DONE}, (403, 404))
    if kind is RESOURCE_TYPE:
        return
    yield Operation("DELETE", of_all, f"Delete all: {kind.title}", {204: DONE}, (403, 404))
    shown = {200: answer("It.", _SOMETHING)}
    prefix = (_PREFIX,) if kind is PROPERTY else ()
    yield Operation("GET", one, f"Show one: {kind.title}", shown, (403, 404), prefix)
    yield Operation(
        "PUT", one, f"Replace one: {kind.title}", shown, _MADE, body={JSON: _NAMED[kind]}
    )
    if kind is TAG:
        yield Operation("POST", one, "Make a tag", made, _MADE)


METADEFS = (
    *(
        Operation(
            "GET",
            f"/v2/schemas/metadefs/{name}",
            f"The JSON schema of metadata definitions: {name}",
            {200: answer("The schema.", _SOMETHING)},
        )
        for name in schemas()
    ),
    Operation(
        "GET",
        "/v2/metadefs/resource_types",
        "List resource types",
        {200: answer("They.", _SOMETHING)},
        (403, 404),
    ),
    Operation(
        "GET",
        _OF_ALL,
        "List namespaces of metadata definitions",
        {200: answer("A page.", _SOMETHING)},
        (403, 404),
        (*_ORDER, _VISIBILITY, Parameter("resource_types", "With one of these; commas between.")),
    ),
    Operation(
        "POST",
        _OF_ALL,
        "Make a namespace, with all that it shall have",
        {201: Answer("It.", {JSON: _SOMETHING}, {"Location": "Where it is."})},
        _MADE,
        body={JSON: _required("namespace")},
    ),
    Operation(
        "GET",
        _ONE,
        "Show a namespace and all that it has",
        {200: answer("It.", _SOMETHING)},
        (403, 404),
        (_PREFIX,),
    ),
    Operation(
        "PUT",
        _ONE,
        "Replace what is said of a namespace",
        {200: answer("It.", _SOMETHING)},
        _MADE,
        body={JSON: _required("namespace")},
    ),
    Operation("DELETE", _ONE, "Delete a namespace and all that it has", {204: DONE}, (403, 404)),
    *(operation for kind in KINDS for operation in _of_kind(kind)),
)
