"""Stores that a test made itself, where the catalog expects configured ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backends.base import ReadStore
from backends.configuration import StoreSettings, StoresSettings
from backends.errors import UnsupportedError
from backends.location import Location
from backends.options import MemoryOptions
from registry.service.stores import Stores


@dataclass(frozen=True, slots=True)
class Given:
    """Stores by name; locations of `memory` that name none are the first one's."""

    stores: Mapping[str, ReadStore]

    def named(self, name: str) -> ReadStore:
        return self.stores[name]

    def holding(self, location: Location, name: str | None = None) -> tuple[str, ReadStore]:
        if location.scheme != "memory":
            raise UnsupportedError(f"{location}: no store of this kind is configured")
        found = name if name is not None and name in self.stores else next(iter(self.stores))
        return found, self.stores[found]

    async def aclose(self) -> None:
        """Whoever made the stores closes them."""


def given(
    stores: Mapping[str, ReadStore],
    *,
    weights: Mapping[str, int] | None = None,
    several: bool = True,
) -> Stores:
    """Return the catalog's view of stores; the first one is the default."""
    settings = tuple(
        StoreSettings(name, "memory", MemoryOptions(), (weights or {}).get(name, 0))
        for name in stores
    )
    return Stores(StoresSettings(settings, settings[0].name, several), Given(stores))
