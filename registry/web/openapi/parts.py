"""What operations are described with: parameters, bodies, and what may be answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Schema: TypeAlias = dict[str, Any]

JSON = "application/json"
OCTETS = "application/octet-stream"
TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}


def ref(name: str) -> Schema:
    """Refer to one of the schemas that the document has by name."""
    return {"$ref": f"#/components/schemas/{name}"}


def closed(properties: Mapping[str, Schema], *optional: str) -> Schema:
    """Describe an object that has these members, and no others."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter, in the query unless it is said otherwise."""

    name: str
    says: str
    schema: Schema = field(default_factory=lambda: TEXT)
    place: str = "query"

    def document(self) -> Schema:
        """Return it as OpenAPI has it."""
        said = {"name": self.name, "in": self.place, "description": self.says}
        return {
            **said,
            "schema": self.schema,
            **({"required": True} if self.place == "path" else {}),
        }


@dataclass(frozen=True, slots=True)
class Answer:
    """A success, or what is no error: its body, by media type, and header fields."""

    says: str
    body: Mapping[str, Schema] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Operation:
    """A method of a path; `errors` are statuses, beside those that every call may answer."""

    method: str
    path: str
    says: str
    answers: Mapping[int, Answer]
    errors: tuple[int, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    body: Mapping[str, Schema] = field(default_factory=dict)
    more: str = ""
    is_known_to_all: bool = False  # no token is needed


ANY: Schema = {}
DONE = Answer("Done.")
LIMIT = Parameter("limit", "How many at most; cut to api_limit_max.", COUNT)
MARKER = Parameter("marker", "The id behind which the page begins.")


def answer(says: str, schema: Schema | str) -> Answer:
    """Describe an answer in JSON: a schema, or the name of one."""
    return Answer(says, {JSON: ref(schema) if isinstance(schema, str) else schema})
