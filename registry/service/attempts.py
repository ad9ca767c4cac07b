"""One upload on its way: held by a lease, and written down in the database until it has ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, ExitStack
from types import TracebackType
from typing import Self

from registry.db.database import Connection, Database
from registry.db.failures import TransientError
from registry.db.images import add_location, get_image, move_image
from registry.db.manifests import set_pages
from registry.db.uploads import UploadRow, begin_upload, end_upload, take_upload
from registry.domain.errors import GoneError, LeaseLostError
from registry.domain.image import Image
from registry.domain.status import Status
from registry.service.clock import Clock
from registry.service.intake import Taken
from registry.service.leases import Lease, Leases
from registry.service.stores import NamedStore

LOG = logging.getLogger(__name__)

ACTIVATION_SECONDS = 60.0  # that the database may be away when all the data is there
ACTIVATION_PAUSE_SECONDS = 1.0


class Attempt:
    """An upload, and the `Ledger` of its data; its lease is renewed while the context lasts.

    `ended` is done in the transaction that activates the image.
    """

    def __init__(  # noqa: PLR0913  # the rest by name
        self,
        database: Database,
        leases: Leases,
        clock: Clock,
        *,
        image_id: str,
        target: NamedStore,
        size: int | None,
        role: str = "",
        ended: Callable[[Connection], Awaitable[None]] | None = None,
    ) -> None:
        self.image_id = image_id
        self.target = target
        self.size = size
        self.is_begun = False
        self.is_doubtful = False  # the store may hold what neither its driver nor a record knows of
        self._database = database
        self._leases = leases
        self._clock = clock
        self._role = role
        self._lease = Lease(role)
        self._renewed = ExitStack()
        self._ended = ended

    @property
    def row(self) -> UploadRow:
        """The upload as this attempt holds it, and what it may have left."""
        begun = self.target.name if self.is_doubtful else None
        return UploadRow(
            self.image_id, self._lease.holder, self.target.name, length=self.size, begun=begun
        )

    def __enter__(self) -> Self:
        self._renewed.enter_context(self._leases.renewed(self._lease))
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._renewed.close()

    def held(self) -> AbstractAsyncContextManager[None]:
        """Return what ends with `LeaseLostError` once the upload is another's."""
        return self._lease.kept()

    async def begin(self) -> None:
        """Note that the store may hold something of it from now on."""
        if not await self._database.change(begin_upload, self.row, self._leases.seconds):
            raise _lost(self.image_id)
        self.is_begun = True

    async def enter(self, taken: Taken) -> None:
        """Activate the image, as soon as the database is there."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + ACTIVATION_SECONDS
        while True:
            try:
                await self._database.change(self._activate, taken)
            except TransientError as error:
                if loop.time() > deadline:
                    raise
                LOG.warning("image %s waits to be active: %s", self.image_id, error)
                await asyncio.sleep(ACTIVATION_PAUSE_SECONDS)
            else:
                return

    async def has(self, taken: Taken) -> bool:
        """Tell whether the image was activated after all; if not, it is not any more."""
        self.is_doubtful = True
        image, is_ours = await self._close()
        self.is_doubtful = False
        if is_ours or image is None:
            return False
        return taken.place.url in {place.url for place in image.locations}

    async def take_over(self) -> bool:
        """Keep an activation that may still be on its way from coming; False if others hold this."""
        return (await self._close())[1]

    async def _close(self) -> tuple[Image | None, bool]:
        """Hold the upload by another name, and look at the image.

        In one transaction: what is read behind an upload that is gone has what ended it.
        """
        closing = Lease(self._role)
        self._renewed.close()
        image, is_ours = await self._database.change(self._take, closing.holder)
        if is_ours:
            self._lease = closing
            self._renewed.enter_context(self._leases.renewed(closing))
        return image, is_ours

    async def _take(self, connection: Connection, holder: str) -> tuple[Image | None, bool]:
        is_ours = await take_upload(connection, self.row, holder, self._leases.seconds)
        return await get_image(connection, self.image_id), is_ours

    async def _activate(self, connection: Connection, taken: Taken) -> None:
        image_id = self.image_id
        is_ours = await end_upload(connection, image_id, self._lease.holder)
        if is_ours and await move_image(
            connection, image_id, Status.SAVING, Status.ACTIVE, self._clock(), **taken.fields
        ):
            await add_location(connection, image_id, taken.place)
            await set_pages(connection, image_id, taken.pages)
            if self._ended is not None:
                await self._ended(connection)
        elif is_ours or await get_image(connection, image_id) is None:
            raise GoneError(
                f"Image {image_id} could not be found after upload. "
                "The image may have been deleted during the upload, "
                "cleaning up the chunks uploaded."
            )
        else:
            raise _lost(image_id)


def _lost(image_id: str) -> LeaseLostError:
    return LeaseLostError(f"Image {image_id} was given up, and may be uploaded again.")
