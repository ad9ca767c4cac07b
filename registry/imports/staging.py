"""Data that waits for its import: in a directory of this host, or in a store that all reach.

What is there is known by a job of each thing, `unstage`, which is owed before the first byte comes
and bound to the host whose disk it is on.  It takes the thing away as soon as nobody needs it: when
it was marked free, when the image is gone or has become something else, when its writer died.  So a
process may die anywhere, and nothing stays behind.  Nor is the job ever given up.

queued → uploading   with the job, due when the writer has been silent for too long
written              the writer renews that; a failure marks it free and queues the image again
staged               the image has its size, and waits; the job looks now and then
importing            an import reads it, and marks it free in the transaction that ends the import
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from backends.base import PruneStore, Writer, WriteResult
from backends.opening import open_store
from backends.options import DataDirectory, FilesystemOptions
from registry.db.database import Connection, Database
from registry.db.failures import OvertakenError
from registry.db.images import describe_image, get_image, move_image
from registry.db.jobs import add_job, owed_jobs, reschedule_job
from registry.domain import access
from registry.domain.errors import GoneError, LeaseLostError, RegistryError, UnavailableError
from registry.domain.identity import Identity
from registry.domain.image import Image
from registry.domain.job import Owed
from registry.domain.limits import Limits
from registry.domain.notices import SILENT, Notifier, image_notice
from registry.domain.quota import Resource
from registry.domain.status import Status, require_transition
from registry.imports.options import ImportSettings
from registry.plugins.plugins import leftovers
from registry.quotas.quotas import Quota, Quotas
from registry.service.clock import Clock, utc_now
from registry.service.intake import Observer, take_in
from registry.service.jobs import Job, LaterError
from registry.service.stores import Stores, translated

LOG = logging.getLogger(__name__)

UNSTAGE = "unstage"  # the kind of the jobs
LEASE_SECONDS = 60.0  # of a writer, who is then taken for dead
RENEWALS = 4  # of a lease, while it lasts
_GIVEN_UP = "Image {}: its staged data was given up, and may be sent again."
LOOK_SECONDS = 3600.0  # between looks whether what waits is still needed


class StagingArea:
    """Where data waits."""

    def __init__(self, settings: ImportSettings, stores: Stores) -> None:
        self._settings = settings
        self._stores = stores
        self._own: PruneStore | None = None

    @property
    def host(self) -> str | None:
        """Who alone reaches what is staged here; None if everybody does."""
        return None if self._settings.staging_store else self._settings.host

    async def store(self) -> PruneStore:
        """Return where data is staged."""
        name = self._settings.staging_store
        return await self.local() if name is None else self._stores.for_new_data(name).store

    async def local(self) -> PruneStore:
        """Return the directory of this host; it is made where it is missing."""
        if self._own is None:
            directory = self._settings.staging_directory
            try:
                await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
            except OSError as error:
                raise UnavailableError(
                    f"Insufficient permissions on image storage media: {error.strerror}"
                ) from error
            self._own = self._own or open_store(
                FilesystemOptions(directories=(DataDirectory(directory),))
            )
        return self._own

    def path(self, name: str) -> Path:
        """Return where a thing is in the directory."""
        return self._settings.staging_directory / name

    @property
    def local_host(self) -> str:
        """Who has the directory."""
        return self._settings.host

    async def clear(self, name: str, *, local: bool = False) -> None:
        """Take away a thing, what a dead writer left of it, and what was made of it beside it."""
        with translated():
            if not local:
                await (await self.store()).clear(name)
            if local or self.host is not None:
                for each in (self.path(name), *leftovers(self.path(name))):
                    await (await self.local()).clear(each.name)

    async def aclose(self) -> None:
        """Close the directory."""
        if self._own is not None:
            await self._own.aclose()


class Staging:
    """Takes data in that is to be imported."""

    def __init__(  # noqa: PLR0913  # what it is made of
        self,
        database: Database,
        area: StagingArea,
        limits: Limits,
        wake: Callable[[], None],
        *,
        lease_seconds: float = LEASE_SECONDS,
        clock: Clock = utc_now,
        quotas: Quotas | None = None,
        notifier: Notifier = SILENT,
    ) -> None:
        self._database = database
        self._lease = lease_seconds
        self._area = area
        self._limits = limits
        self._quotas = quotas or Quotas(database)
        self._wake = wake
        self._notifier = notifier
        self._clock = clock

    async def stage(
        self, identity: Identity, image_id: str, size: int | None, body: AsyncIterator[bytes]
    ) -> None:
        """Keep the data of a queued image until it is imported; `size` where the client tells it."""
        if size is not None:
            self._limits.require_size(size)
        name = f"{image_id}.{secrets.token_hex(4)}"
        quota = await self._quotas.of(identity)
        lock = self._database.change(self._lock, identity, image_id, name, quota=quota, size=size)
        locking = asyncio.create_task(lock)
        try:
            image, job_id = await asyncio.shield(locking)
        except asyncio.CancelledError:
            await asyncio.wait({locking})
            if locking.exception() is None:
                await self._unwind(image_id, name)
            raise
        self._tell(image)
        try:
            meter = self._quotas.meter(quota, image_id, Resource.STAGE, size)
            staged = await self._write(image_id, name, job_id, size, body, meter=meter)
        except BaseException:
            if await self._unwind(image_id, name):
                self._tell(replace(image, status=Status.QUEUED))
            raise
        self._tell(staged)

    def _tell(self, image: Image) -> None:
        self._notifier.emit("image.update", image_notice(image))

    async def _write(  # noqa: PLR0913  # what goes where
        self,
        image_id: str,
        name: str,
        job_id: str,
        size: int | None,
        body: AsyncIterator[bytes],
        *,
        meter: Sequence[Observer],
    ) -> Image:
        """Return the image with the data's size."""
        life = asyncio.timeout(None)
        try:
            async with life:
                renewing = asyncio.create_task(self._renew(job_id, life))
                try:
                    store = await self._area.store()
                    with translated():
                        async with store.create(name, size) as writer:
                            await take_in(body, size, self._limits, writer, meter)
                            # Its job outlives what is published: nobody else would know of that.
                            await self._database.change(self._require_owed, job_id, image_id)
                            result = await writer.publish()
                            image = await self._kept(writer, image_id, name, result)
                finally:
                    renewing.cancel()
                    await asyncio.wait({renewing})
        except TimeoutError:  # behind the context: only there it is known to be `life`'s
            if life.expired():
                raise LeaseLostError(_GIVEN_UP.format(image_id)) from None
            raise
        LOG.info("image %s is staged: %d bytes", image_id, result.size)
        return image

    async def _kept(self, writer: Writer, image_id: str, name: str, result: WriteResult) -> Image:
        """Note that the data is whole, and keep it; return the image with its size."""
        try:
            image = await self._database.change(self._keep, image_id, name, result)
        except (GoneError, LeaseLostError):
            raise
        except BaseException:
            writer.keep()  # it may be noted
            raise
        writer.keep()
        return image

    async def _lock(  # noqa: PLR0913  # what is staged
        self,
        connection: Connection,
        identity: Identity,
        image_id: str,
        name: str,
        *,
        quota: Quota,
        size: int | None,
    ) -> tuple[Image, str]:
        """Return the image, and the job of what is to be staged."""
        await quota.admit_bytes(connection, Resource.STAGE, size or 0)
        image = access.require_visible(
            identity, await get_image(connection, image_id, for_update=True), image_id
        )
        access.require_change(identity, image)
        require_transition(image.status, Status.UPLOADING)
        now = self._clock()
        if not await move_image(connection, image_id, image.status, Status.UPLOADING, now):
            raise OvertakenError(f"Image {image_id} is being changed by others.")
        await quota.admit_upload(connection)
        await quota.reserve(connection, image_id, Resource.STAGE, size)
        job_id = await add_job(
            connection,
            UNSTAGE,
            image_id=image_id,
            arguments={"name": name},
            host=self._area.host,
            after=self._lease,
        )
        return replace(image, status=Status.UPLOADING, updated_at=now), job_id

    async def _renew(self, job_id: str, life: asyncio.Timeout) -> None:
        """Tell that the writer lives; end it if nobody hears that."""
        loop = asyncio.get_running_loop()
        heard = loop.time()
        pause = self._lease / RENEWALS
        while True:
            await asyncio.sleep(pause)
            begun = loop.time()
            try:
                if not await self._database.change(reschedule_job, job_id, self._lease):
                    life.reschedule(loop.time())
                    return
            except UnavailableError as error:
                LOG.warning("a writer of staged data is not heard: %s", error)
                if begun - heard > self._lease - pause:
                    life.reschedule(loop.time())
                    return
            else:
                heard = begun

    async def _require_owed(self, connection: Connection, job_id: str, image_id: str) -> None:
        """Make sure that the thing will be taken away, and not yet."""
        if not await reschedule_job(connection, job_id, self._lease):
            raise await _lost(connection, image_id)

    async def _keep(
        self, connection: Connection, image_id: str, name: str, result: WriteResult
    ) -> Image:
        """Note that the data is whole."""
        image = await get_image(connection, image_id, for_update=True)
        owed = await waiting(connection, image_id, name)
        if image is None or image.status is not Status.UPLOADING or owed is None:
            raise await _lost(connection, image_id)
        image = await describe_image(connection, image, size=result.size, updated_at=self._clock())
        told = {"name": name, "url": result.location.uri}
        if not await reschedule_job(connection, owed.id, LOOK_SECONDS, told):
            raise await _lost(connection, image_id)
        return image

    async def _unwind(self, image_id: str, name: str) -> bool:
        try:
            return await self._database.change(self._give_up, image_id, name)
        except RegistryError as error:
            LOG.warning("image %s: failed staging is undone later: %s", image_id, error)
            return False
        finally:
            self._wake()

    async def _give_up(self, connection: Connection, image_id: str, name: str) -> bool:
        """Let go what was being staged; say whether the image is queued again."""
        owed = await waiting(connection, image_id, name)
        if owed is None:  # its job found nothing yet, and has ended
            told = {"name": name, "free": True}
            await add_job(
                connection, UNSTAGE, image_id=image_id, arguments=told, host=self._area.host
            )
            return False
        if owed.arguments.get("free"):
            return False
        now = self._clock()
        is_queued = await move_image(connection, image_id, Status.UPLOADING, Status.QUEUED, now)
        await free(connection, owed)
        return is_queued

    async def unstage(self, job: Job) -> None:
        """Take away what nobody needs: a `registry.service.jobs.Handler`.

        What a store refuses is tried again, as is one that is away: operators may put it right.
        """
        name = str(job.arguments["name"])
        try:
            if not job.arguments.get("free"):
                await self._database.change(self._require_unneeded, job)
            await self._area.clear(name, local=bool(job.arguments.get("local")))
        except RegistryError as error:
            LOG.warning("image %s: what is staged goes later: %s", job.image_id, error)
            raise LaterError(LOOK_SECONDS) from error
        LOG.info("image %s: nothing is staged any more", job.image_id)

    async def settle(self, job: Job) -> None:
        """Keep a job that always fails, or dies: a `registry.service.jobs.Handler`.

        Nobody else knows of what is staged; a job that is given up forgets it.
        """
        LOG.error("image %s: what is staged cannot be taken away; it is tried later", job.image_id)
        raise LaterError(LOOK_SECONDS)

    async def _require_unneeded(self, connection: Connection, job: Job) -> None:
        image_id = str(job.image_id)
        image = await get_image(connection, image_id, for_update=True)
        if image is None:
            return
        if image.status is Status.UPLOADING:
            told = job.arguments
            if told.get("url") is None and not told.get("local"):  # its writer died
                await move_image(
                    connection, image_id, Status.UPLOADING, Status.QUEUED, self._clock()
                )
                told = {**told, "free": True}  # the image may be staged anew from now on
                await reschedule_job(connection, job.id, 0.0, told)
                LOG.warning("image %s: who staged its data died", image_id)
                return
            raise LaterError(LOOK_SECONDS)
        if image.status is Status.IMPORTING:
            raise LaterError(LOOK_SECONDS)


async def _lost(connection: Connection, image_id: str) -> RegistryError:
    """Return what to tell a writer whose thing is not waited for any more."""
    if await get_image(connection, image_id) is None:
        return GoneError(f"Image {image_id} was deleted while its data was staged.")
    return LeaseLostError(_GIVEN_UP.format(image_id))


async def waiting(connection: Connection, image_id: str, name: str | None = None) -> Owed | None:
    """Return the job of what is staged for an image: of a certain thing, or of the whole data."""
    for owed in await owed_jobs(connection, UNSTAGE, image_id):
        told = owed.arguments
        if told.get("name") == name or (name is None and told.get("url") and not told.get("free")):
            return owed
    return None


async def free_all(connection: Connection, image_id: str) -> None:
    """Let all go that waits for an image."""
    for owed in await owed_jobs(connection, UNSTAGE, image_id):
        await free(connection, owed)


async def free(connection: Connection, owed: Owed) -> None:
    """Let staged data go, which nobody needs any more."""
    await reschedule_job(connection, owed.id, 0.0, {**owed.arguments, "free": True})
