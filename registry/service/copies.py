"""The copies of an image's data in several stores."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import replace

from registry.db.database import Connection
from registry.db.images import get_image, remove_location, save_image
from registry.domain import access
from registry.domain.errors import ConflictError, ForbiddenError, NotFoundError
from registry.domain.identity import Identity
from registry.domain.image import Image, ImageLocation
from registry.domain.notices import SILENT, Notifier, image_notice
from registry.domain.status import Status
from registry.service.clock import Clock, utc_now
from registry.service.discards import Discards
from registry.service.stores import Stores

LOG = logging.getLogger(__name__)


class Copies:
    """Takes an image out of one of its stores."""

    def __init__(
        self,
        stores: Stores,
        discards: Discards,
        clock: Clock = utc_now,
        notifier: Notifier = SILENT,
    ) -> None:
        self._stores = stores
        self._discards = discards
        self._clock = clock
        self._notifier = notifier

    async def remove(self, identity: Identity, store: str, image_id: str) -> None:
        """Delete the data of an image in one store; never the last, nor what is in use.

        The record forgets the copy, owing its data, before that goes: of two who remove two copies
        at once, the second sees that its own is the last.  What the store cannot delete now stays
        owed.
        """
        if not self._stores.names:
            raise NotFoundError("The resource could not be found.")
        if store not in self._stores.names:
            raise ConflictError(f"The selected store {store} is not available on this node.")
        image = await self._discards.asking(
            lambda connection, asked: self._forget(connection, identity, store, image_id, asked)
        )
        await self._discards.carry_out_whole(image_id)
        self._notifier.emit("image.update", image_notice(image))
        LOG.info("image %s is no longer in store %s", image_id, store)

    async def _forget(
        self,
        connection: Connection,
        identity: Identity,
        store: str,
        image_id: str,
        asked: Collection[str],
    ) -> Image:
        image = access.require_visible(
            identity, await get_image(connection, image_id, for_update=True), image_id
        )
        access.require_location_removal(identity, image)
        place = self._removable(image, store)
        await self._discards.owe(connection, image_id, [place], asked)
        image = await remove_location(connection, image, place)
        return await save_image(connection, replace(image, updated_at=self._clock()))

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
