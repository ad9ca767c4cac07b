"""Holds projects to their quotas, to the byte, however many instances add at once.

`of` finds out what a caller's project may use, which may ask Keystone, before the transaction; its
answer is asked in the transactions that add.  As with Glance it is the caller's project that is
counted, whoever owns the image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from registry.db.database import Connection, Database
from registry.db.failures import OvertakenError
from registry.db.quotas import (
    enlarge,
    get_reservation,
    get_usage,
    hold_project,
    release,
    reserve,
)
from registry.domain.errors import GoneError
from registry.domain.identity import Identity
from registry.domain.quota import Ceilings, Resource, Usage, over_storage

STEP_BYTES = 64 << 20  # reserved at once for data of unknown size, where there is so much room


class LimitSource(Protocol):
    """Knows what Keystone lets a project use."""

    async def limits(self, project_id: str | None) -> dict[Resource, int]:
        """Return its limits, -1 for none; `UnavailableError` if Keystone does not say."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What one project may use.  Where that is anything, nothing is counted."""

    ceilings: Ceilings

    async def admit_image(self, connection: Connection) -> None:
        """Refuse one image more than there may be."""
        if self.ceilings.limit(Resource.COUNT) is not None:
            self.ceilings.require(Resource.COUNT, await self._held(connection, Resource.COUNT), 1)

    async def admit_bytes(self, connection: Connection, resource: Resource, size: int) -> None:
        """Refuse more data than Keystone's limit, before anything else is asked."""
        if self.ceilings.limit(resource) is not None:
            self.ceilings.require(resource, await self._held(connection, resource), size)

    async def admit_upload(self, connection: Connection) -> None:
        """Refuse one image too many whose data is on its way, in the transaction that makes it so."""
        if self.ceilings.limit(Resource.UPLOADING) is not None:
            usage = await self._held(connection, Resource.UPLOADING)
            self.ceilings.require(Resource.UPLOADING, usage)

    async def admit_places(self, connection: Connection, size: int) -> None:
        """Refuse data of so many bytes in places more, of which only the operator's quota knows."""
        if self.ceilings.storage is not None:
            self.ceilings.require_storage(await self._held(connection, Resource.SIZE), size)

    async def reserve(
        self, connection: Connection, image_id: str, resource: Resource, size: int | None
    ) -> None:
        """Reserve room for the data of an image, which is `size` bytes where that is known.

        It replaces what was reserved for it, and is released as the image becomes active, queued or
        deleted.
        """
        if self.ceilings.are_infinite:
            return
        await release(connection, image_id, resource)
        usage = await self._held(connection, resource)
        if resource is Resource.SIZE:
            self.ceilings.require_storage(usage, size)
        self.ceilings.require(resource, usage, size or 0)
        await reserve(connection, self.ceilings.project_id, image_id, resource, size or 0)

    async def extend(
        self, connection: Connection, image_id: str, resource: Resource, needed: int
    ) -> int:
        """Reserve at least `needed` bytes in all for an image; return how many they are now."""
        usage = await self._held(connection, resource)
        reserved = await get_reservation(connection, image_id, resource)
        if reserved is None:
            raise GoneError(f"Image {image_id} is no longer being uploaded.")
        room = self.ceilings.room(resource, usage)
        if needed <= reserved:
            return reserved  # of an upload that goes on, which another meter has seen before
        more = needed - reserved
        if room is not None and more > room:
            self.ceilings.require(resource, usage, more)
            raise over_storage(needed, room)
        step = max(more, STEP_BYTES if room is None else min(STEP_BYTES, room))
        if not await enlarge(connection, image_id, resource, reserved, reserved + step):
            raise OvertakenError(f"Image {image_id} is being changed by others.")
        return reserved + step

    async def _held(self, connection: Connection, resource: Resource) -> Usage:
        await hold_project(connection, self.ceilings.project_id)
        return await get_usage(connection, self.ceilings.project_id, {resource})


class Meter:
    """Reserves room for data of unknown size as it comes: an observer of the intake."""

    def __init__(
        self, database: Database, quota: Quota, image_id: str, resource: Resource, start: int
    ) -> None:
        self._database = database
        self._quota = quota
        self._image_id = image_id
        self._resource = resource
        self._taken = start
        self._reserved = 0

    async def update(self, data: bytes) -> None:
        """See the next bytes; `LimitExceededError` if there is no room for them."""
        self._taken += len(data)
        if self._taken > self._reserved:
            self._reserved = await self._database.change(
                self._quota.extend, self._image_id, self._resource, self._taken
            )

    async def finish(self) -> Mapping[str, object]:
        """Tell nothing of the image."""
        return {}


class Quotas:
    """Everybody's."""

    def __init__(
        self, database: Database, storage: int | None = None, source: LimitSource | None = None
    ) -> None:
        """`storage` is the operator's quota in bytes, which `source` replaces."""
        self._database = database
        self._storage = storage
        self._source = source

    async def of(self, identity: Identity) -> Quota:
        """Return what the caller's project may use; `UnavailableError` if Keystone does not say."""
        project_id = identity.project_id
        if self._source is not None:
            return Quota(Ceilings(project_id, limits=await self._source.limits(project_id)))
        return Quota(Ceilings(project_id, storage=self._storage))

    def meter(
        self,
        quota: Quota,
        image_id: str,
        resource: Resource,
        size: int | None,
        start: int = 0,
    ) -> tuple[Meter, ...]:
        """Return what has to see the data of an image from a byte on, if anything does.

        Known sizes are reserved.
        """
        if size is not None or quota.ceilings.are_infinite:
            return ()
        return (Meter(self._database, quota, image_id, resource, start),)

    async def usage(self, identity: Identity) -> dict[str, Any]:
        """Return what the caller's project uses of Keystone's limits, which may be none."""
        if self._source is None:
            return {}
        limits = await self._source.limits(identity.project_id)
        usage = await self._database.query(get_usage, identity.project_id)
        return {
            resource: {"usage": usage.counted(resource), "limit": limits.get(resource, 0)}
            for resource in Resource
        }
