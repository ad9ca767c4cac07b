"""The transactions of an import: what each step leaves in the database.

Whoever has lost the job, or the image's lock, changes nothing: `LostError`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from registry.db.database import Connection, Database
from registry.db.failures import OvertakenError
from registry.db.images import (
    add_location,
    describe_image,
    get_image,
    move_image,
    remove_location,
    save_image,
)
from registry.db.jobs import end_job, renew_job, tell_job
from registry.db.manifests import remove_pages, set_pages
from registry.db.quotas import release, spend
from registry.db.tasks import change_task
from registry.domain.image import Image, ImageLocation
from registry.domain.importing import arrived, failed, is_held, released
from registry.domain.limits import Limits
from registry.domain.manifest import ManifestPage
from registry.domain.quota import Resource
from registry.domain.status import Status
from registry.domain.task import OPEN, TaskStatus
from registry.imports.brought import Brought
from registry.imports.news import ImportNews
from registry.imports.orders import Order
from registry.imports.staging import free_all
from registry.quotas.quotas import Quota
from registry.service.clock import Clock
from registry.service.discards import Discards
from registry.service.stores import Stores

_NOTHING = ("checksum", "os_hash_algo", "os_hash_value", "os_manifest")


class LostError(Exception):
    """Nobody waits for this import any more, or another does it."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """Data that has come into a store: `fields` of the image that it tells, where they are new."""

    store: str | None  # as clients know it
    target: str  # its name
    place: ImageLocation
    fields: Mapping[str, Any]
    properties: Brought
    pages: tuple[ManifestPage, ...]


class ImportRecords:
    """Writes down how far an import has come."""

    def __init__(  # noqa: PLR0913  # what it is made of
        self,
        database: Database,
        stores: Stores,
        discards: Discards,
        limits: Limits,
        *,
        news: ImportNews,
        task_hours: int,
        clock: Clock,
    ) -> None:
        self._database = database
        self._stores = stores
        self._discards = discards
        self._limits = limits
        self._news = news
        self._task_life = timedelta(hours=task_hours)
        self._clock = clock

    async def begin(self, order: Order) -> Image:
        """Return the image that is to be imported."""
        image, is_first = await self._database.change(self._begin, order)
        if is_first:
            await self._news.begun(order, image)
        return image

    async def _begin(self, connection: Connection, order: Order) -> tuple[Image, bool]:
        image = await self._held(connection, order)
        now, then = self._clock(), TaskStatus.PROCESSING
        is_first = await change_task(connection, order.task_id, (TaskStatus.PENDING,), then, now)
        if not is_first:
            await change_task(connection, order.task_id, OPEN, then, now)
        return image, is_first

    async def progress(self, order: Order, count: int) -> None:
        """Tell how much was copied; `LostError` if nobody waits for it any more."""
        await self._database.change(self._progress, order, count)

    async def _progress(self, connection: Connection, order: Order, count: int) -> None:
        await self._held(connection, order)
        told = {"message": _copied(count)}
        if not await change_task(
            connection, order.task_id, OPEN, TaskStatus.PROCESSING, self._clock(), **told
        ):
            raise LostError(f"Task {order.task_id} was given up.")

    async def reserve(self, order: Order, quota: Quota, size: int | None, copies: int) -> None:
        """Reserve room for so many copies of the data, of `size` bytes where that is known.

        It takes the place of what another attempt has reserved.
        """
        await self._database.change(self._reserve, order, quota, size, copies)

    async def _reserve(
        self, connection: Connection, order: Order, quota: Quota, size: int | None, copies: int
    ) -> None:
        await self._held(connection, order)
        room = None if size is None else size * copies
        await quota.reserve(connection, order.image_id, Resource.SIZE, room)

    async def begin_store(self, order: Order, store: str) -> None:
        """Note that a store may hold something of the image from now on."""
        begun = [*order.begun, store]
        await self._database.change(self._begin_store, order, begun)
        order.begun[:] = begun

    async def _begin_store(
        self, connection: Connection, order: Order, begun: Sequence[str]
    ) -> None:
        await self._held(connection, order)
        await self._tell(connection, order, begun)

    async def hold(self, order: Order) -> None:
        """Make sure that the job is this one's."""
        if not await self._database.change(renew_job, order.job):
            raise LostError("The import goes on elsewhere.")

    async def clear_begun(self, order: Order) -> None:
        """Note that no store holds anything that no record names."""
        await self._database.change(self._tell, order, ())
        order.begun.clear()

    async def _tell(self, connection: Connection, order: Order, begun: Sequence[str]) -> None:
        told = {**order.job.arguments, "begun": [*begun]}
        if not await tell_job(connection, order.job, told):
            raise LostError("The import goes on elsewhere.")

    async def has(self, order: Order, place: ImageLocation) -> bool:
        """Tell whether the image has its data in a place; no transaction that began before is left."""
        return await self._database.change(self._has, order, place)

    @staticmethod
    async def _has(connection: Connection, order: Order, place: ImageLocation) -> bool:
        image = await get_image(connection, order.image_id, for_update=True)
        return image is not None and place.url in {each.url for each in image.locations}

    async def arrive(self, order: Order, arrival: Arrival, *, activates: bool) -> Image:
        """Note that the data is in a store; where it `activates`, the image is whole.

        A `RegistryError` of `Brought.upon` if what comes with it is not for the image.
        """
        begun = [store for store in order.begun if store != arrival.target]
        image = await self._database.change(
            self._arrive, order, arrival, begun, activates=activates
        )
        order.begun[:] = begun
        return image

    async def _arrive(
        self,
        connection: Connection,
        order: Order,
        arrival: Arrival,
        begun: Sequence[str],
        *,
        activates: bool,
    ) -> Image:
        image = await self._held(connection, order)
        await self._tell(connection, order, begun)
        now = self._clock()
        image = arrival.properties.upon(arrived(image, arrival.store), self._limits)
        image = await save_image(connection, replace(image, updated_at=now))
        if arrival.fields:
            image = await describe_image(connection, image, **arrival.fields)
            await set_pages(connection, image.id, arrival.pages)
        await add_location(connection, image.id, arrival.place)
        await spend(connection, image.id, Resource.SIZE, image.size or 0)
        if activates and image.status is Status.IMPORTING:
            await self._move(connection, image, Status.ACTIVE)
        changed = await get_image(connection, image.id)
        assert changed is not None
        return changed

    async def skip(self, order: Order, store: str | None) -> Image:
        """Note that the data could not come into a store, which does not end the import."""
        image = await self._database.change(self._skip, order, store)
        self._news.changed(image)
        return image

    async def _skip(self, connection: Connection, order: Order, store: str | None) -> Image:
        image = failed(await self._held(connection, order), [store])
        return await save_image(connection, replace(image, updated_at=self._clock()))

    async def succeed(self, order: Order) -> None:
        """End an import whose data is where it should be."""
        held = await self._database.change(self._succeed, order)
        self._news.changed(held)
        await self._news.ended(order.task_id)

    async def _succeed(self, connection: Connection, order: Order) -> Image:
        """Return the image as it was held: so Glance tells of it, and of no lock that goes."""
        image = await self._held(connection, order)
        await save_image(connection, replace(released(image), updated_at=self._clock()))
        await release(connection, image.id, Resource.SIZE)
        told = {"result": {"image_id": image.id}, "message": _copied(image.size or 0)}
        await self._end(connection, order, TaskStatus.SUCCESS, **told)
        return image

    async def fail(self, order: Order, message: str, stores: Collection[str | None]) -> None:
        """End an import that came to nothing because of some stores, and take away what it brought."""
        held = await self._database.change(self._fail, order, message, stores)
        if held is not None:
            self._news.changed(held)
        await self._news.ended(order.task_id)
        await self._discards.carry_out(order.image_id)

    async def _fail(
        self,
        connection: Connection,
        order: Order,
        message: str,
        stores: Collection[str | None],
    ) -> Image | None:
        image = await get_image(connection, order.image_id, for_update=True)
        held = None
        if image is not None and is_held(image, order.task_id):
            held = await self._revert(connection, order, image, stores)
        await self._end(connection, order, TaskStatus.FAILURE, message=message)
        return held

    async def _revert(
        self, connection: Connection, order: Order, image: Image, stores: Collection[str | None]
    ) -> Image:
        """Return the image without what was brought, as if it were held still."""
        held = replace(failed(image, stores, order.stores), updated_at=self._clock())
        image = await save_image(connection, released(held))
        await release(connection, image.id, Resource.SIZE)
        ours = self._brought(order, image)
        await self._discards.owe(connection, image.id, ours)
        for place in ours:
            image = await remove_location(connection, image, place)
        if image.status is Status.IMPORTING:
            image = await describe_image(connection, image, **dict.fromkeys(_NOTHING))
            await remove_pages(connection, image.id)
            await self._move(connection, image, Status.QUEUED)
        changed = await get_image(connection, image.id)
        assert changed is not None
        return replace(changed, properties=held.properties)

    def _brought(self, order: Order, image: Image) -> Sequence[ImageLocation]:
        """Return what the import has brought so far."""
        if not order.is_copy:
            return image.locations if image.status is Status.IMPORTING else ()
        return [place for place in image.locations if self._stores.name_of(place) in order.stores]

    async def _held(self, connection: Connection, order: Order) -> Image:
        """Return the image, if the import has its job and its lock still."""
        image = await get_image(connection, order.image_id, for_update=True)
        if image is None or not is_held(image, order.task_id):
            raise LostError("Image has been deleted, aborting import.")
        if not await renew_job(connection, order.job):
            raise LostError("The import goes on elsewhere.")
        return image

    async def _move(self, connection: Connection, image: Image, then: Status) -> None:
        if not await move_image(connection, image.id, image.status, then, self._clock()):
            raise OvertakenError(f"Image {image.id} is being changed by others.")

    async def _end(
        self, connection: Connection, order: Order, status: TaskStatus, **told: Any
    ) -> None:
        """End the task and the job, and let go what was staged."""
        if not await end_job(connection, order.job):
            raise LostError("The import goes on elsewhere.")
        now: datetime = self._clock()
        ends = {"expires_at": now + self._task_life}
        await change_task(connection, order.task_id, OPEN, status, now, **told, **ends)
        await free_all(connection, order.image_id)


def _copied(count: int) -> str:
    return f"Copied {count >> 20} MiB"
