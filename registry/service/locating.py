"""Locations by their own calls: services add the place where an image's data is, and ask for it."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any
from uuid import uuid4

from registry.db.database import Connection, Database
from registry.db.failures import OvertakenError
from registry.db.images import add_location, get_image, move_image
from registry.db.tasks import add_task
from registry.domain import access
from registry.domain.adding import AddedLocation
from registry.domain.documents import Document
from registry.domain.errors import ConflictError, ForbiddenError
from registry.domain.identity import Identity
from registry.domain.image import Image, ImageLocation
from registry.domain.locations import STORE, FoundPlace, require_formats
from registry.domain.status import Status
from registry.domain.task import Task, TaskKind, TaskStatus
from registry.quotas.quotas import Quotas
from registry.service.clock import Clock, utc_now
from registry.service.hashing import BackgroundHashing
from registry.service.locations import Locations
from registry.service.places import shown_places, shown_url

LOG = logging.getLogger(__name__)


class Locating:
    """Adds locations, and tells them.

    With `secure` the data is hashed in the background: where the client tells a hash the image waits
    for it, importing.  Else what the client tells is noted, and the image is active at once.
    """

    def __init__(  # noqa: PLR0913  # what it is made of; the rest by name
        self,
        database: Database,
        locations: Locations,
        hashing: BackgroundHashing,
        *,
        algorithm: str,
        secure: bool = True,
        clock: Clock = utc_now,
        quotas: Quotas | None = None,
    ) -> None:
        self._database = database
        self._locations = locations
        self._hashing = hashing
        self._algorithm = algorithm
        self._secure = secure
        self._clock = clock
        self._quotas = quotas or Quotas(database)

    async def add(
        self, identity: Identity, image_id: str, body: Any, request_id: str | None = None
    ) -> None:
        """Give a queued image its data by its place; users may name web addresses only.

        Clients follow what comes of it by a task, as in Glance.
        """
        added = AddedLocation.parse(body)
        await self._database.query(self._admit, identity, image_id, added)
        found = await self._locations.find(identity, added.url, None)
        quota = await self._quotas.of(identity)

        async def adding(connection: Connection) -> None:
            image = await self._admit(connection, identity, image_id, added)
            await quota.admit_places(connection, found.size)
            task = self._task(identity, image, added, request_id)
            await add_task(connection, task)
            await self._add(connection, image, added, found, task)

        await self._database.change(adding)
        self._hashing.wake()
        LOG.info("image %s has its data by a location", image_id)

    async def list(self, identity: Identity, image_id: str) -> list[Document]:
        """Return the places of an image's data, the heaviest store's first, without passwords."""
        found = await self._database.query(get_image, image_id)
        image = access.require_visible(identity, found, image_id)
        refusal = "You are not permitted to read the locations of images."
        access.require(identity, image, "fetch_image_location", refusal)
        told = replace(image, locations=access.told_locations(identity, image))
        return shown_places(self._locations.in_order(told))

    async def _admit(
        self, connection: Connection, identity: Identity, image_id: str, added: AddedLocation
    ) -> Image:
        """Return the image if the caller may add a place to it, in Glance's order of refusals."""
        found = await get_image(connection, image_id, for_update=True)
        image = access.require_visible(identity, found, image_id)
        if image.status is not Status.QUEUED:
            raise ConflictError(
                f"It's not allowed to add locations if image status is {image.status}."
            )
        access.require_change(identity, image, "add_image_location")
        if not identity.is_service and not self._locations.is_on_the_web(added.url):
            raise ForbiddenError("http store must be enabled to use location API by normal user.")
        added.require_hash()
        require_formats(image)
        return image

    async def _add(
        self,
        connection: Connection,
        image: Image,
        added: AddedLocation,
        found: FoundPlace,
        task: Task,
    ) -> None:
        waits = self._secure and added.value is not None
        algorithm = added.algorithm or (self._algorithm if self._secure else None)
        told = {
            "size": found.size,
            "os_hash_algo": algorithm,
            "os_hash_value": None if self._secure else added.value,
        }
        then = Status.IMPORTING if waits else Status.ACTIVE
        if not await move_image(connection, image.id, image.status, then, self._clock(), **told):
            raise OvertakenError(f"Image {image.id} is being changed by others.")
        notes = {} if found.store is None else {STORE: found.store}
        await add_location(connection, image.id, ImageLocation(added.url, notes))
        if self._secure:
            await self._hashing.owe(connection, image.id, algorithm, added.value, task.id)
        else:
            await self._hashing.tell_task(connection, task.id, TaskStatus.SUCCESS)
            await self._hashing.owe(connection, image.id)

    def _task(
        self, identity: Identity, image: Image, added: AddedLocation, request_id: str | None
    ) -> Task:
        now = self._clock()
        return Task(
            id=str(uuid4()),
            type=TaskKind.LOCATION_IMPORT,
            created_at=now,
            updated_at=now,
            owner=identity.project_id,
            input={
                "image_id": image.id,
                "loc_url": shown_url(added.url),
                "validation_data": added.validation,
            },
            image_id=image.id,
            user_id=identity.user_id,
            request_id=request_id,
        )
