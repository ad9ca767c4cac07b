"""Places of images' data that clients name: whether they may, and what is there."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Protocol

from backends.location import Location
from registry.domain.errors import (
    InvalidRequestError,
    NoDataError,
    RegistryError,
    UnavailableError,
)
from registry.domain.identity import Identity
from registry.domain.image import Image, ImageLocation
from registry.domain.limits import Limits
from registry.domain.locations import FoundPlace, LocationRules, UncheckedPlaceError
from registry.service.places import shown_url
from registry.service.stores import Stores, translated

__all__ = ["LocationBook", "Locations", "WebFilter"]

_log = logging.getLogger(__name__)

# What is on this machine is not for clients to name, nor which account an operator has configured.
_REFUSED_SCHEMES = frozenset({"file", "filesystem", "swift+config"})
_WEB_SCHEMES = frozenset({"http", "https"})
# Why is told to operators only: clients would learn what listens where only the catalog gets.
_UNREADABLE = "there is no data of a known size, or it cannot be reached, or it may not be read"


class WebFilter(Protocol):
    """Which web addresses may be read for clients: `registry.fetching.filtering`."""

    async def addresses(self, uri: str) -> tuple[str, ...]:
        """Return where a URI may be read from; `InvalidRequestError` if it may not."""


class Locations:
    """Looks at places that clients name."""

    def __init__(
        self,
        stores: Stores,
        web: WebFilter,
        limits: Limits,
        *,
        shown: bool = False,
        algorithm: str = "sha512",
    ) -> None:
        self._stores = stores
        self._limits = limits
        self._web = web
        self._shown = shown
        self._algorithm = algorithm

    def book(self, identity: Identity) -> LocationBook:
        """Begin to look at the places that one request of a caller names."""
        rules = LocationRules(self._shown, self._algorithm, shown_url)
        return LocationBook(rules, partial(self.find, identity))

    def is_on_the_web(self, url: str) -> bool:
        """Tell whether a place is a web address, and such are taken."""
        kinds = {store.kind for store in self._stores.settings.stores}
        return Location(url).scheme in _WEB_SCHEMES and "http" in kinds

    def in_order(self, image: Image) -> tuple[ImageLocation, ...]:
        """Return the places of an image's data, the heaviest store's first."""
        return self._stores.in_order(image.locations)

    async def find(self, identity: Identity, url: str, store: str | None) -> FoundPlace:
        """Look at a place; `store` is the one that its client says it is in.

        `InvalidRequestError` if this client may not name it, or nothing is there;
        `LimitExceededError` if more is there than one image may have.
        """
        location = Location(url)
        if location.scheme in _REFUSED_SCHEMES:
            raise _invalid("of this kind none is taken from clients")
        on_the_web = location.scheme in _WEB_SCHEMES
        if on_the_web:
            await self._require_allowed(url)
        told = store if isinstance(store, str) else None
        name, opened = self._stores.admitting(location, told, strictly=not identity.is_service)
        try:
            with translated():
                size = (await opened.stat(location)).size
        except RegistryError as error:
            if on_the_web:
                _log.info("a location that a client names cannot be read: %s", error)
                raise _invalid(_UNREADABLE) from None
            if isinstance(error, UnavailableError):
                raise
            missing = isinstance(error, NoDataError)
            raise _invalid("nothing is there" if missing else str(error)) from error
        if not size:
            raise _invalid(_UNREADABLE if on_the_web else "there is no data")
        self._limits.require_size(size)
        return FoundPlace(name if self._stores.settings.several else None, size)

    async def _require_allowed(self, url: str) -> None:
        """Refuse a web address by what its client can read in it, without asking its server."""
        try:
            await self._web.addresses(url)
        except InvalidRequestError as error:
            raise _invalid(f"the URI does not pass filtering: {error}") from None


class LocationBook:
    """What has been found of the places that one request names."""

    def __init__(
        self, rules: LocationRules, find: Callable[[str, str | None], Awaitable[FoundPlace]]
    ) -> None:
        self._found: dict[str, FoundPlace] = {}
        self.rules = replace(rules, found=self._found)
        self._find = find

    async def look(self, unchecked: UncheckedPlaceError) -> None:
        """Look at a place that the rules do not know; `InvalidRequestError` as `Locations.find`."""
        self._found[unchecked.url] = await self._find(unchecked.url, unchecked.store)


def _invalid(reason: str) -> InvalidRequestError:
    return InvalidRequestError(f"Invalid location: {reason}")
