"""The configured stores by name and by scheme, and their errors in the catalog's words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from backends.base import PruneStore, ReadStore
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
from backends.location import Location
from registry.domain.errors import (
    ConflictError,
    GoneError,
    InvalidRequestError,
    LimitExceededError,
    NoDataError,
    UnavailableError,
)


@dataclass(frozen=True, slots=True)
class NamedStore:
    """A store that can be written, under the name that operators and clients use."""

    name: str
    store: PruneStore


class Stores:
    """Which store takes new data, and which one holds a location."""

    def __init__(
        self,
        by_name: Mapping[str, ReadStore],
        by_scheme: Mapping[str, ReadStore],
        default: str,
    ) -> None:
        self._by_name = dict(by_name)
        self._by_scheme = dict(by_scheme)
        self._default = default

    def for_new_data(self, name: str | None) -> NamedStore:
        """Return the store that a client asked for, or the default one."""
        wanted = name or self._default
        store = self._by_name.get(wanted)
        if store is None:
            raise InvalidRequestError(f"Unknown store: {wanted}")
        if not isinstance(store, PruneStore):
            raise GoneError(f"Adding images to the store {wanted} is disabled.")
        return NamedStore(wanted, store)

    def holding(self, location: Location) -> ReadStore:
        """Return the store that reads a location."""
        store = self._by_scheme.get(location.scheme)
        if store is None:
            raise UnavailableError(f"No store is configured for {location.scheme}:// locations.")
        return store

    async def discard(self, location: Location) -> None:
        """Delete an object; one that is gone already is as good."""
        store = self.holding(location)
        with translated():
            if not isinstance(store, PruneStore):
                raise ConflictError(f"The data of {location.scheme}:// cannot be deleted.")
            try:
                await store.delete(location)
            except MissingError:
                return

    async def aclose(self) -> None:
        """Give back what the stores hold."""
        for store in {id(store): store for store in self._by_name.values()}.values():
            await store.aclose()


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
