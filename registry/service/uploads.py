"""Takes in the data of an image: queued → saving → active, or back to queued with nothing left.

lock      queued → saving, in one statement: of two uploads one is refused
stream    each piece is hashed (three times, in threads) while the store writes it; memory grows
          by the digests of its chunks only, 32 MiB for 1 TiB
commit    the store publishes the object
activate  saving → active with size, hashes, location and manifest, in one transaction; if the
          image is no longer saving, somebody deleted it
unwind    on any failure, cancellation included: saving → queued, and the object goes, unless
          the image has its location after all (the failure came behind the activation)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

from backends.base import Writer, WriteResult
from registry.db.database import Database
from registry.db.images import add_location, get_image, move_image
from registry.db.manifests import add_pages
from registry.domain import access
from registry.domain.errors import GoneError, InvalidRequestError, RegistryError
from registry.domain.identity import Identity
from registry.domain.limits import Limits
from registry.domain.status import Status, require_transition
from registry.service.clock import Clock, utc_now
from registry.service.digests import Digests, Hashing
from registry.service.stores import NamedStore, Stores, translated

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Upload:
    """What a client says of the data it sends; `size` in bytes where it tells."""

    size: int | None
    store: str | None


class Uploads:
    """Uploads of image data."""

    def __init__(
        self,
        database: Database,
        stores: Stores,
        limits: Limits,
        hashing: Hashing,
        clock: Clock = utc_now,
    ) -> None:
        self._database = database
        self._stores = stores
        self._limits = limits
        self._hashing = hashing
        self._clock = clock

    async def upload(
        self, identity: Identity, image_id: str, upload: Upload, body: AsyncIterator[bytes]
    ) -> None:
        """Store the data of a queued image, and activate it.

        `body` is not touched before the image is locked, so that a refusal costs no data.
        """
        target = self._stores.for_new_data(upload.store)
        if upload.size is not None:
            self._limits.require_size(upload.size)
        locking = asyncio.create_task(self._lock(identity, image_id))
        try:
            await asyncio.shield(locking)
        except asyncio.CancelledError:
            await asyncio.wait({locking})
            if locking.exception() is None:
                await self._unwind(image_id, target, None)
            raise
        result: WriteResult | None = None
        digests = Digests(self._hashing)
        try:
            with translated():
                async with target.store.create(image_id, upload.size) as writer:
                    await self._copy(body, upload, writer, digests)
                    result = await writer.commit()
            await self._activate(image_id, target, result, digests)
        except BaseException:
            await self._unwind(image_id, target, result)
            raise
        LOG.info("image %s is active: %d bytes in store %s", image_id, result.size, target.name)

    async def _lock(self, identity: Identity, image_id: str) -> None:
        async with self._database.write() as connection:
            image = access.require_visible(
                identity, await get_image(connection, image_id, for_update=True), image_id
            )
            access.require_change(identity, image, "upload_image")
            require_transition(image.status, Status.SAVING)
            if image.container_format is None or image.disk_format is None:
                raise InvalidRequestError(
                    "Properties disk_format, container_format must be set prior to saving data."
                )
            await move_image(connection, image_id, image.status, Status.SAVING, self._clock())

    async def _copy(
        self, body: AsyncIterator[bytes], upload: Upload, writer: Writer, digests: Digests
    ) -> None:
        size = 0
        async for piece in body:
            size += len(piece)
            self._limits.require_size(size)
            if upload.size is not None and size > upload.size:
                raise InvalidRequestError(f"More than the announced {upload.size} bytes.")
            hashing = asyncio.create_task(digests.update(piece))
            try:
                await writer.write(piece)
            finally:
                await hashing
        if upload.size not in {None, size}:
            raise InvalidRequestError(f"{upload.size} bytes were announced and {size} received.")

    async def _activate(
        self, image_id: str, target: NamedStore, result: WriteResult, digests: Digests
    ) -> None:
        manifest = await asyncio.to_thread(digests.manifest)
        async with self._database.write() as connection:
            active = await move_image(
                connection,
                image_id,
                Status.SAVING,
                Status.ACTIVE,
                self._clock(),
                size=result.size,
                checksum=digests.checksum,
                os_hash_algo=digests.algorithm,
                os_hash_value=digests.value,
                os_manifest=manifest.name if manifest else None,
            )
            if not active:
                raise GoneError(
                    f"Image {image_id} could not be found after upload. "
                    "The image may have been deleted during the upload."
                )
            place = self._stores.placed(result.location, target, result.metadata)
            await add_location(connection, image_id, place)
            if manifest:
                await add_pages(connection, image_id, manifest.pages)

    async def _unwind(self, image_id: str, target: NamedStore, result: WriteResult | None) -> None:
        """Undo; what cannot be undone now is told, for the failure itself matters more."""
        try:
            async with self._database.write() as connection:
                await move_image(connection, image_id, Status.SAVING, Status.QUEUED, self._clock())
                image = await get_image(connection, image_id)
            if result is None:
                return
            urls = {location.url for location in image.locations} if image else set()
            if result.location.uri not in urls:
                await self._stores.discard(self._stores.placed(result.location, target, {}))
        except RegistryError:
            LOG.exception("image %s: a failed upload could not be undone", image_id)
