"""Deletes data that no image has any more: owed in the database first, then done.

unused   where a store would refuse, because somebody uses the data, nothing is begun
owed     by the transaction in which a record forgets where its data is
claimed  so that one deletes it, and nobody has new data in its place meanwhile
held     the claim is renewed while the store deletes; one that cannot be is given up, and the deletion
         with it, before another may have it
done     by that call at once, and if it cannot, or dies, by the scrubber (`registry.service.scrubbing`)
twice    behind one who died, or stood still, and may go on when nobody thinks of him any more: his
         place stays closed for new data for a while, and is emptied again at the end of it
delayed  where the operator will, by the scrubber only, after a while

So nothing is left in a store that nobody knows of, and no record tells of data that is not there.
What an image names (again) is not deleted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

from backends.outlasting import finished
from registry.db.database import Connection, Database
from registry.db.discards import (
    Discard,
    add_discards,
    claim_discard,
    drop_discard,
    end_discard,
    image_discards,
    is_location,
    postpone_discard,
    renew_discard,
)
from registry.domain.errors import ConflictError, RegistryError, UnavailableError
from registry.domain.image import ImageLocation
from registry.service.holding import hold
from registry.service.leases import Lease
from registry.service.stores import Stores

T = TypeVar("T")
LOG = logging.getLogger(__name__)

DISCARD_SECONDS = 660.0  # of a deletion, which drivers bound themselves; then it is cut short
WHOLE_SECONDS = 1800.0  # of all that one image has left, for whoever deletes it
LEASE_SECONDS = 60.0  # from the death of who owes, or has claimed, a deletion to another doing it
RENEWALS = 4  # in that time
STILL_SECONDS = 1800.0  # for which a process may stand still, and go on
PAUSE_SECONDS = 60.0  # behind the first failure, then twice that, and so on
PAUSE_SECONDS_MAX = 3600.0
DOUBLINGS_MAX = 16  # more than these limits need


class UnaskedError(Exception):
    """Stores are to be asked first whether the data in these places may go."""

    def __init__(self, places: Sequence[ImageLocation]) -> None:
        super().__init__(f"{len(places)} places")
        self.places = places


def _nobody() -> None:
    """Nobody is to be told."""


class Discards:
    """The deletions that are owed; `delay` where all of them wait for so many seconds.

    `lease`: whoever was silent for so many seconds is dead.
    """

    def __init__(
        self,
        database: Database,
        stores: Stores,
        *,
        delay: float | None = None,
        lease: float = LEASE_SECONDS,
    ) -> None:
        self._database = database
        self._stores = stores
        self._delay = delay
        self._lease = lease

    @property
    def are_delayed(self) -> bool:
        """Whether what is deleted waits for the scrubber."""
        return self._delay is not None

    async def asking(self, forget: Callable[[Connection, Collection[str]], Awaitable[T]]) -> T:
        """Return what a change returns, once stores were asked whether what it forgets may go.

        It is called with the places that were asked about, which it passes to `owe`.
        `ConflictError` where somebody uses the data: nothing is changed then.
        """
        asked: set[str] = set()
        while True:
            try:
                return await self._database.change(forget, asked)
            except UnaskedError as unasked:
                for place in unasked.places:
                    await self._require_unused(place)
                    asked.add(place.url)

    async def _require_unused(self, place: ImageLocation) -> None:
        try:
            await self._stores.require_unused(place)
        except ConflictError:
            raise
        except RegistryError as error:  # of a store that is away, what it has is owed
            LOG.info("nobody knows whether data is in use: %s", error)

    async def owe(
        self,
        connection: Connection,
        image_id: str,
        places: Sequence[ImageLocation],
        asked: Collection[str] | None = None,
    ) -> None:
        """Owe the deletion of data that a record forgets in this transaction.

        With `asked`, that ends the transaction where a store was not asked about the data, unless
        it stays there: because deletions wait, or for another image.
        """
        if asked is not None and self._delay is None:
            unasked = [
                place
                for place in places
                if place.url not in asked and not await is_location(connection, place.url, image_id)
            ]
            if unasked:
                raise UnaskedError(unasked)
        wait = self._lease if self._delay is None else self._delay
        await add_discards(connection, image_id, places, wait)

    async def carry_out(self, image_id: str) -> None:
        """Delete what an image has left, unless that waits; what cannot be deleted stays owed.

        What others have begun to delete is left to them, and what is another image's too to the
        scrubber: of two who leave it to each other at the same time, it finds it nobody's.
        """
        if self._delay is not None:
            return
        try:
            for discard in await self._database.query(image_discards, image_id):
                if not discard.attempts:
                    await self._attempt(discard)
        except RegistryError as error:
            LOG.warning("image %s: its data is to be deleted later: %s", image_id, error)

    async def carry_out_whole(self, image_id: str) -> None:
        """Carry it out, to the end also if the caller leaves."""
        try:
            await finished(self.carry_out(image_id), WHOLE_SECONDS)
        except TimeoutError:
            LOG.warning("image %s: the rest of its data is to be deleted later", image_id)

    def store_of(self, discard: Discard) -> str | None:
        """Return the name of the store that a thing is in; None if that is not configured."""
        return self._stores.name_of(discard.place)

    async def settle(self, discard: Discard, away: Callable[[], None] = _nobody) -> bool:
        """Delete one thing, or forget it if it is an image's; say whether that is settled.

        `away` is told where its store does not answer.
        """
        if await self._attempt(discard, away):
            return True
        if await self._database.change(drop_discard, discard):
            LOG.info("image %s: what it had is another image's now", discard.image_id)
            return True
        return False

    async def _attempt(self, discard: Discard, away: Callable[[], None] = _nobody) -> bool:
        """Claim one thing and delete it; say whether it is gone."""
        claimed = asyncio.get_running_loop().time()
        claim = await self._database.change(claim_discard, discard, self._lease)
        if claim is None:
            return False
        try:
            async with asyncio.timeout(DISCARD_SECONDS), self._held(claim, claimed):
                await self._stores.discard(claim.place)
        except (RegistryError, TimeoutError) as error:
            if isinstance(error, (UnavailableError, TimeoutError)):
                away()
            doubled = PAUSE_SECONDS * 2 ** min(discard.attempts // 2, DOUBLINGS_MAX)
            pause = min(doubled, PAUSE_SECONDS_MAX)
            LOG.warning(
                "image %s: its data is deleted in %d s, not now: %s", discard.image_id, pause, error
            )
            await self._database.change(postpone_discard, claim, pause)
            return False
        if discard.is_claimed:
            LOG.warning("image %s: who was to delete its data is silent", discard.image_id)
            await self._database.change(postpone_discard, claim, STILL_SECONDS)
        else:
            await self._database.change(end_discard, claim)
        return True

    @asynccontextmanager
    async def _held(self, claim: Discard, claimed: float) -> AsyncIterator[None]:
        """Renew a claim for as long as the context lasts; `LeaseLostError` in it if that fails."""
        lease = Lease()
        holding = asyncio.create_task(
            hold(
                f"the deletion of what image {claim.image_id} had",
                partial(self._database.change, renew_discard, claim, self._lease),
                claimed=claimed,
                lease=self._lease,
                pause=self._lease / RENEWALS,
            )
        )
        holding.add_done_callback(lambda task: None if task.cancelled() else lease.lose())
        try:
            async with lease.kept():
                yield
        finally:
            holding.cancel()
            await asyncio.wait({holding})


async def require_settled(
    connection: Connection, stores: Stores, image_id: str, names: Collection[str]
) -> None:
    """Refuse to write an image's data into stores where what it had before is to be deleted.

    `ConflictError`: the new object would have the old one's name, which is the image's id, and go
    with it.  Parts of uploads have other names.
    """
    for discard in await image_discards(connection, image_id):
        name = stores.name_of(discard.place)
        if name in names and image_id in discard.place.url.split("/"):
            raise ConflictError(
                f"Image {image_id}: the data that it had in store {name} is not deleted yet."
            )
