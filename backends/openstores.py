"""The configured stores, each opened at its first use: one that is down disturbs no other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from backends.base import PruneStore, ReadStore, ReadStream, Stat, Writer
from backends.configuration import StoreSettings, StoresSettings
from backends.errors import UnavailableError, UnsupportedError
from backends.guard import Guard
from backends.holding import closeness, is_of_kind
from backends.location import Location
from backends.opening import open_store
from backends.options import Handling, HttpOptions
from backends.spans import Span
from backends.watching import Observer

_log = logging.getLogger(__name__)


class OpenStores:
    """Stores by name and by location; `observer` makes who hears of the operations of one.

    Without a `guard`, whatever a location names, or leads to, is read from the web.
    """

    def __init__(
        self,
        settings: StoresSettings,
        observer: Callable[[str], Observer] | None = None,
        handling: Handling = Handling(),  # noqa: B008  # frozen
        guard: Guard | None = None,
    ) -> None:
        self._settings = settings
        self._stores = {
            store.name: (_LazyRead if isinstance(store.options, HttpOptions) else _LazyPrune)(
                store, observer(store.name) if observer else None, handling, guard
            )
            for store in settings.stores
        }

    def named(self, name: str) -> ReadStore:
        """Return a store by its name; UnsupportedError if there is none."""
        try:
            return self._stores[name]
        except KeyError:
            raise UnsupportedError(f"no store is called {name}") from None

    def holding(self, location: Location, name: str | None = None) -> tuple[str, ReadStore]:
        """Return the store that holds a location, and its name; UnsupportedError if none does.

        `name` is what the location's metadata tell: it decides if such a store is there, of the
        right kind.  Else it is the only one of that kind, or the one that the location fits best.
        """
        found = [each for each in self._settings.stores if is_of_kind(each.options, location)]
        if not found:
            raise UnsupportedError(f"{location}: no store of this kind is configured")
        chosen = next((each for each in found if each.name == name), None)
        if chosen is None:
            chosen = max(found, key=lambda each: closeness(each.options, location))
            if len(found) > 1 and not closeness(chosen.options, location):
                names = ", ".join(each.name for each in found)
                raise UnsupportedError(f"{location}: fits none of the stores {names}")
        return chosen.name, self._stores[chosen.name]

    async def open(self) -> None:
        """Open all of them, so that no first operation waits for libraries; who cannot be is told."""
        opening = (store.opened() for store in self._stores.values())
        for outcome in await asyncio.gather(*opening, return_exceptions=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, UnavailableError):
                raise outcome

    async def aclose(self) -> None:
        """Close those that were opened."""
        await asyncio.gather(*(store.aclose() for store in self._stores.values()))


class _LazyRead:
    """A store that is opened when it is used.

    One that cannot be opened is unavailable: that is logged once, and each use tries it again.
    """

    def __init__(
        self,
        settings: StoreSettings,
        observer: Observer | None,
        handling: Handling,
        guard: Guard | None,
    ) -> None:
        self._settings = settings
        self._observer = observer
        self._handling = handling
        self._guard = guard
        self._opening = asyncio.Lock()
        self._store: ReadStore | None = None
        self._is_told = False

    def __repr__(self) -> str:
        shown = "not opened" if self._store is None else repr(self._store)
        return f"{self._settings.name}: {shown}"

    async def stat(self, location: Location) -> Stat:
        return await (await self.opened()).stat(location)

    @asynccontextmanager
    async def read(self, location: Location, span: Span | None = None) -> AsyncIterator[ReadStream]:
        async with (await self.opened()).read(location, span) as stream:
            yield stream

    async def aclose(self) -> None:
        async with self._opening:
            store, self._store = self._store, None
        if store is not None:
            await store.aclose()

    async def opened(self) -> ReadStore:
        """Return it, opened by now; UnavailableError if it cannot be."""
        async with self._opening:
            if self._store is None:
                self._store = await self._open()
            return self._store

    async def _open(self) -> ReadStore:
        # In a thread: libraries are imported and files of authorities read.  Nothing else is held
        # before the first operation, so whoever is cancelled here leaves nothing behind.
        try:
            return await asyncio.to_thread(
                open_store, self._settings.options, self._handling, self._observer, self._guard
            )
        except (UnsupportedError, ValueError, ImportError, OSError) as error:
            reason = f"the store {self._settings.name} cannot be opened: {error}"
            if not self._is_told:
                self._is_told = True
                _log.error("%s", reason)
            raise UnavailableError(reason) from error


class _LazyPrune(_LazyRead):
    @asynccontextmanager
    async def create(self, name: str, size: int | None = None) -> AsyncIterator[Writer]:
        async with (await self._opened_for_writing()).create(name, size) as writer:
            yield writer

    async def require_unused(self, location: Location) -> None:
        await (await self._opened_for_writing()).require_unused(location)

    async def delete(self, location: Location) -> None:
        await (await self._opened_for_writing()).delete(location)

    async def clear(self, name: str) -> int:
        return await (await self._opened_for_writing()).clear(name)

    async def _opened_for_writing(self) -> PruneStore:
        store = await self.opened()
        if not isinstance(store, PruneStore):
            raise UnsupportedError(f"the store {self._settings.name} is read only")
        return store
