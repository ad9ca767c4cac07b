"""Namespaces of metadata definitions and what they have, as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeAlias

from registry.domain.metadefs.kinds import Kind

NAME_LENGTH_MAX: Final = 80  # of namespaces, of what they have, and of prefixes; in characters
DESCRIPTION_LENGTH_MAX: Final = 500
PUBLIC: Final = "public"
PRIVATE: Final = "private"

Content: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Item:
    """An object, property, tag or resource type association.

    `content` is the document of it that was given, without what every item has.
    """

    kind: Kind
    name: str
    content: Content = field(default_factory=dict)
    created_at: datetime | None = None  # None: it is yet to be made
    updated_at: datetime | None = None
    id: int = 0

    @property
    def prefix(self) -> str:
        """What names of properties begin with for a resource type."""
        return str(self.content.get("prefix") or "")


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace; `owner` None belongs to everybody, where there is no authentication."""

    name: str
    owner: str | None = None
    visibility: str = PRIVATE
    protected: bool = False
    display_name: str | None = None
    description: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    id: int = 0


@dataclass(frozen=True, slots=True)
class ItemPath:
    """Where an item is, if it is there."""

    kind: Kind
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class ResourceType:
    """A name that namespaces were associated with, once."""

    name: str
    created_at: datetime
    updated_at: datetime
