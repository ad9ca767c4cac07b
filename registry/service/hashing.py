"""Computes in the background what images came without: hashes, where they are asked for, a manifest.

The data is read from its store once, in order; each page of the manifest (1,024 chunks) is written
down when it is whole, so that memory does not grow with the image.  A process that dies goes on at
that page, where nothing but the manifest is asked for: the state of a hash cannot be kept.  What the
record tells of the data already (checksum, os_hash_value) is held against it, and where it is wrong
that is told, and nothing is published.

    the image is active    its hashes and the name of its manifest are noted
    it is importing        it waits for its hash to be the one that its client told: then it is active,
                           else, or if its data cannot be read, it is queued again, without it
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from datetime import timedelta
from typing import Any

from backends.manifest import (
    PAGE_DIGESTS,
    PAGES_MAX,
    ManifestName,
    ManifestRoot,
)
from backends.spans import Span
from registry.db.database import Connection, Database
from registry.db.failures import OvertakenError
from registry.db.hashing import (
    HASH,
    MANIFEST,
    add_page,
    clear_pages,
    count_surveyed,
    images_without_manifest,
    note_found,
)
from registry.db.images import get_image, move_image, save_locations
from registry.db.jobs import add_job, end_job, renew_job
from registry.db.manifests import get_page_digests
from registry.db.tasks import change_task
from registry.domain.errors import RegistryError, UnavailableError
from registry.domain.image import Image
from registry.domain.job import Job
from registry.domain.manifest import ManifestPage
from registry.domain.status import Status
from registry.domain.task import OPEN, TaskStatus
from registry.service.clock import Clock, utc_now
from registry.service.digests import Hashing, chunk_digest
from registry.service.discards import Discards
from registry.service.downloads import Data, Downloads
from registry.service.jobs import Jobs
from registry.service.places import is_web
from registry.service.reading import Pacing, Patience, Reading
from registry.service.wanted import (
    Found,
    Work,
    algorithms_of,
    is_wanted,
    require_agreement,
    shape_of,
)

LOG = logging.getLogger(__name__)

_DIGEST_BYTES = 32
SURVEY = "survey"  # the kind of the job that looks for images without a manifest
SURVEY_SECONDS = 600.0
SURVEYED_MAX = 20  # jobs that wait at a time
LOOK_SECONDS = 10.0  # from one look whether an image that is read is still wanted to the next
AGAIN_SECONDS = 3600.0  # after which an image is read again whose store did not answer
MEBIBYTE = 1 << 20
TASK_LIFE = timedelta(hours=48)  # Glance's task_time_to_live


class ImageGoneError(Exception):
    """The image was deleted meanwhile, or lacks nothing any more."""


class JobLostError(Exception):
    """Another does the job by now: what there is is his."""


class BackgroundHashing:
    """Owes and does the hashing of images."""

    def __init__(  # noqa: PLR0913  # what it is made of; the rest by name
        self,
        database: Database,
        downloads: Downloads,
        discards: Discards,
        hashing: Hashing,
        *,
        retries: int = 3,
        bytes_per_second: int = 0,
        task_life: timedelta = TASK_LIFE,
        clock: Clock = utc_now,
    ) -> None:
        self._database = database
        self._downloads = downloads
        self._discards = discards
        self._hashing = hashing
        self._retries = retries
        self._bytes_per_second = bytes_per_second
        self._task_life = task_life
        self._wake: Callable[[], None] = _nobody
        self._clock = clock

    async def owe(
        self,
        connection: Connection,
        image_id: str,
        algorithm: str | None = None,
        expected: str | None = None,
        task: str | None = None,
    ) -> None:
        """Owe an image's manifest, and its hashes if an algorithm is told; the task ends with them."""
        work = Work(self._hashing.chunk_bytes, algorithm, expected, task)
        await add_job(connection, HASH, image_id=image_id, arguments=work.arguments())

    def told_to(self, jobs: Jobs) -> None:
        """Let it be noticed at once that something is owed."""
        self._wake = jobs.wake

    def wake(self) -> None:
        """Look now for what is owed, after the transaction that owes it."""
        self._wake()

    async def survey(self, job: Job | None = None) -> None:
        """Owe the manifests of some images that have none: Glance's, or by stores that were away."""
        del job
        await self._database.change(self._survey)

    async def _survey(self, connection: Connection) -> None:
        room = SURVEYED_MAX - await count_surveyed(connection)
        if room <= 0:
            return
        longest = PAGES_MAX * PAGE_DIGESTS * self._hashing.chunk_bytes
        for image in await images_without_manifest(connection, longest, AGAIN_SECONDS, room):
            is_waiting = image.os_hash_algo is not None and image.os_hash_value is None
            work = Work(self._hashing.chunk_bytes, image.os_hash_algo if is_waiting else None)
            await add_job(connection, MANIFEST, image_id=image.id, arguments=work.arguments())

    async def hash(self, job: Job) -> None:
        """Do a job: a `registry.service.jobs.Handler`."""
        with _unless_lost(job):
            await self._hash(job)

    async def _hash(self, job: Job) -> None:
        assert job.image_id is not None
        image = await self._database.query(get_image, job.image_id)
        work = Work.of(job)
        if image is None or not is_wanted(image, work):
            await self._tell(work, TaskStatus.FAILURE)
            return
        await self._tell(work, TaskStatus.PROCESSING)
        waits = image.status is Status.IMPORTING
        try:
            found = await self._compute(image, work, job)
            require_agreement(image, work, found)
        except ImageGoneError:
            await self._tell(work, TaskStatus.FAILURE)
            return
        except RegistryError as error:
            is_last = not isinstance(error, UnavailableError) or job.attempts >= self._retries
            if not waits or not is_last:
                raise
            LOG.warning("image %s: its location is taken back: %s", image.id, error)
            await self._take_back(job, str(error))
            return
        await self._database.change(self._note, job, work, found)
        LOG.info("image %s: its data is hashed", image.id)

    async def take_back(self, job: Job) -> None:
        """Queue an image again that waits for hashes which nobody could compute.

        One that is active stays so, and its task has done what it was for.
        """
        with _unless_lost(job):
            await self._take_back(job)

    async def _take_back(self, job: Job, reason: str = "") -> None:
        assert job.image_id is not None
        work = Work.of(job)
        if await self._database.change(self._queue_again, job):
            await self._tell(work, TaskStatus.FAILURE, reason)
            await self._discards.carry_out(job.image_id)
        else:
            await self._tell(work, TaskStatus.SUCCESS)

    async def _tell(self, work: Work, status: TaskStatus, message: str = "") -> None:
        """Tell the client what has become of its task, if it has one."""
        if work.task is not None:
            await self._database.change(self.tell_task, work.task, status, message)

    async def tell_task(
        self, connection: Connection, task_id: str, status: TaskStatus, message: str = ""
    ) -> None:
        """Tell the client what has become of a task."""
        now = self._clock()
        ends = {} if status is TaskStatus.PROCESSING else {"expires_at": now + self._task_life}
        await change_task(connection, task_id, OPEN, status, now, message=message, **ends)

    async def _compute(self, image: Image, work: Work, job: Job) -> Found:
        """Read an image.  Of a job that was claimed before, pages which are there are its own."""
        shape = shape_of(image, work)
        algorithms = algorithms_of(image, work)
        done = b""
        if job.claims > 1 and not algorithms:
            done = await self._database.query(get_page_digests, image.id)
        else:
            await self._database.change(self._clear, job)
        reading = Reading(image, work.chunk_bytes, algorithms, len(done) // _DIGEST_BYTES)
        digests = bytearray(done)
        # Places that no hash holds together may hold different data: one is read, or none.
        places = image.locations if algorithms else image.locations[:1]
        data = Data(image.id, reading.size, None, places)
        span = Span(min(reading.position, reading.size), reading.size)
        if len(span):
            patience, pacing = Patience(), Pacing(self._bytes_per_second)
            clock = asyncio.get_running_loop().time
            looked = clock()
            async with AsyncExitStack() as stack:
                opening = stack.enter_async_context(self._downloads.open(data, span))
                download = await patience.wait(opening)
                while piece := await patience.piece(download):
                    if clock() - looked >= LOOK_SECONDS:
                        await self._require_wanted(image.id, work)
                        looked = clock()
                    for number, page in await reading.update(piece):
                        if shape is None:
                            continue
                        await self._database.change(self._add_page, job, number, page)
                        digests += page.digest
                    await pacing.passed(len(piece))
        return Found(reading.hashes(), bytes(digests))

    async def _clear(self, connection: Connection, job: Job) -> None:
        await clear_pages(connection, await _held(connection, job))

    async def _add_page(
        self, connection: Connection, job: Job, number: int, page: ManifestPage
    ) -> None:
        if not await add_page(connection, await _held(connection, job), number, page):
            raise ImageGoneError

    async def _require_wanted(self, image_id: str, work: Work) -> None:
        with suppress(UnavailableError):  # a database that is away tells nothing: it is asked again
            image = await self._database.query(get_image, image_id)
            if image is None or not is_wanted(image, work):
                raise ImageGoneError

    async def _note(self, connection: Connection, job: Job, work: Work, found: Found) -> None:
        image_id = str(job.image_id)
        if not await end_job(connection, job):
            raise JobLostError
        image = await get_image(connection, image_id, for_update=True)
        if image is None or not is_wanted(image, work):
            await clear_pages(connection, image_id)
            return
        values: dict[str, Any] = {}
        shape = shape_of(image, work)
        if shape is not None:
            if await get_page_digests(connection, image_id) != found.page_digests:
                raise UnavailableError(f"Image {image_id} is hashed by others, too.")
            root = chunk_digest(ManifestRoot(shape, found.page_digests).pack())
            values["os_manifest"] = str(ManifestName(work.chunk_bytes, root))
        if work.algorithm is not None:
            values["checksum"] = found.hashes["md5"]
            values["os_hash_algo"] = work.algorithm
            values["os_hash_value"] = found.hashes[work.algorithm]
        now = self._clock()
        if work.task is not None:
            await self.tell_task(connection, work.task, TaskStatus.SUCCESS)
        if image.status is Status.IMPORTING:
            if not await move_image(
                connection, image_id, image.status, Status.ACTIVE, now, **values
            ):
                raise OvertakenError(f"Image {image_id} is being changed by others.")
        else:
            await note_found(connection, image, values, None if work.algorithm is None else now)

    async def _queue_again(self, connection: Connection, job: Job) -> bool:
        image_id = await _held(connection, job)
        image = await get_image(connection, image_id, for_update=True)
        if image is None or image.status is not Status.IMPORTING:
            return False
        nothing = {"checksum": None, "os_hash_algo": None, "os_hash_value": None}
        now = self._clock()
        if not await move_image(connection, image_id, image.status, Status.QUEUED, now, **nothing):
            raise OvertakenError(f"Image {image_id} is being changed by others.")
        # As Glance: what is on the web cannot be deleted, and stays told until other data comes.
        kept = [place for place in image.locations if is_web(place.url)]
        gone = [place for place in image.locations if place not in kept]
        await self._discards.owe(connection, image_id, gone)
        await save_locations(connection, image_id, kept)
        await clear_pages(connection, image_id)
        return True


@contextmanager
def _unless_lost(job: Job) -> Iterator[None]:
    try:
        yield
    except JobLostError:
        LOG.warning("image %s: its data is hashed by others", job.image_id)


async def _held(connection: Connection, job: Job) -> str:
    """Hold a job beside this transaction, and return whose it is."""
    if not await renew_job(connection, job):
        raise JobLostError
    return str(job.image_id)


def _nobody() -> None:
    """Nobody is there to be woken."""
