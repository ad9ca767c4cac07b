"""The way of an image's data into a store, from its first byte to the record that names it.

open     the name is free in the store: that is noted, and from then on whatever has it there is this
         one's, for whoever has to clean up
stream   each piece is counted, hashed and inspected (in threads) while the store writes it and the
         next ones come, nobody waiting for another (`registry.service.blocks`); memory grows by the
         digests of its chunks only, 32 MiB for 1 TiB
publish  the object has its name
enter    the record has the data; if it has not, since the image is gone, or because somebody else
         goes on with it, the store takes back this very object, and no other of its name
keep     the object stays; so it does where nobody can say whether the record has it

Whoever wants to learn of the data, or to refuse it, is an observer: hashes, the manifest, a look at
the format.  All see every byte, in order, while the store writes it.  The first one that fails ends
the others, and nothing of them goes on when that is told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import Any, Protocol

from backends.base import Writer
from backends.errors import DuplicateError, StoreError
from backends.location import Location
from registry.domain.errors import InvalidRequestError, RegistryError
from registry.domain.image import ImageLocation
from registry.domain.limits import Limits
from registry.domain.manifest import ManifestPage
from registry.service.blocks import Blocks, Reader
from registry.service.digests import Digests, Hashing
from registry.service.stores import NamedStore, Stores, translated

LOG = logging.getLogger(__name__)


class Observer(Protocol):
    """Sees the data of one image."""

    async def update(self, data: bytes) -> None:
        """See the next bytes; one call at a time.  A `RegistryError` refuses the image."""

    async def finish(self) -> Mapping[str, object]:
        """Return what the whole data tells, by fields of the image.

        Called once, behind the last update.  A `RegistryError` refuses the image.
        """


@dataclass(frozen=True, slots=True)
class Taken:
    """Data that is in a store under its name: what the record of its image is to say of it."""

    place: ImageLocation
    fields: Mapping[str, Any]
    pages: tuple[ManifestPage, ...]


class Ledger(Protocol):
    """Where it is written down how far data has come, by who takes it in and may be replaced."""

    def held(self) -> AbstractAsyncContextManager[None]:
        """Return what ends with an error once somebody else is known to go on with it."""

    async def begin(self) -> None:
        """Note that the store may hold something from now on; an error if others go on with it."""

    async def enter(self, taken: Taken) -> None:
        """Give the image its data; an error where that cannot be, or is not known to be done."""

    async def has(self, taken: Taken) -> bool:
        """Tell whether the image has it, behind an `enter` that failed; then, if not, it never will.

        A `RegistryError` if nobody can tell.
        """


class Intake:
    """Takes data in."""

    def __init__(self, stores: Stores, limits: Limits, hashing: Hashing) -> None:
        self._stores = stores
        self._limits = limits
        self._hashing = hashing

    async def take(  # noqa: PLR0913  # what goes where
        self,
        target: NamedStore,
        name: str,
        size: int | None,
        body: AsyncIterator[bytes],
        *,
        observers: Sequence[Observer],
        ledger: Ledger,
    ) -> Taken:
        """Bring data, of `size` bytes where that is known, into a store and a ledger.

        Behind an error that `may_leave` something, the store has to be cleared.
        """
        entered: Taken | None = None
        with translated():
            try:
                async with AsyncExitStack() as stack:
                    digests = Digests(self._hashing)
                    async with ledger.held():
                        created = target.store.create(name, size)
                        writer = await stack.enter_async_context(created)
                        await ledger.begin()
                        seen = (*digests.observers, *observers)
                        found = await take_in(body, size, self._limits, writer, seen)
                        result = await writer.publish()
                    manifest = await asyncio.to_thread(digests.manifest)
                    told = {"size": result.size, "os_manifest": manifest.name if manifest else None}
                    taken = Taken(
                        self._stores.placed(result.location, target, result.metadata),
                        {**digests.fields(), **found, **told},
                        manifest.pages if manifest else (),
                    )
                    try:
                        await ledger.enter(taken)
                    except BaseException:
                        await _keep_if_needed(writer, ledger, taken)
                        raise
                    writer.keep()
                    entered = taken
            except StoreError as error:
                if entered is None:
                    raise
                LOG.warning("%s is whole, and was not left well: %s", target.name, error)
        return entered


async def _keep_if_needed(writer: Writer, ledger: Ledger, taken: Taken) -> None:
    is_needed = True  # until somebody knows better
    try:
        is_needed = await ledger.has(taken)
    except RegistryError as error:
        LOG.warning("%s may be an image's, and stays: %s", Location(taken.place.url), error)
    finally:
        if is_needed:
            writer.keep()


def is_of_store(error: RegistryError) -> bool:
    """Tell whether it was a store that failed."""
    return isinstance(error.__cause__, StoreError)


def may_leave(error: RegistryError) -> bool:
    """Tell whether a store failed that may hold more than its driver knows now."""
    return is_of_store(error) and not isinstance(error.__cause__, DuplicateError)


async def take_in(
    body: AsyncIterator[bytes],
    size: int | None,
    limits: Limits,
    writer: Writer,
    observers: Sequence[Observer],
) -> dict[str, object]:
    """Write all of `body`, which is `size` bytes where that is known; nothing is published.

    Return what the observers found, by fields of the image.  `InvalidRequestError` if it is another
    size; `RegistryError` of what refuses it.
    """
    seeing = (writer.write, *(each.update for each in observers))
    blocks = Blocks(len(seeing))
    await _together(
        _receive(body, size, limits, blocks),
        *(_see(reader, see) for reader, see in zip(blocks.readers, seeing, strict=True)),
    )
    found: dict[str, object] = {}
    for each in observers:
        found |= await each.finish()
    return found


async def _receive(
    body: AsyncIterator[bytes], size: int | None, limits: Limits, blocks: Blocks
) -> None:
    taken = 0
    async for piece in body:
        taken += len(piece)
        limits.require_size(taken)
        if size is not None and taken > size:
            raise InvalidRequestError(f"More than the announced {size} bytes.")
        await blocks.put(piece)
    if size not in {None, taken}:
        raise InvalidRequestError(f"{size} bytes were announced and {taken} received.")
    blocks.end()


async def _see(blocks: Reader, see: Callable[[bytes], Awaitable[None]]) -> None:
    async for block in blocks:
        await see(block)


async def _together(*doings: Coroutine[None, None, None]) -> None:
    """Do all at once; the first error ends the others, and is raised when they have ended."""
    try:
        async with asyncio.TaskGroup() as group:
            for each in doings:
                group.create_task(each)
    except BaseExceptionGroup as failures:
        first = failures.exceptions[0]
        raise first from first.__cause__
