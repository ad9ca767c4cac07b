"""Deletes what was to be deleted later, and what could not be deleted at once.

A recurring job, so that one instance does it at a time.  An image whose time has come is deleted in
one transaction, which owes its data's deletion: from then on it cannot be restored, and nothing of it
is forgotten.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from functools import partial

from registry.db.database import Connection, Database
from registry.db.discards import Discard, add_discards, due_discards
from registry.db.retired import end_retired, get_retired, restore_retired, retired_images
from registry.domain.errors import ConflictError
from registry.domain.job import Job
from registry.service.clock import Clock, utc_now
from registry.service.discards import Discards

LOG = logging.getLogger(__name__)

BATCH = 100  # images, or pieces of data, that are looked for at a time
LANE_MAX = 1000  # things of one store that wait in memory
LOOK_SECONDS = 60.0  # from one look to the next while a store is slow


class Scrubbing:
    """What the scrubber does; `keep` is for how many seconds deleted images can be restored."""

    def __init__(
        self,
        database: Database,
        discards: Discards,
        clock: Clock = utc_now,
        *,
        keep: float = 0.0,
        at_once: int = 1,
    ) -> None:
        self._database = database
        self._discards = discards
        self._clock = clock
        self._keep = keep
        self._at_once = at_once

    async def run(self, job: Job) -> None:
        """Do the recurring job, which says no more than that it is time."""
        del job
        await self.scrub()

    async def scrub(self) -> int:
        """Delete all that is due; say how many pieces of data are gone.  What fails is due later.

        Stores do not wait for each other; one that does not answer is left until the next time.
        """
        gone = 0
        away: set[str | None] = set()
        busy: dict[asyncio.Task[int], str | None] = {}
        try:
            while True:
                await self._end_images()
                due = await self._due(away.union(busy.values()))
                for store, discards in due.items():
                    emptying = self._empty(discards, store, away)
                    busy[asyncio.create_task(emptying, name=f"scrub {store}")] = store
                if not busy:
                    break
                ended, _ = await asyncio.wait(
                    busy, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                for task in ended:
                    del busy[task]
                    gone += task.result()
        finally:
            for task in busy:
                task.cancel()
            if busy:
                await asyncio.wait(busy)
        if gone:
            LOG.info("data that was to be deleted is gone from %d places", gone)
        return gone

    async def _due(self, but: Collection[str | None]) -> dict[str | None, list[Discard]]:
        """Return what is due by its store, of all stores but some."""
        found: dict[str | None, list[Discard]] = {}
        behind = 0
        while page := await self._database.ask(due_discards, BATCH, behind):
            for discard in page:
                store = self._discards.store_of(discard)
                if store not in but and len(found.get(store, ())) < LANE_MAX:
                    found.setdefault(store, []).append(discard)
            behind = page[-1].id
        return found

    async def _empty(
        self, discards: Sequence[Discard], store: str | None, away: set[str | None]
    ) -> int:
        """Delete things in one store while it answers; say how many are gone."""
        waiting, gone = iter(discards), 0

        async def work() -> None:
            nonlocal gone
            for discard in waiting:
                if store in away:
                    return
                is_gone = await self._discards.settle(discard, partial(away.add, store))
                gone += is_gone

        outcomes = await asyncio.gather(
            *(work() for _ in range(self._at_once)), return_exceptions=True
        )
        for outcome in outcomes:
            if outcome is not None:
                raise outcome
        return gone

    async def restore(self, image_id: str) -> None:
        """Make an image active again whose data is still there; `ConflictError` if it is not."""
        if not await self._database.change(restore_retired, image_id, self._clock()):
            raise ConflictError(
                f"Image {image_id} cannot be restored: it is not deleted, or its data is."
            )
        LOG.info("image %s is restored", image_id)

    async def _end_images(self) -> None:
        while found := await self._database.query(retired_images, self._keep, BATCH):
            for image_id in found:
                await self._database.change(self._end_image, image_id)

    async def _end_image(self, connection: Connection, image_id: str) -> None:
        image = await get_retired(connection, image_id)
        if image is not None and await end_retired(connection, image):
            await add_discards(connection, image_id, image.locations, 0.0)
