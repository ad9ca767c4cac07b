"""Staging below HTTP: a writer that was taken for dead, or died, leaves nothing that nobody owes to take away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from backends.file.newfile import NewFile
from registry.db.database import Database
from registry.db.images import get_image
from registry.db.jobs import claim_job, due_jobs, end_job, owed_jobs, reschedule_job
from registry.domain import errors
from registry.domain.identity import EVERYBODY
from registry.domain.job import Job
from registry.domain.limits import Limits
from registry.domain.notices import Priority
from registry.domain.status import Status
from registry.imports.options import ImportSettings
from registry.imports.staging import UNSTAGE, Staging, StagingArea
from registry.service.images import Images
from registry.service.jobs import LaterError
from registry.service.stores import Stores


@pytest.fixture
async def area(stores: Stores, tmp_path: Path) -> AsyncIterator[StagingArea]:
    area = StagingArea(ImportSettings(staging_directory=tmp_path / "staging", host="here"), stores)
    yield area
    await area.aclose()


@pytest.fixture
def staging(database: Database, area: StagingArea, limits: Limits) -> Staging:
    return Staging(database, area, limits, wake=lambda: None)


@pytest.fixture
async def image_id(images: Images) -> str:
    return str((await images.create(EVERYBODY, {}))["id"])


class Body:
    """A body that stops in its middle until it is let go."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.go = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"begun"
        self.reached.set()
        await self.go.wait()
        yield b"whole"


def files(tmp_path: Path) -> list[str]:
    return [path.name for path in (tmp_path / "staging").iterdir()]


async def status(database: Database, image_id: str) -> Status:
    image = await database.query(get_image, image_id)
    assert image is not None
    return image.status


async def jobs_of(database: Database, image_id: str) -> list[Job]:
    """Claim what is owed for an image, as if it were due."""
    for owed in await database.query(owed_jobs, UNSTAGE, image_id):
        await database.change(reschedule_job, owed.id, 0)
    claimed = []
    for due in await database.ask(due_jobs, {UNSTAGE: 9}, "here"):
        job = await database.change(claim_job, due, 60.0)
        assert job is not None
        claimed.append(job)
    return claimed


@pytest.mark.parametrize("dies", [True, False])
async def test_a_writer_that_was_taken_for_dead_stages_nothing(
    *,
    staging: Staging,
    database: Database,
    image_id: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dies: bool,
) -> None:
    body = Body()
    writing = asyncio.create_task(staging.stage(EVERYBODY, image_id, None, aiter(body)))
    await body.reached.wait()
    (job,) = await jobs_of(database, image_id)
    await staging.unstage(job)
    async with database.write() as connection:
        assert await end_job(connection, job)
    assert await status(database, image_id) is Status.QUEUED
    if dies:

        async def nothing(*_: object) -> None:
            pass

        def published(*_: object) -> None:
            raise AssertionError("nobody would take that away if it died here")

        monkeypatch.setattr(staging, "_unwind", nothing)
        monkeypatch.setattr(NewFile, "publish", published)
    body.go.set()
    with pytest.raises(errors.LeaseLostError):  # 503: it may be sent again
        await writing
    assert files(tmp_path) == []
    assert await status(database, image_id) is Status.QUEUED


async def test_others_are_told_how_staging_goes(
    database: Database, area: StagingArea, limits: Limits, image_id: str
) -> None:
    told: list[tuple[str, Any, Any]] = []

    class Heard:
        def emit(self, event: str, payload: Any, priority: Priority = "info") -> None:
            del priority
            told.append((event, payload["status"], payload["size"]))

    staging = Staging(database, area, limits, wake=lambda: None, notifier=Heard())

    async def body() -> AsyncIterator[bytes]:
        yield b"whole"

    with pytest.raises(errors.InvalidRequestError):
        await staging.stage(EVERYBODY, image_id, 6, body())
    await staging.stage(EVERYBODY, image_id, 5, body())
    update = "image.update"
    assert told == [
        *((update, "uploading", None), (update, "queued", None)),
        *((update, "uploading", None), (update, "uploading", 5)),
    ]


async def test_a_writer_who_learns_in_the_middle_that_it_was_given_up_may_send_again(
    database: Database, area: StagingArea, limits: Limits, image_id: str, tmp_path: Path
) -> None:
    """It is told so by its renewal, which ends it while it waits for more."""
    staging = Staging(database, area, limits, wake=lambda: None, lease_seconds=0.2)
    body = Body()
    writing = asyncio.create_task(staging.stage(EVERYBODY, image_id, None, aiter(body)))
    await body.reached.wait()
    (job,) = await jobs_of(database, image_id)
    await staging.unstage(job)
    async with database.write() as connection:
        assert await end_job(connection, job)
    with pytest.raises(errors.LeaseLostError, match="sent again"):  # 503, not 500
        await writing
    assert files(tmp_path) == []


async def test_what_is_given_up_without_a_job_is_owed(
    staging: Staging, database: Database, area: StagingArea, image_id: str, tmp_path: Path
) -> None:
    store = await area.store()
    async with store.create(f"{image_id}.1") as writer:
        await writer.commit()
    await database.change(staging._give_up, image_id, f"{image_id}.1")
    # Here its process is killed.
    (job,) = await jobs_of(database, image_id)
    await staging.unstage(job)
    assert files(tmp_path) == []


async def test_what_the_database_may_have_noted_stays(
    staging: Staging,
    database: Database,
    image_id: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    keep = staging._keep

    async def kept(*arguments: object) -> None:
        await keep(*arguments)  # type: ignore[arg-type]  # passed on
        raise errors.UnavailableError("lost while it took the change")

    async def away(*_: object) -> None:
        raise errors.UnavailableError("away")

    body = Body()
    body.go.set()
    with monkeypatch.context() as patched:
        patched.setattr(staging, "_keep", kept)
        patched.setattr(staging, "_give_up", away)
        with pytest.raises(errors.UnavailableError):
            await staging.stage(EVERYBODY, image_id, None, aiter(body))
    (told,) = [each for each in caplog.records if "undone later" in each.message]
    assert not told.exc_info  # it says all
    assert len(files(tmp_path)) == 1
    (job,) = await jobs_of(database, image_id)
    # What `kept` noted was undone with its transaction: this is a writer that died.
    await staging.unstage(job)
    assert files(tmp_path) == []
    assert await status(database, image_id) is Status.QUEUED


@pytest.mark.parametrize(
    "failure",
    [
        errors.UnavailableError("away"),
        errors.InvalidRequestError("Unknown store: staging"),
        errors.GoneError("Adding images to the store is disabled."),
        errors.ConflictError("in use"),
        errors.LimitExceededError("full"),
    ],
    ids=lambda failure: type(failure).__name__,
)
async def test_an_area_that_cannot_be_cleared_does_not_count(
    staging: Staging,
    area: StagingArea,
    monkeypatch: pytest.MonkeyPatch,
    failure: errors.RegistryError,
) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(area, "clear", fails)
    with pytest.raises(LaterError):
        await staging.unstage(Job("id", UNSTAGE, "i", {"name": "i.1", "free": True}, 1, 1))
