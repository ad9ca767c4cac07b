"""Uploads that may be continued at the byte, by any instance.

begin     queued → saving, as any upload; the record says until when it is kept
append    what comes is stored as objects of its own in the store that the image goes to, each noted
          before it is begun (`registry.service.parts`); so any instance that reaches the store can
          go on
finish    the parts are read back, hashed and inspected as any upload's body, and written as the
          image; then the record is activated, and the parts are owed to be deleted
give up   by the caller, by data that no image may have, or by the janitor when nobody has continued

Hashes are computed when all is there: their states cannot be stored, and what is read back for
them is read anyway.  Whoever appends holds the upload; a second one takes it over, and the first
can add nothing any more.  Whoever finishes keeps it while alive: only who gives it up takes it.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from registry.db.database import Connection, Database
from registry.db.failures import OvertakenError
from registry.db.images import get_image, move_image
from registry.db.parts import forget_parts, get_parts
from registry.db.uploads import (
    FINISHER,
    NOBODY,
    UploadRow,
    end_upload,
    get_upload,
    is_being_finished,
    is_kept,
    rest_upload,
    take_upload,
)
from registry.domain import access
from registry.domain.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    OffsetError,
    RegistryError,
    UnavailableError,
)
from registry.domain.identity import Identity
from registry.domain.image import Image
from registry.domain.limits import Limits
from registry.domain.quota import Resource
from registry.domain.status import Status
from registry.quotas.quotas import Meter, Quotas
from registry.service.attempts import Attempt
from registry.service.clock import Clock, utc_now
from registry.service.discards import Discards
from registry.service.leases import Lease, Leases
from registry.service.leftovers import Leftovers
from registry.service.parts import UploadParts, lost, size_of
from registry.service.stores import NamedStore, Stores
from registry.service.uploads import Upload, Uploads

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Standing:
    """How far an upload has come: bytes that are stored, of how many if that is known."""

    offset: int
    length: int | None
    is_complete: bool


@dataclass(frozen=True, slots=True)
class _Open:
    """An upload that this process holds."""

    image: Image
    row: UploadRow
    target: NamedStore


class ResumableUploads:
    """Uploads that may be continued for `kept_seconds` after they were begun."""

    def __init__(  # noqa: PLR0913  # what they consist of
        self,
        database: Database,
        stores: Stores,
        *,
        uploads: Uploads,
        leases: Leases,
        quotas: Quotas,
        limits: Limits,
        discards: Discards,
        kept_seconds: int,
        clock: Clock = utc_now,
    ) -> None:
        self._database = database
        self._stores = stores
        self._parts = UploadParts(database, stores, limits, discards, leases.seconds)
        self._leftovers = Leftovers(database, stores, leases)
        self._uploads = uploads
        self._leases = leases
        self._quotas = quotas
        self._limits = limits
        self._discards = discards
        self.kept_seconds = kept_seconds
        self._clock = clock

    async def begin(self, identity: Identity, image_id: str, upload: Upload) -> None:
        """Let a queued image be uploaded in several requests; `upload.size` is the whole's."""
        target = await self._uploads.target(identity, image_id, upload.store)
        if upload.size is not None:
            self._limits.require_size(upload.size)
        row = UploadRow(image_id, NOBODY, target.name, length=upload.size)
        quota = await self._quotas.of(identity)
        image = await self._database.change(
            self._uploads.lock, identity, row, quota, self.kept_seconds
        )
        self._uploads.tell_of_beginning(image, target)

    async def standing(self, identity: Identity, image_id: str) -> Standing:
        """Tell how far the upload of an image has come; `NotFoundError` if there is none."""
        return await self._database.query(self._standing, identity, image_id)

    async def append(
        self,
        identity: Identity,
        image_id: str,
        offset: int,
        body: AsyncIterator[bytes],
        *,
        completes: bool,
    ) -> Standing:
        """Go on at a byte; with the last bytes the image becomes active.

        `OffsetError` if that is not where it goes on.  What came before a failure stays, unless no
        image may have such data.
        """
        lease = Lease()
        quota = await self._quotas.of(identity)
        opened = await self._database.change(self._open, identity, image_id, lease, offset)
        length = opened.row.length
        meter = self._quotas.meter(quota, image_id, Resource.SIZE, length, offset)
        with self._leases.renewed(lease):
            try:
                async with lease.kept():
                    await self._parts.clear_incomplete(opened.row)
                    offset = await self._parts.store(opened.row, offset, _metered(body, meter))
            except BaseException:
                await self._rest(opened.row)
                raise
            if not completes or length not in {None, offset}:
                await self._rest(opened.row)
                if completes:
                    raise InvalidRequestError(
                        f"{length} bytes were announced and {offset} received."
                    )
                return Standing(offset, length, is_complete=False)
        await self._finish(identity, opened)
        return Standing(offset, offset, is_complete=True)

    async def cancel(self, identity: Identity, image_id: str) -> None:
        """Give an upload up: the image may be uploaded to anew."""
        lease = Lease()
        opened = await self._database.change(self._open, identity, image_id, lease, None)
        with self._leases.renewed(lease):
            await self._drop(opened.row)

    async def settle(self, row: UploadRow) -> None:
        """Settle an upload whose process died, held by the caller now: kept, or given up."""
        try:
            self._stores.called(row.store)
        except RegistryError:
            LOG.exception("image %s: who took the store away has what is in it", row.image_id)
            await self._database.change(self._leave, row)
            return
        image = await self._database.query(get_image, row.image_id)
        is_saving = image is not None and image.status is Status.SAVING
        if is_saving and await self._database.query(is_kept, row.image_id):
            await self._leftovers.remove(row.begun, row.image_id)
            await self._parts.clear_incomplete(row)
            self._leases.let_go(row.holder)
            await self._database.change(rest_upload, replace(row, begun=None))
        else:
            await self._drop(row)

    # --- transactions -----------------------------------------------------------------------------

    async def _found(
        self, connection: Connection, identity: Identity, image_id: str
    ) -> tuple[Image, UploadRow | None]:
        image = access.require_visible(identity, await get_image(connection, image_id), image_id)
        access.require_change(identity, image, "upload_image")
        row = await get_upload(connection, image_id)
        return image, None if row is None or row.kept_until is None else row

    async def _standing(
        self, connection: Connection, identity: Identity, image_id: str
    ) -> Standing:
        image, row = await self._found(connection, identity, image_id)
        if row is None:
            if image.size is None:
                raise _nothing(image_id)
            return Standing(image.size, image.size, is_complete=True)
        parts = await get_parts(connection, image_id)
        return Standing(size_of(parts), row.length, is_complete=False)

    async def _open(
        self,
        connection: Connection,
        identity: Identity,
        image_id: str,
        lease: Lease,
        offset: int | None,
    ) -> _Open:
        """Take an upload from its holder, to go on at a byte, or (None) to give it up."""
        image, row = await self._found(connection, identity, image_id)
        if row is None or image.status is not Status.SAVING:
            raise _nothing(image_id)
        if offset is not None and await is_being_finished(connection, row):
            raise ConflictError(f"All of image {image_id} is there, and is being made active.")
        if not await take_upload(connection, row, lease.holder, self._leases.seconds):
            raise OvertakenError(f"Image {image_id} is being changed by others.")
        # Behind that its holder can add nothing any more.
        expected = size_of(await get_parts(connection, image_id))
        if offset not in {None, expected}:
            raise OffsetError(
                f"The upload of image {image_id} goes on at byte {expected}.", expected
            )
        return _Open(image, replace(row, holder=lease.holder), self._stores.called(row.store))

    async def _end(self, connection: Connection, row: UploadRow) -> None:
        """Forget an upload, and owe the deletion of its parts."""
        if not await end_upload(connection, row.image_id, row.holder):
            raise lost(row)
        await self._parts.forget(connection, row)
        await move_image(connection, row.image_id, Status.SAVING, Status.QUEUED, self._clock())

    async def _leave(self, connection: Connection, row: UploadRow) -> None:
        """Forget an upload, and leave what there is of it where it is."""
        if await end_upload(connection, row.image_id, row.holder):
            await forget_parts(connection, row.image_id)
            await move_image(connection, row.image_id, Status.SAVING, Status.QUEUED, self._clock())

    # --- what they stand for ----------------------------------------------------------------------

    async def _finish(self, identity: Identity, opened: _Open) -> None:
        """Make the image of the parts."""
        row = opened.row

        async def forget(connection: Connection) -> None:
            await self._parts.forget(connection, row)

        parts = await self._database.query(get_parts, row.image_id)
        attempt = self._uploads.attempt(
            row.image_id, opened.target, size_of(parts), FINISHER, ended=forget
        )
        seconds = self._leases.seconds
        if not await self._database.change(take_upload, row, attempt.row.holder, seconds):
            raise lost(row)
        with attempt:
            try:
                await self._leftovers.remove(row.begun, row.image_id)  # of who died finishing it
                checks = await self._uploads.checks.of(identity, opened.image)
                async with aclosing(self._parts.read(opened.target, parts)) as body:
                    found = await self._uploads.take(attempt, body, checks)
            except BaseException as error:
                await self._undo(attempt, error)
                raise
        self._uploads.tell_of_end(opened.image, found)
        await self._discards.carry_out(row.image_id)

    async def _undo(self, attempt: Attempt, error: BaseException) -> None:
        """Keep the parts of an image that could not be made now; drop what never will be one."""
        may_pass = isinstance(error, UnavailableError | ConflictError) or not isinstance(
            error, RegistryError
        )
        try:
            if may_pass:
                await self._database.change(rest_upload, attempt.row)
            elif await attempt.take_over():
                await self._drop(attempt.row)
        except RegistryError as failure:
            LOG.warning("image %s: its upload waits for the janitor: %s", attempt.image_id, failure)

    async def _rest(self, row: UploadRow) -> None:
        try:
            await self._database.change(rest_upload, row)
        except RegistryError as error:
            LOG.warning("image %s: its upload waits for the janitor: %s", row.image_id, error)

    async def _drop(self, row: UploadRow) -> None:
        """Give up an upload that the caller holds, with all that there is of it."""
        await self._leftovers.remove(row.begun, row.image_id)
        await self._parts.clear_incomplete(row)
        self._leases.let_go(row.holder)
        await self._database.change(self._end, row)
        await self._discards.carry_out(row.image_id)


async def _metered(body: AsyncIterator[bytes], meter: Sequence[Meter]) -> AsyncIterator[bytes]:
    async for piece in body:
        for each in meter:
            await each.update(piece)
        yield piece


def _nothing(image_id: str) -> NotFoundError:
    return NotFoundError(f"Image {image_id} has no upload that could be continued.")
