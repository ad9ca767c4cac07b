"""Takes in the data of an image: queued → saving → active, or back to queued with nothing left.

lock      queued → saving, in one statement: of two uploads one is refused; with it is written
          down who uploads, and into which store
take in   `registry.service.intake`, with the attempt as its ledger; the lease is renewed beside it
activate  saving → active with size, hashes, location and manifest, in one transaction; if the
          image is no longer saving, somebody deleted it, and if the lease is another's, this
          process was taken for dead
unwind    on any failure, cancellation included: what the store could not take back by itself goes,
          while the upload is this attempt's still; then saving → queued

What cannot be undone, because process, database or store are away, stays written down, and the
image stays in saving until a janitor has done it: `registry.service.janitor`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from registry.db.database import Connection, Database
from registry.db.failures import OvertakenError
from registry.db.images import get_image, move_image
from registry.db.uploads import UploadRow, add_upload, end_upload
from registry.domain import access
from registry.domain.errors import (
    GoneError,
    InvalidRequestError,
    NoDataError,
    RegistryError,
    UnavailableError,
)
from registry.domain.identity import Identity
from registry.domain.image import Image
from registry.domain.limits import Limits
from registry.domain.notices import SILENT, Notifier, data_notice, image_notice
from registry.domain.quota import Resource
from registry.domain.status import Status, require_transition
from registry.quotas.quotas import Quota, Quotas
from registry.service.attempts import Attempt
from registry.service.checks import Checks
from registry.service.clock import Clock, utc_now
from registry.service.digests import Hashing
from registry.service.discards import require_settled
from registry.service.intake import Intake, Observer, may_leave
from registry.service.leases import Leases
from registry.service.leftovers import Leftovers
from registry.service.stores import NamedStore, Stores

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Upload:
    """What a client says of the data it sends; `size` in bytes where it tells."""

    size: int | None
    store: str | None


class Uploads:
    """Uploads of image data."""

    def __init__(  # noqa: PLR0913  # what an upload consists of
        self,
        database: Database,
        stores: Stores,
        limits: Limits,
        hashing: Hashing,
        checks: Checks,
        *,
        leases: Leases,
        clock: Clock = utc_now,
        quotas: Quotas | None = None,
        notifier: Notifier = SILENT,
    ) -> None:
        self._database = database
        self._stores = stores
        self._limits = limits
        self._intake = Intake(stores, limits, hashing)
        self.checks = checks
        self._leases = leases
        self._leftovers = Leftovers(database, stores, leases)
        self._quotas = quotas or Quotas(database)
        self._notifier = notifier
        self._clock = clock

    async def upload(
        self, identity: Identity, image_id: str, upload: Upload, body: AsyncIterator[bytes]
    ) -> None:
        """Store the data of a queued image, and activate it.

        `body` is not touched before the image is locked, so that a refusal costs no data.
        """
        target = await self.target(identity, image_id, upload.store)
        if upload.size is not None:
            self._limits.require_size(upload.size)
        attempt = self.attempt(image_id, target, upload.size)
        quota = await self._quotas.of(identity)
        lock = self._database.change(self.lock, identity, attempt.row, quota)
        locking = asyncio.create_task(lock)
        try:
            image = await asyncio.shield(locking)
        except asyncio.CancelledError:
            await asyncio.wait({locking})
            if locking.exception() is None:
                await self._unwind(attempt)
            raise
        self.tell_of_beginning(image, target)
        with attempt:
            try:
                checks = await self.checks.of(identity, image)
                meter = self._quotas.meter(quota, image_id, Resource.SIZE, upload.size)
                found = await self.take(attempt, body, (*meter, *checks))
            except BaseException as error:
                await self._unwind(attempt)
                self._tell_of_failure(image, error)
                raise
        self.tell_of_end(image, found)
        LOG.info("image %s is active: %d bytes in store %s", image_id, found["size"], target.name)

    async def target(self, identity: Identity, image_id: str, store: str | None) -> NamedStore:
        """Return where the data goes; whoever may not upload learns that before the store's state."""
        try:
            return self._stores.for_new_data(store)
        except GoneError:
            await self._database.query(uploadable, identity, image_id)
            raise

    def tell_of_beginning(self, image: Image, target: NamedStore) -> None:
        """Tell others that data comes, of an image that was queued."""
        saving = replace(image, status=Status.SAVING)
        store = target.name if self._stores.names else None
        self._notifier.emit("image.update", image_notice(saving))
        self._notifier.emit("image.prepare", data_notice(saving, store))

    def _tell_of_failure(self, queued: Image, error: BaseException) -> None:
        why = str(error) or type(error).__name__
        text = f"Failed to upload image data for image {queued.id}: {why}"
        self._notifier.emit("image.upload", text, "error")
        self._notifier.emit("image.update", image_notice(queued))

    def tell_of_end(self, image: Image, found: Mapping[str, Any]) -> None:
        """Tell others that data has come, and what `take` found of it."""
        active = replace(image, status=Status.ACTIVE, **found)
        self._notifier.emit("image.upload", data_notice(active))
        self._notifier.emit("image.activate", image_notice(active))
        self._notifier.emit("image.update", image_notice(active))

    def attempt(
        self,
        image_id: str,
        target: NamedStore,
        size: int | None,
        role: str = "",
        ended: Callable[[Connection], Awaitable[None]] | None = None,
    ) -> Attempt:
        """Return an attempt to upload, which nobody knows of yet."""
        return Attempt(
            *(self._database, self._leases, self._clock),
            image_id=image_id,
            target=target,
            size=size,
            role=role,
            ended=ended,
        )

    async def take(
        self, attempt: Attempt, body: AsyncIterator[bytes], observers: Sequence[Observer]
    ) -> Mapping[str, Any]:
        """Store the data and activate the image; return what is known of it now, by its fields.

        Whatever it raises, the store may hold something where the attempt is doubtful.
        """
        try:
            taken = await self._intake.take(
                *(attempt.target, attempt.image_id, attempt.size, body),
                observers=observers,
                ledger=attempt,
            )
        except RegistryError as error:
            attempt.is_doubtful |= attempt.is_begun and may_leave(error)
            if isinstance(error, NoDataError):  # what should hold the object is missing
                raise UnavailableError(str(error)) from error
            raise
        return taken.fields

    async def lock(
        self,
        connection: Connection,
        identity: Identity,
        row: UploadRow,
        quota: Quota,
        kept_seconds: int | None = None,
    ) -> Image:
        """Let an image be saved by this upload only; it may be continued for so long if it is kept."""
        image_id = row.image_id
        await quota.admit_bytes(connection, Resource.SIZE, row.length or 0)
        image = await uploadable(connection, identity, image_id, for_update=True)
        await require_settled(connection, self._stores, image_id, [row.store])
        await add_upload(connection, row, kept_seconds or self._leases.seconds, kept_seconds)
        if not await move_image(connection, image_id, image.status, Status.SAVING, self._clock()):
            raise OvertakenError(f"Image {image_id} is being changed by others.")
        await quota.admit_upload(connection)
        await quota.reserve(connection, image_id, Resource.SIZE, row.length)
        return image

    async def _unwind(self, attempt: Attempt) -> None:
        """Take away what may be left while the upload is the attempt's still, and end it.

        What cannot be undone now is told, for the failure itself matters more.
        """
        try:
            if attempt.is_doubtful and await attempt.take_over():
                async with attempt.held():
                    await self._leftovers.take_away(attempt.target.name, attempt.image_id)
            await self._database.change(self._release, attempt.row)
        except RegistryError as error:
            LOG.warning(
                "image %s: a failed upload waits for the janitor: %s", attempt.image_id, error
            )

    async def _release(self, connection: Connection, row: UploadRow) -> None:
        """Let an image that is still saving be uploaded to again."""
        if await end_upload(connection, row.image_id, row.holder):
            await move_image(connection, row.image_id, Status.SAVING, Status.QUEUED, self._clock())


async def uploadable(
    connection: Connection, identity: Identity, image_id: str, *, for_update: bool = False
) -> Image:
    """Return the image if this caller may give it data now; a RegistryError says why not."""
    image = access.require_visible(
        identity, await get_image(connection, image_id, for_update=for_update), image_id
    )
    access.require_change(identity, image, "upload_image")
    require_transition(image.status, Status.SAVING)
    if image.container_format is None or image.disk_format is None:
        raise InvalidRequestError(
            "Properties disk_format, container_format must be set prior to saving data."
        )
    return image
