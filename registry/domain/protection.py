"""Which custom properties a caller may make, see, change and remove: an operator's file says it.

Where there is none, everybody may do everything with the properties of images that they may change.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from registry.domain.errors import ForbiddenError

if TYPE_CHECKING:
    from registry.domain.identity import Identity

Use: TypeAlias = Literal["create", "read", "update", "delete"]
Properties: TypeAlias = dict[str, str | None]


class Protections(Protocol):
    """What may be done with properties."""

    def allow(self, use: Use, name: str, identity: Identity) -> bool:
        """Tell whether a caller may make that use of a property."""


class _Unprotected:
    def allow(self, use: Use, name: str, identity: Identity) -> bool:
        del use, name, identity
        return True


UNPROTECTED = _Unprotected()


def shown(identity: Identity, properties: Properties) -> Properties:
    """Return the properties that the caller may see."""
    return {name: value for name, value in properties.items() if identity.may_use("read", name)}


def require_use(identity: Identity, use: Use, names: Iterable[str]) -> None:
    """Refuse a use of properties, in Glance's words."""
    for name in names:
        if not identity.may_use(use, name):
            raise ForbiddenError(f"Attribute '{name}' is reserved.")
