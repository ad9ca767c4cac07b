"""Kinds of options, as operators write their values."""

from __future__ import annotations

import re
from typing import Any

from oslo_config import cfg, types


class Commented(types.ConfigType):
    """A type that lets a comment stand behind the value, as operators write it."""

    def __init__(self, inner: types.ConfigType) -> None:
        super().__init__(type_name=str(inner))
        self._inner = inner

    def __call__(self, value: Any) -> Any:
        return self._inner(re.sub(r"\s+#.*", "", value) if isinstance(value, str) else value)

    def __repr__(self) -> str:
        return repr(self._inner)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Commented) and self._inner == other._inner

    __hash__ = None  # type: ignore[assignment]  # compared by value, as oslo.config's types are

    def _formatter(self, value: Any) -> str:
        return str(value)


def integer(
    name: str, default: int | None, help_text: str, least: int = -1, most: int = (1 << 63) - 1
) -> cfg.Opt:
    """Make an option that is a whole number."""
    return cfg.Opt(
        name, type=Commented(types.Integer(least, most)), default=default, help=help_text
    )


def truth(name: str, help_text: str, *, default: bool = False) -> cfg.Opt:
    """Make an option that is true or false."""
    return cfg.Opt(name, type=Commented(types.Boolean()), default=default, help=help_text)
