"""What broken uploads may have left in a store, taken away now or owed until the store is there.

An image whose upload broke off because its store went away is queued again at once: its owner may
use another store.  What the first one may hold is owed as a job, done when nobody writes there for
the image and it has no data there.

Only what an upload began is taken away: the name was free then, so what has it now is the upload's.
And nothing that the record of any image names.
"""

from __future__ import annotations

import logging

from registry.db.database import Connection, Database
from registry.db.images import get_image, places_naming
from registry.db.jobs import add_job
from registry.db.uploads import UploadRow, add_upload, end_upload
from registry.domain.errors import ConflictError, InvalidRequestError, RegistryError
from registry.domain.importing import LOCK
from registry.domain.job import Job
from registry.service.jobs import LaterError
from registry.service.leases import Lease, Leases
from registry.service.stores import Stores

LOG = logging.getLogger(__name__)

CLEAR = "clear"  # the kind of job
OF_A_STORE = 3  # of these at once in one instance: a store that hangs holds up no other
AGAIN_SECONDS = 600.0  # between looks, during which the image cannot be uploaded to


class Leftovers:
    """Takes away what unfinished uploads left."""

    def __init__(self, database: Database, stores: Stores, leases: Leases) -> None:
        self._database = database
        self._stores = stores
        self._leases = leases

    async def take_away(self, store: str | None, image_id: str) -> int:
        """Clear the store where an image was begun and nobody else writes; say how many things went.

        What cannot be done now is owed.
        """
        if store is None:
            return 0
        try:
            return await self.remove(store, image_id)
        except InvalidRequestError:
            LOG.exception("image %s: who took the store away has what is in it", image_id)
        except RegistryError as error:
            LOG.warning(
                "image %s: what is left in store %s goes later: %s", *(image_id, store, error)
            )
            await self._database.change(self._owe, store, image_id)
        return 0

    async def remove(self, store: str | None, image_id: str) -> int:
        """Clear it, or fail; say how many things went."""
        if store is None:
            return 0
        named = await self._database.query(places_naming, image_id)
        if store in {self._stores.name_of(place) for place in named}:
            LOG.warning("image %s: an image names what is left in store %s", image_id, store)
            return 0
        return await self._stores.clear(store, image_id)

    async def clear(self, job: Job) -> None:
        """Do what is owed: a `registry.service.jobs.Handler`."""
        store, image_id = job.arguments["store"], str(job.image_id)
        lease = Lease()
        row = UploadRow(image_id, lease.holder, store)
        try:
            await self._database.change(self._hold, row)
        except ConflictError:  # somebody uploads
            raise LaterError(AGAIN_SECONDS) from None
        try:
            with self._leases.renewed(lease):
                async with lease.kept():
                    removed = await self.remove(store, image_id)
        except InvalidRequestError:
            LOG.exception("image %s: who took the store away has what is in it", image_id)
        except RegistryError as error:
            LOG.info("image %s: store %s is not there yet: %s", *(image_id, store, error))
            raise LaterError(AGAIN_SECONDS) from error
        else:
            LOG.info("image %s: %d things left store %s", *(image_id, removed, store))
        finally:
            await self._database.change(end_upload, image_id, lease.holder)

    async def _hold(self, connection: Connection, row: UploadRow) -> None:
        """Keep others from writing for the image, unless it is being, or was, given data there."""
        await add_upload(connection, row, self._leases.seconds)
        image = await get_image(connection, row.image_id)
        if image is None:
            return
        names = {self._stores.name_of(place) for place in image.locations}
        if row.store in names or LOCK in image.properties:  # there, or an import is going on
            raise LaterError(AGAIN_SECONDS)

    async def _owe(self, connection: Connection, store: str, image_id: str) -> None:
        told = {"store": store}
        await add_job(connection, CLEAR, image_id=image_id, arguments=told, after=AGAIN_SECONDS)
