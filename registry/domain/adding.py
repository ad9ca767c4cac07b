"""What a request to add a location says (POST /v2/images/{id}/locations)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from jsonschema import Draft202012Validator

from registry.domain.errors import InvalidRequestError
from registry.domain.locations import require_hash
from registry.domain.validation import SHOWN_LENGTH_MAX, check_text

_SCHEMA = Draft202012Validator(
    {
        "type": "object",
        "properties": {
            "url": {"type": "string"},
            "validation_data": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "os_hash_algo": {
                        "type": "string",
                        "maxLength": 64,
                        "enum": ["sha1", "sha256", "sha512", "md5"],
                    },
                    "os_hash_value": {"type": "string", "maxLength": 128},
                },
                "dependentRequired": {
                    "os_hash_value": ["os_hash_algo"],
                    "os_hash_algo": ["os_hash_value"],
                },
            },
        },
        "required": ["url"],
    }
)


@dataclass(frozen=True, slots=True)
class AddedLocation:
    """A place, and the hash that its data is said to have."""

    url: str = field(repr=False)
    algorithm: str | None
    value: str | None  # in hex

    @classmethod
    def parse(cls, body: Any) -> AddedLocation:
        """Read the body of the request."""
        for error in _SCHEMA.iter_errors(body):
            message = error.message[:SHOWN_LENGTH_MAX]
            raise InvalidRequestError(
                f"Provided object does not match schema 'location': {message}"
            )
        check_text(body)
        told = body.get("validation_data", {})
        return cls(body["url"], told.get("os_hash_algo"), told.get("os_hash_value"))

    @property
    def validation(self) -> dict[str, str]:
        """What is told of the data, as clients tell it."""
        told = {"os_hash_algo": self.algorithm, "os_hash_value": self.value}
        return {name: value for name, value in told.items() if value is not None}

    def require_hash(self) -> None:
        """Refuse what cannot be a hash by the algorithm that is told."""
        if self.algorithm is not None and self.value is not None:
            require_hash(self.algorithm, self.value, InvalidRequestError)
