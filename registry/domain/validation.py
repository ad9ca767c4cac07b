"""Checks a document against the image schema, once compiled."""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator

from registry.domain.errors import InvalidRequestError
from registry.domain.schemas import Schema

SHOWN_LENGTH_MAX = 500  # of a refused value in a message


class ImageValidator:
    """Says whether what a client sent can be (part of) an image."""

    def __init__(self, schema: Schema) -> None:
        self._validator = Draft202012Validator(schema)

    def check(self, document: Any) -> None:
        """Raise `InvalidRequestError` unless `document` is an object that fits the schema."""
        if not isinstance(document, dict):
            raise InvalidRequestError("An image is described by a JSON object.")
        require_fit(self._validator, document)


def require_fit(validator: Draft202012Validator, document: Any) -> None:
    """Refuse what does not fit a schema, which has a name, or what a database cannot hold."""
    schema = validator.schema
    assert isinstance(schema, dict)
    for error in validator.iter_errors(document):
        where = f" in '{error.json_path.removeprefix('$.')}'" if error.path else ""
        message = error.message[:SHOWN_LENGTH_MAX]
        raise InvalidRequestError(
            f"Provided object does not match schema '{schema['name']}': {message}{where}"
        )
    check_text(document)


def check_text(value: Any) -> None:
    """Refuse text that a database cannot hold: NUL and lone surrogates, however deep inside."""
    if isinstance(value, str):
        if "\0" in value:
            raise InvalidRequestError("Text with a NUL character cannot be stored.")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidRequestError("Text with half a character cannot be stored.") from None
    elif isinstance(value, dict):
        for key, inner in value.items():
            check_text(key)
            check_text(inner)
    elif isinstance(value, list):
        for inner in value:
            check_text(inner)
