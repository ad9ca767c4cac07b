"""The copies of an image's data in several stores."""

from __future__ import annotations

import logging
from dataclasses import replace

from backends.outlasting import finished
from registry.db.database import Database
from registry.db.images import add_location, get_image, remove_location, save_image
from registry.domain import access
from registry.domain.errors import ConflictError, ForbiddenError, NotFoundError
from registry.domain.identity import Identity
from registry.domain.image import Image, ImageLocation
from registry.domain.status import Status
from registry.service.clock import Clock, utc_now
from registry.service.stores import Stores

LOG = logging.getLogger(__name__)

DISCARD_SECONDS = 660.0  # of a deletion, which drivers bound themselves; then it is cut short


class Copies:
    """Takes an image out of one of its stores."""

    def __init__(self, database: Database, stores: Stores, clock: Clock = utc_now) -> None:
        self._database = database
        self._stores = stores
        self._clock = clock

    async def remove(self, identity: Identity, store: str, image_id: str) -> None:
        """Delete the data of an image in one store; never the last.

        The record forgets the copy first: of two who remove two copies at once, the second sees
        that its own is the last.  If the store refuses, the record has it again.  A deletion that
        has begun is not left half done, though its caller leaves.
        """
        if not self._stores.names:
            raise NotFoundError("The resource could not be found.")
        if store not in self._stores.names:
            raise ConflictError(f"The selected store {store} is not available on this node.")
        place = await self._forget(identity, store, image_id)
        await finished(self._discard(image_id, place), DISCARD_SECONDS)
        LOG.info("image %s is no longer in store %s", image_id, store)

    async def _forget(self, identity: Identity, store: str, image_id: str) -> ImageLocation:
        async with self._database.write() as connection:
            image = access.require_visible(
                identity, await get_image(connection, image_id, for_update=True), image_id
            )
            access.require_location_removal(identity, image)
            place = self._removable(image, store)
            await remove_location(connection, image_id, place)
            await save_image(connection, replace(image, updated_at=self._clock()))
        return place

    def _removable(self, image: Image, store: str) -> ImageLocation:
        if image.status is not Status.ACTIVE:
            raise ConflictError(
                "It's not allowed to remove image data from store if image status is not 'active'"
            )
        if len(image.locations) == 1:
            raise ForbiddenError(
                "Cannot delete image data from the only store containing it. "
                "Consider deleting the image instead."
            )
        for place in image.locations:
            if self._stores.name_of(place) == store:
                return place
        raise NotFoundError(f"Image {image.id} is not stored in store {store}.")

    async def _discard(self, image_id: str, place: ImageLocation) -> None:
        try:
            await self._stores.discard(place)
        except BaseException:
            async with self._database.write() as connection:
                if await get_image(connection, image_id, for_update=True) is not None:
                    await add_location(connection, image_id, place)
            raise
