"""The configured stores in the catalog's words: which takes new data, which holds a location."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from backends.base import PruneStore, ReadStore
from backends.configuration import StoresSettings
from backends.errors import (
    DeniedError,
    DuplicateError,
    InUseError,
    InvalidError,
    MissingError,
    NoSpaceError,
    StoreError,
    UnsupportedError,
)
from backends.holding import closeness, is_within
from backends.location import Location
from registry.domain.errors import (
    ConflictError,
    GoneError,
    InvalidRequestError,
    LimitExceededError,
    NoDataError,
    UnavailableError,
)
from registry.domain.image import ImageLocation
from registry.domain.locations import STORE

LOG = logging.getLogger(__name__)


class Opened(Protocol):
    """Stores that can be used: `backends.openstores.OpenStores`."""

    def named(self, name: str) -> ReadStore:
        """Return a store by its name."""

    def holding(self, location: Location, name: str | None = None) -> tuple[str, ReadStore]:
        """Return the name of the store that holds a location, and the store."""

    async def aclose(self) -> None:
        """Close them."""


@dataclass(frozen=True, slots=True)
class NamedStore:
    """A store that can be written, under the name that operators and clients use."""

    name: str
    store: PruneStore


class Stores:
    """Which store takes new data, and which one holds a location.

    As in Glance, clients know of stores only where several are configured by name.
    """

    def __init__(self, settings: StoresSettings, opened: Opened) -> None:
        self.settings = settings
        self._opened = opened
        self._weights = {store.name: store.weight for store in settings.stores}

    @property
    def names(self) -> tuple[str, ...]:
        """The stores that clients may name; none where there is one of each kind only."""
        return tuple(self._weights) if self.settings.several else ()

    @property
    def writable_names(self) -> tuple[str, ...]:
        """Those of them that data can be written to."""
        return tuple(
            name for name in self.names if isinstance(self._opened.named(name), PruneStore)
        )

    def for_new_data(self, name: str | None) -> NamedStore:
        """Return the store that a client asked for, or the default one."""
        chosen = name if self.settings.several else None
        wanted = self.settings.default if chosen is None else chosen
        if wanted not in self._weights:
            raise InvalidRequestError(f"Unknown store: {wanted}")
        store = self._opened.named(wanted)
        if not isinstance(store, PruneStore):
            raise GoneError(f"Adding images to the store {wanted} is disabled.")
        return NamedStore(wanted, store)

    def called(self, name: str) -> NamedStore:
        """Return the store that the catalog has noted by this name.

        `InvalidRequestError` if no store that can be written is called like that (any more).
        """
        store = self._opened.named(name) if name in self._weights else None
        if not isinstance(store, PruneStore):
            raise InvalidRequestError(f"Unknown store: {name}")
        return NamedStore(name, store)

    def placed(self, location: Location, store: NamedStore, notes: dict[str, str]) -> ImageLocation:
        """Return how the record of an image names a place in a store."""
        metadata = {**notes, STORE: store.name} if self.settings.several else notes
        return ImageLocation(location.uri, metadata)

    def holding(self, place: ImageLocation) -> ReadStore:
        """Return the store that holds a place."""
        location = Location(place.url)
        try:
            return self._opened.holding(location, place.metadata.get(STORE))[1]
        except UnsupportedError as error:
            raise UnavailableError(f"The store of the data is not configured: {error}") from error

    def admitting(
        self, location: Location, name: str | None, *, strictly: bool
    ) -> tuple[str, ReadStore]:
        """Return the store, and its name, that a place which a client names is in.

        `InvalidRequestError` if it is in none: what is elsewhere than operators configured is not
        even asked for.  `strictly`: nor other pools and containers that the store can reach.
        """
        fits = is_within if strictly else closeness
        try:
            found, store = self._opened.holding(location, name)
        except UnsupportedError as error:
            raise InvalidRequestError(f"Invalid location: {error}") from None
        if not any(
            each.name == found and fits(each.options, location) for each in self.settings.stores
        ):
            raise InvalidRequestError(f"Invalid location: {location} fits no store")
        return found, store

    def name_of(self, place: ImageLocation) -> str | None:
        """Return the name of a place's store, as its record has it or, if it is gone, by its URL."""
        told: str | None = place.metadata.get(STORE)
        if told in self._weights:
            return told
        try:
            return self._opened.holding(Location(place.url), told)[0]
        except UnsupportedError:
            return told

    def in_order(
        self, places: Iterable[ImageLocation], prefer: Sequence[str] = ()
    ) -> tuple[ImageLocation, ...]:
        """Return places in preferred stores first, then by descending weight."""
        if not self.settings.several:
            return tuple(places)

        def rank(place: ImageLocation) -> tuple[bool, int]:
            name = self.name_of(place)
            return name not in prefer, -self._weights.get(name or "", 0)

        return tuple(sorted(places, key=rank))

    def require_preference(self, names: Sequence[str]) -> None:
        """Refuse a preference for stores that there are not."""
        if names and not self.settings.several:
            raise InvalidRequestError(
                "Store selection for download is not available when multiple backends are "
                "not enabled."
            )
        for name in names:
            if name not in self._weights:
                raise InvalidRequestError(f"Store '{name}' is not configured.")

    async def require_unused(self, place: ImageLocation) -> None:
        """Refuse, as `discard` would, what somebody uses: `ConflictError`; nothing is changed."""
        store = self.holding(place)
        if isinstance(store, PruneStore):
            with translated():
                await store.require_unused(Location(place.url))

    async def discard(self, place: ImageLocation) -> None:
        """Delete an object; one that is gone already is as good.

        What lies on web servers is not ours to delete: it is left there, as Glance does.
        """
        store = self.holding(place)
        if not isinstance(store, PruneStore):
            LOG.info("%s: is left where it is", Location(place.url))
            return
        with translated():
            try:
                await store.delete(Location(place.url))
            except MissingError:
                LOG.warning("%s: is gone already", Location(place.url))

    async def clear(self, store: str, name: str) -> int:
        """Remove an object and what unfinished writers of it left; say how many things that were.

        `InvalidRequestError` if no store is called like that (any more).
        """
        with translated():
            return await self.called(store).store.clear(name)

    async def aclose(self) -> None:
        """Give back what the stores hold."""
        await self._opened.aclose()


@contextmanager
def translated() -> Iterator[None]:
    """Say a store's failure in the words of the catalog."""
    try:
        yield
    except MissingError as error:
        raise NoDataError(str(error)) from error
    except DuplicateError as error:
        raise ConflictError(f"The store holds such an object already: {error}") from error
    except InUseError as error:
        raise ConflictError(f"The data is in use: {error}") from error
    except InvalidError as error:
        raise InvalidRequestError(str(error)) from error
    except NoSpaceError as error:
        raise LimitExceededError(f"Image storage media is full: {error}") from error
    except DeniedError as error:
        raise UnavailableError(
            f"Insufficient permissions on image storage media: {error}"
        ) from error
    except UnsupportedError as error:
        raise InvalidRequestError(str(error)) from error
    except StoreError as error:
        raise UnavailableError(f"The store does not answer: {error}") from error
