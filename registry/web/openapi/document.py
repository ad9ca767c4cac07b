"""The OpenAPI description of the catalog: `python -m registry.web.openapi.document > docs/openapi.json`."""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from http import HTTPStatus
from typing import Any

from registry.config import FormatSettings
from registry.domain.schemas import Formats, image_schema, member_schema
from registry.web.openapi.operations import ALWAYS, OPERATIONS
from registry.web.openapi.parts import JSON, TEXT, Answer, Operation, Schema, closed, ref

_PARAMETER = re.compile(r"{(\w+)}")
_PATHS = {
    "image_id": "The image's id.",
    "member": "A project.",
    "tag": "The tag.",
    "store": "The store's name.",
    "task_id": "The task's id.",
    "content": "algorithm:hex, or the name of a manifest.",
    "namespace": "The namespace's name.",
    "name": "The name of what is meant.",
}
_DESCRIPTION = """\
The Images API v2 of OpenStack, as Glance has it; what is not Glance's says so. Any version that \
`/versions` lists may stand for `v2`. Errors have the form that the client accepts: JSON, HTML or \
plain text."""


def openapi() -> dict[str, Any]:
    """Return the document, of OpenAPI 3.1."""
    paths: dict[str, Schema] = defaultdict(dict)
    for operation in OPERATIONS:
        paths[operation.path][operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "cacheproxy catalog",
            "version": "2.17",
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://controller:9292"}],
        "security": [{"token": []}],
        "paths": dict(paths),
        "components": {
            "securitySchemes": {
                "token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"}
            },
            "schemas": _schemas(),
            "responses": {"error": _error()},
        },
    }


def statuses_of(operation: Operation) -> frozenset[int]:
    """Return every status that a call may answer."""
    return frozenset({*operation.answers, *operation.errors, *ALWAYS})


def _operation(operation: Operation) -> Schema:
    parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _PATHS[name],
            "schema": {"type": "string", "minLength": 1},
        }
        for name in _PARAMETER.findall(operation.path)
    ]
    parameters += [each.document() for each in operation.parameters]
    responses = {str(status): _answer(answer) for status, answer in operation.answers.items()}
    for status in sorted(statuses_of(operation) - operation.answers.keys()):
        responses[str(status)] = {
            **ref_to_error(),
            "description": HTTPStatus(status).phrase,
        }
    said: Schema = {
        "operationId": _name(operation),
        "summary": operation.says,
        "responses": responses,
    }
    if operation.more:
        said["description"] = operation.more
    if parameters:
        said["parameters"] = parameters
    if operation.body:
        content = {kind: {"schema": schema} for kind, schema in operation.body.items()}
        said["requestBody"] = {"required": True, "content": content}
    if operation.is_known_to_all:
        said["security"] = []
    return said


def ref_to_error() -> Schema:
    """Refer to what all errors have in common."""
    return {"$ref": "#/components/responses/error"}


def _name(operation: Operation) -> str:
    words = re.findall(r"[a-z]+", operation.path.replace("v2/", "").lower())
    return "_".join([operation.method.lower(), *words])


def _answer(answer: Answer) -> Schema:
    said: Schema = {"description": answer.says}
    if answer.headers:
        said["headers"] = {
            name: {"description": text, "schema": TEXT} for name, text in answer.headers.items()
        }
    if answer.body:
        said["content"] = {kind: {"schema": schema} for kind, schema in answer.body.items()}
    return said


def _error() -> Schema:
    error = closed({"message": TEXT, "code": {"type": "integer"}, "title": TEXT})
    document = closed({"error": error})
    kinds = {JSON: document, "text/html": TEXT, "text/plain": TEXT}
    return {
        "description": "A refusal, and why.",
        "content": {kind: {"schema": schema} for kind, schema in kinds.items()},
    }


def _schemas() -> dict[str, Schema]:
    settings = FormatSettings()
    image = _plain(image_schema(Formats(settings.container, settings.disk)))
    properties = dict(image["properties"])
    for name in [name for name, about in properties.items() if about.pop("is_base", True) is False]:
        del properties[name]  # custom ones, which may have any text
    new = {name: about for name, about in properties.items() if not about.get("readOnly")}
    new.pop("locations", None)
    text: Schema = {"type": ["string", "null"]}
    optional = ("locations", "direct_url", "stores")
    time = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"}
    properties |= {"created_at": time, "updated_at": time}
    member = {**_plain(member_schema())["properties"], "created_at": time, "updated_at": time}
    versions = {"id": TEXT, "status": TEXT, "links": {"type": "array", "items": {"type": "object"}}}
    change = {"seq": {"type": "integer"}, "image_id": TEXT, "change": TEXT}
    store = {"type": "object", "properties": {"id": TEXT}, "required": ["id"]}
    return {
        "image": {
            "type": "object",
            "properties": properties,
            "required": [name for name in properties if name not in optional],
            "additionalProperties": text,
        },
        "new image": {
            "type": "object",
            "properties": new,
            "additionalProperties": {"type": "string"},
        },
        "images": closed(
            {"images": _list(ref("image")), "first": TEXT, "next": TEXT, "schema": TEXT}, "next"
        ),
        "found images": closed({"images": _list(ref("image")), "next": TEXT}, "next"),
        "patch": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "op": {"type": "string", "enum": ["add", "replace", "remove"]},
                    "path": {"type": "string", "pattern": "^/."},
                    "value": {},
                },
                "required": ["op", "path"],
            },
        },
        "member": closed(member),
        "members": closed({"members": _list(ref("member")), "schema": TEXT}),
        "versions": closed({"versions": _list(closed(versions))}),
        "usage": closed(
            {
                "usage": {
                    "type": "object",
                    "additionalProperties": closed(
                        {"usage": {"type": "integer"}, "limit": {"type": "integer"}}
                    ),
                }
            }
        ),
        "stores": closed({"stores": _list(store)}),
        "changes": closed(
            {"changes": _list(closed(change)), "last": {"type": "integer"}, "epoch": TEXT}
        ),
    }


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _plain(schema: Schema) -> Schema:
    """Return a copy, as deep as what is changed of it."""
    copied: Schema = json.loads(json.dumps(schema))
    return copied


def page() -> str:
    """Return the file that the docs publish."""
    return json.dumps(openapi(), indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Print it."""
    sys.stdout.write(page())


if __name__ == "__main__":
    main()
