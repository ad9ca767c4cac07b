"""Definitions of properties: what they may say, in the types that the API shows them in.

A default is shown as text, whatever it was given as, and numbers are whole, as in Glance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from registry.domain.errors import InvalidRequestError


def read_definition(given: Any) -> dict[str, Any]:
    """Return a definition as the API shows it; `InvalidRequestError` if it cannot be shown."""
    if not isinstance(given, dict):
        raise InvalidRequestError("A property is defined by a JSON object.")
    unknown = sorted(given.keys() - _FIELDS.keys())
    if unknown:
        raise InvalidRequestError(f"A property has no {', '.join(unknown)[:80]}.")
    for name in ("type", "title"):
        if given.get(name) is None:
            raise InvalidRequestError(f"A property needs a {name}.")
    return {name: _read(name, value) for name, value in given.items()}


def shown_definition(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Return a definition as the API shows it, of whatever was loaded from an operator's file."""
    shown: dict[str, Any] = {}
    for name, value in kept.items():
        try:
            shown[name] = _read(name, value)
        except InvalidRequestError:
            shown[name] = value
    return shown


def _read(name: str, value: Any) -> Any:
    if value is None or name not in _FIELDS:
        return value
    try:
        return _FIELDS[name](value)
    except (ValueError, OverflowError):
        raise InvalidRequestError(f"This is no {name} of a property.") from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError  # noqa: TRY004  # told as any other value that does not fit
    return value


def _texts(value: Any) -> list[str | None]:
    if not isinstance(value, list):
        raise ValueError  # noqa: TRY004  # as above
    return [None if each is None else _text(each) for each in value]


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError  # noqa: TRY004  # as above
    return value


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError  # noqa: TRY004  # as above
    return int(value)


def _default(value: Any) -> str | None:
    """Return a default as text; what is no scalar is none."""
    if not isinstance(value, str | int | float):
        return None
    text = str(value)
    if not text.isascii():
        raise ValueError
    return text


def _items(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or value.get("type") is None or value.keys() - {"type", "enum"}:
        raise ValueError
    shown: dict[str, Any] = {"type": _text(value["type"])}
    if "enum" in value:
        shown["enum"] = None if value["enum"] is None else _texts(value["enum"])
    return shown


_FIELDS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("name", "type", "title", "description", "pattern"), _text),
    **dict.fromkeys(("operators", "enum"), _texts),
    **dict.fromkeys(("minimum", "maximum", "minLength", "maxLength", "minItems"), _whole),
    "maxItems": _whole,
    **dict.fromkeys(("readonly", "confidential", "uniqueItems", "additionalItems"), _truth),
    "default": _default,
    "items": _items,
}
