"""Takes up what uploads have left whose process died: nothing in a store, the image queued again.

What has the name of an image is taken away only where the upload had begun, which is noted when the
name is known to be free.

An upload is dead if it was not renewed in time, and not by the next look either: after the database
itself was away, everybody has the time to come back first.  Then the janitor takes the upload over,
so that the uploader, should it wake up, cannot activate the image; takes away what there is of it
in its store; and, last, lets the image be uploaded to again.  Whatever fails stays for the next run.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import replace

from registry.db.database import Connection, Database
from registry.db.images import get_image, move_image
from registry.db.uploads import UploadRow, dead_uploads, end_upload, take_dead_upload
from registry.domain.errors import RegistryError
from registry.domain.job import Job
from registry.domain.status import Status
from registry.service.clock import Clock, utc_now
from registry.service.leases import Lease, Leases
from registry.service.leftovers import Leftovers
from registry.service.stores import Stores

LOG = logging.getLogger(__name__)

JANITOR = "janitor"  # the kind of its job
MOST = 500  # uploads in one run
AT_ONCE = 4  # each store is asked for so many
SECOND_LOOK = 0.5  # of a lease's time after the first; renewals come more often


class Janitor:
    """Cleans up behind dead uploads; `told` hears of each, by its store and how that went.

    Those that may be continued are `kept`'s to settle.
    """

    def __init__(  # noqa: PLR0913  # the rest by name
        self,
        database: Database,
        stores: Stores,
        leases: Leases,
        kept: Callable[[UploadRow], Awaitable[None]],
        told: Callable[[str, str], None] = lambda _store, _outcome: None,
        *,
        clock: Clock = utc_now,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._database = database
        self._leases = leases
        self._leftovers = Leftovers(database, stores, leases)
        self._kept = kept
        self._told = told
        self._clock = clock
        self._sleep = sleep

    async def work(self, _job: Job) -> None:
        """Clean up behind all that are dead now: a `registry.service.jobs.Handler`."""
        rows = await self._database.query(dead_uploads, MOST)
        if not rows:
            return
        await self._sleep(SECOND_LOOK * self._leases.seconds)
        places: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(AT_ONCE)
        )

        async def one(row: UploadRow) -> None:
            async with places[row.store]:
                await self._bury(row)

        async with asyncio.TaskGroup() as group:
            for row in rows:
                group.create_task(one(row))

    async def _bury(self, row: UploadRow) -> None:
        try:
            lease = Lease()
            seconds = self._leases.seconds
            if not await self._database.change(take_dead_upload, row, lease.holder, seconds):
                return
            with self._leases.renewed(lease):
                async with lease.kept():
                    await self._settle(replace(row, holder=lease.holder))
        except RegistryError as error:
            LOG.warning("image %s: what a dead upload left stays: %s", row.image_id, error)
            self._told(row.store, "failed")
        else:
            self._told(row.store, "cleared")

    async def _settle(self, row: UploadRow) -> None:
        if row.kept_until is not None:
            await self._kept(row)
            return
        removed = await self._clear(row)
        self._leases.let_go(row.holder)
        await self._database.change(self._release, row.image_id, row.holder)
        LOG.warning(
            "image %s: %d things of its uploader are removed from store %s",
            *(row.image_id, removed, row.store),
        )

    async def _clear(self, row: UploadRow) -> int:
        """Take away what no record names; nothing else can be written there meanwhile."""
        image = await self._database.query(get_image, row.image_id)
        if image is not None and image.status is not Status.SAVING:
            return 0
        return await self._leftovers.take_away(row.begun, row.image_id)

    async def _release(self, connection: Connection, image_id: str, holder: str) -> None:
        if await end_upload(connection, image_id, holder):
            await move_image(connection, image_id, Status.SAVING, Status.QUEUED, self._clock())
