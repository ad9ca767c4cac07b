"""Imports that say nothing any more: their locks may be taken, and what they began goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backends.memory import MemoryStore
from harness.given_stores import given
from registry.db.database import Database
from registry.db.images import get_image
from registry.db.jobs import claim_job, due_jobs
from registry.db.tables import jobs
from registry.db.tasks import get_task
from registry.domain.errors import ConflictError
from registry.domain.identity import Identity
from registry.domain.image import Image
from registry.domain.importing import FAILED, IMPORTING, LOCK
from registry.domain.job import Job
from registry.domain.limits import Limits
from registry.domain.status import Status
from registry.domain.task import Task, TaskStatus
from registry.domain.validation import ImageValidator
from registry.fetching.filtering import UriFilter
from registry.fetching.options import FilterSettings
from registry.imports.building import Importing, Parts, open_importing
from registry.imports.deliveries import Delivery
from registry.imports.kinds import IMPORT
from registry.imports.options import ImportSettings
from registry.imports.orders import Order
from registry.imports.requests import Caller
from registry.inspection.options import InspectionSettings
from registry.plugins.options import PluginSettings
from registry.plugins.plugins import Plugins
from registry.quotas.quotas import Quotas
from registry.service.checks import Checks
from registry.service.digests import Hashing
from registry.service.discards import Discards
from registry.service.downloads import Downloads
from registry.service.images import Images
from registry.service.intake import Taken
from registry.service.leases import Leases
from registry.service.leftovers import Leftovers
from registry.service.stores import Stores
from registry.service.uploads import Upload, Uploads

CALLER = Caller(Identity("p1", "u1", is_admin=True), "req-1")
DATA = b"copied" * 1000
COPY = {"method": {"name": "copy-image"}, "stores": ["slow"]}
MINUTE = timedelta(minutes=1)


@pytest.fixture
def slow() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def stores(slow: MemoryStore) -> Stores:
    return given({"fast": MemoryStore(), "slow": slow, "third": MemoryStore()})


@pytest.fixture
async def importing(  # what it is made of
    *,
    database: Database,
    stores: Stores,
    limits: Limits,
    hashing: Hashing,
    checks: Checks,
    validator: ImageValidator,
    downloads: Downloads,
    clock: Any,
    tmp_path: Path,
) -> AsyncIterator[Importing]:
    parts = Parts(
        lease_seconds=60,
        database=database,
        stores=stores,
        discards=Discards(database, stores),
        downloads=downloads,
        limits=limits,
        hashing=hashing,
        leftovers=Leftovers(database, stores, Leases(database, 60)),
        checks=checks,
        uri_filter=UriFilter(FilterSettings()),
        validator=validator,
        plugins=Plugins(PluginSettings(), InspectionSettings(), limits.image_size_cap),
        keystone=None,
        quotas=Quotas(database, 2 * len(DATA)),
        clock=clock,
    )
    settings = ImportSettings(methods=("copy-image",), staging_directory=tmp_path)
    async with open_importing(settings, parts) as importing:
        yield importing


class Copying:
    """An image of which a copy is asked for, and the jobs that this makes."""

    def __init__(self, database: Database, importing: Importing, clock: Any, image_id: str) -> None:
        self._database = database
        self._importing = importing
        self._clock = clock
        self.image_id = image_id

    async def ask(self, asked: Mapping[str, object] = COPY) -> None:
        await self._importing.requests.request(CALLER, self.image_id, asked, None)

    async def image(self) -> Image:
        image = await self._database.query(get_image, self.image_id)
        assert image is not None
        return image

    async def task_id(self) -> str:
        return str((await self.image()).properties[LOCK])

    async def task(self, task_id: str) -> Task:
        task = await self._database.query(get_task, task_id, self._clock.now)
        assert task is not None
        return task

    async def jobs(self) -> Sequence[Job]:
        return await self._database.ask(due_jobs, {IMPORT: 9}, "one")

    async def claim(self) -> Job:
        (due,) = await self.jobs()
        job = await self._database.change(claim_job, due, 60.0)
        assert job is not None
        return job

    async def begin(self, job: Job) -> None:
        await self._importing.importer._records.begin(Order.of(job))

    async def work(self, job: Job) -> None:
        await self._importing.importer.work(job)

    async def claim_again(self) -> Job:
        """Claim what somebody has claimed who died."""
        async with self._database.write() as connection:
            await connection.execute(jobs.update().values(due_at=datetime(1970, 1, 1)))  # noqa: DTZ001  # as all times there
        return await self.claim()


@pytest.fixture
async def copying(
    database: Database, importing: Importing, images: Images, uploads: Uploads, clock: Any
) -> Copying:
    described = {"disk_format": "raw", "container_format": "bare"}
    image_id = str((await images.create(CALLER.identity, described))["id"])

    async def body() -> AsyncIterator[bytes]:
        yield DATA

    await uploads.upload(CALLER.identity, image_id, Upload(len(DATA), "fast"), body())
    return Copying(database, importing, clock, image_id)


@pytest.mark.parametrize(("begins", "minutes"), [(False, 120), (True, 60)])
async def test_an_old_lock_is_taken(
    copying: Copying, clock: Any, *, begins: bool, minutes: int
) -> None:
    await copying.ask()
    first = await copying.task_id()
    job = await copying.claim()
    if begins:
        await copying.begin(job)
    clock.now = (await copying.task(first)).updated_at + minutes * MINUTE - 5 * MINUTE / 60
    with pytest.raises(ConflictError, match="Image has active task"):
        await copying.ask()
    assert await copying.task_id() == first
    clock.now += 5 * MINUTE / 60
    await copying.ask()
    second = await copying.task_id()
    assert second != first
    robbed = await copying.task(first)
    assert (robbed.status, robbed.message) == (TaskStatus.FAILURE, "Expired lock preempted")
    await copying.work(job)  # it was not dead: it only comes to know
    image = await copying.image()
    assert (image.properties[LOCK], image.properties[IMPORTING]) == (second, "slow")
    assert (await copying.task(first)).message == "Expired lock preempted"
    await copying.work(await copying.claim())
    image = await copying.image()
    assert LOCK not in image.properties
    assert (image.properties[IMPORTING], image.properties[FAILED]) == ("", "")
    assert (image.status, len(image.locations)) == (Status.ACTIVE, 2)
    assert (await copying.task(second)).status is TaskStatus.SUCCESS
    assert not await copying.jobs()


class Course:
    """What befalls those, one after the other, whose data is in the store."""

    def __init__(self) -> None:
        self.there: asyncio.Queue[asyncio.Event] = asyncio.Queue()
        self.dies = False


@pytest.fixture
def course(monkeypatch: pytest.MonkeyPatch) -> Course:
    """Let whoever has written wait, or die, before the database knows of it."""
    course = Course()
    enter, has = Delivery.enter, Delivery.has

    async def entering(delivery: Delivery, taken: Taken) -> None:
        if course.dies:
            raise KeyboardInterrupt
        go_on = asyncio.Event()
        course.there.put_nowait(go_on)
        await go_on.wait()
        await enter(delivery, taken)

    async def asking(delivery: Delivery, taken: Taken) -> bool:
        return course.dies or await has(delivery, taken)

    monkeypatch.setattr(Delivery, "enter", entering)
    monkeypatch.setattr(Delivery, "has", asking)
    return course


async def begin_and_die(copying: Copying, course: Course) -> None:
    await copying.ask()
    course.dies = True
    with pytest.raises(KeyboardInterrupt):
        await copying.work(await copying.claim())
    course.dies = False


async def test_what_a_dead_import_left_of_a_deleted_image_goes(
    copying: Copying, images: Images, slow: MemoryStore, course: Course
) -> None:
    await begin_and_die(copying, course)
    task_id = await copying.task_id()
    assert slow.names == {copying.image_id}
    await images.delete(CALLER.identity, copying.image_id)
    await copying.work(await copying.claim_again())
    assert slow.names == frozenset()
    assert (await copying.task(task_id)).status is TaskStatus.FAILURE
    assert not await copying.jobs()


async def test_whoever_takes_the_lock_takes_away_what_was_begun(
    copying: Copying, slow: MemoryStore, course: Course, clock: Any
) -> None:
    await begin_and_die(copying, course)
    clock.now = (await copying.task(await copying.task_id())).updated_at + 60 * MINUTE
    await copying.ask({**COPY, "stores": ["third"]})
    working = asyncio.create_task(copying.work(await copying.claim()))
    (await course.there.get()).set()
    await working
    assert slow.names == frozenset()
    assert len((await copying.image()).locations) == 2
    assert not await copying.jobs()


@pytest.mark.parametrize("again", [False, True])
async def test_what_was_there_before_an_import_stays(
    copying: Copying, slow: MemoryStore, *, again: bool
) -> None:
    async with slow.create(copying.image_id) as writer:
        await writer.write(b"somebody's")
        await writer.commit()
    await copying.ask()
    task_id = await copying.task_id()
    job = await copying.claim()
    if again:
        job = await copying.claim_again()
    await copying.work(job)
    assert slow._objects == {copying.image_id: b"somebody's"}
    assert (await copying.task(task_id)).status is TaskStatus.FAILURE
    image = await copying.image()
    assert (len(image.locations), image.properties[FAILED]) == (1, "slow")


async def test_who_lost_the_job_takes_nothing_of_the_next_one(
    copying: Copying, slow: MemoryStore, course: Course
) -> None:
    await copying.ask()
    task_id = await copying.task_id()
    first = asyncio.create_task(copying.work(await copying.claim()))
    first_goes_on = await course.there.get()
    second = asyncio.create_task(copying.work(await copying.claim_again()))
    second_goes_on = await course.there.get()
    first_goes_on.set()
    await first
    assert slow._objects == {copying.image_id: DATA}
    second_goes_on.set()
    await second
    assert slow._objects == {copying.image_id: DATA}
    assert len((await copying.image()).locations) == 2
    assert (await copying.task(task_id)).status is TaskStatus.SUCCESS
    assert not await copying.jobs()


async def test_what_came_into_a_store_is_known_no_longer_as_begun(copying: Copying) -> None:
    await copying.ask()
    job = await copying.claim()
    order = Order.of(job)
    records = copying._importing.importer._records
    await records.begin(order)
    await records.begin_store(order, "slow")
    again = await copying.claim_again()
    assert Order.of(again).begun == order.begun == ["slow"]
    await copying.work(again)
    assert not await copying.jobs()
