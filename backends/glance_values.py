"""Values of Glance's options as they stand in a section of its configuration.  Pure."""

from __future__ import annotations

from collections.abc import Mapping

_TRUE = ("true", "1", "on", "yes")  # what oslo.config takes for a boolean
_FALSE = ("false", "0", "off", "no")


def number(values: Mapping[str, str], name: str, default: int) -> int:
    """Return a number from 0 on; ValueError for anything else."""
    value = values.get(name, str(default)).strip()
    if not (value.isascii() and value.isdigit()):
        raise ValueError(f"{name} is not a number from 0 on: {value!r}")
    return int(value)


def truth(values: Mapping[str, str], name: str, default: str = "false") -> bool:
    """Return a boolean; ValueError for what is neither true nor false."""
    value = values.get(name, default).strip().lower()
    if value not in _TRUE + _FALSE:
        raise ValueError(f"{name} is neither true nor false: {value!r}")
    return value in _TRUE
