"""Jobs that fail: tried again, settled, given up, and never in the way of others."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from harness.database_clock import DatabaseClock
from harness.jobs_case import (
    DAY,
    ENDURING,
    KIND,
    QUICK,
    Hands,
    has,
    instance,
    running,
    the_row,
    until_rows,
)
from harness.waiting import until_async
from registry.db.database import Database
from registry.db.jobs import (
    add_job,
    claim_job,
    due_jobs,
    forget_jobs,
    is_owed,
    postpone_job,
)
from registry.db.tables import jobs
from registry.domain.errors import ConflictError, UnavailableError
from registry.service import jobs as service
from registry.service.jobs import Job


@pytest.fixture
def clock(database: Database) -> DatabaseClock:
    return DatabaseClock(database, jobs.c.due_at, jobs.c.given_up_at)


async def test_a_failure_is_tried_again_after_growing_pauses(
    database: Database, clock: DatabaseClock
) -> None:
    await database.change(add_job, KIND)
    hands = Hands(RuntimeError("x"), UnavailableError("down"), RuntimeError("y"))
    since = await clock.now()
    async with running(instance(database, hands)):
        for pause, reason in (
            (2, "RuntimeError: x"),
            (4, "UnavailableError: down"),
            (8, "RuntimeError: y"),
        ):
            (row,) = await until_rows(database, has(reason=reason))
            await clock.require(row.due_at, since, pause)
            since = await clock.now()
            await clock.move(pause)
        await until_rows(database, lambda found: not found)
    assert [job.attempts for job in hands.done] == [1, 2, 3, 4]


async def test_a_refusal_is_for_good_and_its_reason_kept(
    database: Database, clock: DatabaseClock
) -> None:
    await database.change(add_job, KIND, image_id="i")
    hands = Hands(ConflictError("not so"))
    since = await clock.now()
    async with running(instance(database, hands)):
        (row,) = await until_rows(database, lambda found: found[0].given_up_at is not None)
    assert (row.reason, row.due_at) == ("ConflictError: not so", None)
    await clock.require(row.given_up_at, since, 0)
    assert len(hands.done) == 1
    assert not await database.query(is_owed, KIND, "i")
    assert await database.change(forget_jobs, 1) == 0
    await clock.move(DAY)
    assert await database.change(forget_jobs, 1) == 1


async def test_what_always_fails_is_settled_and_given_up(
    database: Database, clock: DatabaseClock
) -> None:
    told = {"uri": "http://user:password@host/"}
    await database.change(add_job, KIND, arguments=told)
    hands = Hands(*[RuntimeError("again")] * 100)
    settler = Hands(RuntimeError("not yet"))
    jobs = instance(database, hands, settlers={KIND: settler}, pace=ENDURING)
    async with running(jobs):
        while (await the_row(database)).given_up_at is None:
            await clock.move(QUICK.retry_max)
    assert [job.attempts for job in hands.done] == list(range(1, service.ATTEMPTS_MAX + 1))
    assert [job.attempts - service.ATTEMPTS_MAX for job in settler.done] == [1, 2]
    assert all(job.arguments == told for job in settler.done)
    row = await the_row(database)
    assert (row.reason, row.arguments) == ("RuntimeError: not yet", {})


async def test_what_cannot_even_be_settled_is_given_up(
    database: Database, clock: DatabaseClock
) -> None:
    await database.change(add_job, KIND)
    hands = Hands(*[RuntimeError("again")] * 100)
    settler = Hands(*[ConflictError("never")] * 100)
    jobs = instance(database, hands, settlers={KIND: settler}, pace=ENDURING)
    async with running(jobs):
        while (await the_row(database)).given_up_at is None:
            await clock.move(QUICK.retry_max)
    assert len(settler.done) == service.SETTLING_MAX


async def test_what_always_kills_its_process_is_given_up(
    database: Database, clock: DatabaseClock
) -> None:
    await database.change(add_job, KIND)
    for attempt in range(1, service.ATTEMPTS_MAX + 1):
        (due,) = await database.query(due_jobs, {KIND: 9}, "one")
        assert due.attempts == attempt
        assert await database.change(claim_job, due, 60)
        assert await database.query(due_jobs, {KIND: 9}, "one") == []
        await clock.move(60)  # it died
    hands, settler = Hands(), Hands()
    async with running(instance(database, hands, settlers={KIND: settler})):
        (row,) = await until_rows(database, lambda found: found[0].given_up_at is not None)
    assert (len(hands.done), len(settler.done)) == (0, 1)
    assert row.reason == service.DIED


async def test_what_failed_is_not_kept_waiting_by_what_is_added(database: Database) -> None:
    first = await database.change(add_job, KIND)
    (due,) = await database.ask(due_jobs, {KIND: 1}, "one")
    held = await database.change(claim_job, due, 60)
    assert held is not None
    assert await database.change(postpone_job, held, 0.0, attempts=1)
    await database.change(add_job, KIND)
    (due,) = await database.ask(due_jobs, {KIND: 1}, "one")
    assert due.id == first


async def test_a_database_that_is_away_does_not_end_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.change(add_job, KIND)
    failures = 3

    async def due(*args: Any) -> list[Job]:
        nonlocal failures
        if failures:
            failures -= 1
            raise UnavailableError("away")
        return await due_jobs(*args)

    monkeypatch.setattr(service, "due_jobs", due)
    async with running(instance(database, Hands())):
        await until_rows(database, lambda found: not found)
    assert not failures


async def test_a_database_that_is_away_when_a_job_ends_is_told_in_a_line(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await database.change(add_job, KIND)
    tried = asyncio.Event()

    async def away(*_: Any) -> None:
        tried.set()
        raise UnavailableError("away")

    monkeypatch.setattr(service, "end_job", away)
    jobs = instance(database, Hands())
    async with running(jobs):
        await tried.wait()
        await until_async("the job to end", lambda: not jobs._running)
    (told,) = [each for each in caplog.records if "written down" in each.message]
    assert told.message.endswith("away")
    assert not told.exc_info
