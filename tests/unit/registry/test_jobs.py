"""Durable jobs: each is done once, in its turn, however many instances there are."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from harness.database_clock import DatabaseClock
from harness.jobs_case import (
    DAY,
    KIND,
    PATIENT,
    QUICK,
    Gate,
    Hands,
    has,
    instance,
    rows,
    running,
    the_row,
    until_rows,
)
from harness.waiting import passing, until_async
from registry.db.database import Database
from registry.db.jobs import (
    add_job,
    add_recurring_job,
    claim_job,
    drop_jobs,
    due_jobs,
    end_job,
    hurry_jobs,
    is_owed,
    owed_jobs,
    renew_job,
    reschedule_job,
)
from registry.db.tables import jobs
from registry.domain.errors import ConflictError, UnavailableError
from registry.metrics import StoreMetrics
from registry.service import jobs as service
from registry.service.jobs import Job, Jobs, LaterError


@pytest.fixture
def clock(database: Database) -> DatabaseClock:
    return DatabaseClock(database, jobs.c.due_at, jobs.c.given_up_at)


async def test_a_job_is_done_and_forgotten(database: Database) -> None:
    hands = Hands()
    added = await database.change(add_job, KIND, image_id="i", arguments={"a": [1, "ü", None]})
    assert await database.query(is_owed, KIND, "i")
    async with running(instance(database, hands)):
        await until_rows(database, lambda found: not found)
    (job,) = hands.done
    assert (job.id, job.kind, job.image_id, job.attempts) == (added, KIND, "i", 1)
    assert job.arguments == {"a": [1, "ü", None]}
    assert not await database.query(is_owed, KIND, "i")


async def test_a_job_is_only_owed_if_its_transaction_is(database: Database) -> None:
    async def failing(connection: Any) -> None:
        await add_job(connection, KIND)
        raise ConflictError("no")

    with pytest.raises(ConflictError):
        await database.change(failing)
    assert await rows(database) == []


async def test_a_job_that_is_added_while_it_runs_begins_at_once(database: Database) -> None:
    hands = Hands()
    jobs = instance(database, hands, pace=replace(QUICK, poll=3600))
    async with running(jobs):
        await until_async("the start", lambda: jobs._news.is_set() is False)
        await database.change(add_job, KIND)
        jobs.wake()
        await until_rows(database, lambda found: not found)


async def test_the_oldest_first(database: Database) -> None:
    added = [await database.change(add_job, KIND) for _ in range(5)]
    hands = Hands()
    async with running(instance(database, hands)):
        await until_rows(database, lambda found: not found)
    assert [job.id for job in hands.done] == added


async def test_not_before_its_time(database: Database, clock: DatabaseClock) -> None:
    await database.change(add_job, KIND, after=10)
    assert await database.query(due_jobs, {KIND: 9}, "h") == []
    await clock.move(10)
    assert len(await database.query(due_jobs, {KIND: 9}, "h")) == 1


async def test_only_on_its_host(database: Database) -> None:
    await database.change(add_job, KIND, host="two")
    one, two = Hands(), Hands()
    async with running(instance(database, one, "one")):
        assert await database.query(due_jobs, {KIND: 9}, "one") == []
        async with running(instance(database, two, "two")):
            await until_rows(database, lambda found: not found)
    assert (len(one.done), len(two.done)) == (0, 1)


async def test_kinds_without_a_handler_are_left_to_others(database: Database) -> None:
    await database.change(add_job, "other")
    await database.change(add_job, KIND)
    async with running(instance(database, Hands())):
        (row,) = await until_rows(database, lambda found: len(found) == 1)
    assert (row.kind, row.claims) == ("other", 0)


async def test_of_many_that_claim_one_does(database: Database) -> None:
    for _ in range(20):
        await database.change(add_job, KIND)
    hands = Hands()
    many = [instance(database, hands, str(number), pace=PATIENT) for number in range(4)]
    async with running(many[0]), running(many[1]), running(many[2]), running(many[3]):
        await until_rows(database, lambda found: not found)
    assert len({job.id for job in hands.done}) == len(hands.done) == 20


async def test_no_more_at_once_than_there_is_room_for(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "AT_ONCE", 2)
    for _ in range(5):
        await database.change(add_job, KIND)
    gates = [Gate() for _ in range(5)]
    jobs = instance(database, Hands(*gates))
    async with running(jobs):
        for number, gate in enumerate(gates):
            await gate.begun.wait()
            assert len(jobs._running) <= 2
            if number:
                assert not any(later.begun.is_set() for later in gates[number + 1 :])
                gates[number - 1].open.set()
        gates[-1].open.set()
        await until_rows(database, lambda found: not found)


async def test_a_kind_that_is_busy_keeps_no_other_waiting(database: Database) -> None:
    gate = Gate()
    for kind in (KIND, KIND, "other"):
        await database.change(add_job, kind)
    handlers = {KIND: Hands(gate), "other": Hands()}
    jobs = Jobs(database, handlers, "one", pace=QUICK, limits={KIND: 1})
    async with running(jobs):
        found = await until_rows(database, lambda found: len(found) == 2)
        assert {row.kind for row in found} == {KIND}
        gate.open.set()
        await until_rows(database, lambda found: not found)


async def test_what_is_not_to_be_done_yet_is_no_failure(
    database: Database, clock: DatabaseClock
) -> None:
    await database.change(add_job, KIND)
    hands = Hands(LaterError(5), LaterError(7))
    since = await clock.now()
    async with running(instance(database, hands)):
        for count, pause in enumerate((5, 7), 1):
            (row,) = await until_rows(database, has(claims=count, attempts=0))
            assert row.reason is None
            await clock.require(row.due_at, since, pause)
            since = await clock.now()
            await clock.move(pause)
        await until_rows(database, lambda found: not found)
    assert [job.attempts for job in hands.done] == [1, 1, 1]


async def test_what_nobody_has_begun_can_be_hurried(
    database: Database, clock: DatabaseClock
) -> None:
    added = await database.change(add_job, KIND, image_id="i", after=DAY)
    since = await clock.now()
    assert await database.change(reschedule_job, added, 2 * DAY, {"a": 1})
    await clock.require((await the_row(database)).due_at, since, 2 * DAY)
    await database.change(hurry_jobs, "i")
    (due,) = await database.query(due_jobs, {KIND: 9}, "h")
    assert due.arguments == {"a": 1}
    assert [owed.id for owed in await database.query(owed_jobs, KIND, "i")] == [added]
    assert await database.change(claim_job, due, DAY)
    held = await the_row(database)
    await database.change(hurry_jobs, "i")
    assert not await database.change(reschedule_job, added, 0.0, {"a": 2})
    row = await the_row(database)
    assert (row.due_at, row.arguments) == (held.due_at, {"a": 2})  # whoever has it keeps it
    await database.change(drop_jobs, KIND, "i")
    assert not await database.change(end_job, due)


async def test_many_jobs_of_a_kind_hide_none_of_another(database: Database) -> None:
    for kind in (*[KIND] * 5, "other", "unknown"):
        await database.change(add_job, kind)
    found = await database.ask(due_jobs, {KIND: 2, "other": 2}, "one")
    assert [job.kind for job in found] == [KIND, KIND, "other"]


async def test_a_handler_may_end_its_job_with_what_it_came_to(database: Database) -> None:
    await database.change(add_job, KIND)

    async def ending(job: Job) -> None:
        assert await database.change(end_job, job)

    async with running(instance(database, Hands(ending))):
        await until_rows(database, lambda found: not found)


async def test_recurring_jobs_are_due_again(database: Database, clock: DatabaseClock) -> None:
    hands = Hands(None, RuntimeError("x"), ConflictError("y"))
    first = instance(database, hands, recurring={KIND: 100})
    second = instance(database, hands, "two", recurring={KIND: 100})
    since = await clock.now()
    async with running(first), running(second):
        (row,) = await until_rows(database, bool)
        await clock.require(row.due_at, since, 100)
        failure = "RuntimeError: x"
        ends = ((0, None, 100), (1, failure, 2), (0, failure, 100), (0, failure, 100))
        for count, (attempts, reason, pause) in enumerate(ends, 1):
            since = await clock.now()
            await clock.move(100)
            ended = has(claims=count, attempts=attempts, reason=reason)
            (row,) = await until_rows(database, ended)
            await clock.require(row.due_at, since, pause)
    assert len(hands.done) == 4
    assert (await the_row(database)).attempts == 0


async def test_a_recurring_job_that_is_wanted_more_often_is_due_earlier(
    database: Database, clock: DatabaseClock
) -> None:
    for seconds in (100, 10):
        since = await clock.now()
        await database.change(add_recurring_job, KIND, seconds)
        row = await the_row(database)
        await clock.require(row.due_at, since, seconds)
        await database.change(add_recurring_job, KIND, 5 * seconds)
        assert await the_row(database) == row


async def test_a_recurring_job_that_is_held_is_not_due_earlier(database: Database) -> None:
    """Another instance that starts takes nothing from whoever does it."""
    await database.change(add_recurring_job, KIND, 0)
    (due,) = await database.query(due_jobs, {KIND: 1}, "one")
    held = await database.change(claim_job, due, 60)
    assert held is not None
    await database.change(add_recurring_job, KIND, 0)
    assert await database.query(due_jobs, {KIND: 1}, "two") == []
    assert await database.change(renew_job, held)


async def test_many_that_start_at_once_owe_one_recurring_job(database: Database) -> None:
    await asyncio.gather(*(database.change(add_recurring_job, KIND, DAY) for _ in range(5)))
    assert (await the_row(database)).id == KIND


async def test_what_is_told_of_jobs(
    database: Database, clock: DatabaseClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "COUNT_SECONDS", 0.0)
    gate = Gate()
    hands = Hands(None, LaterError(DAY), UnavailableError("away"), ConflictError("no"), gate)
    jobs = instance(
        database, hands, limits={KIND: 1}, pace=replace(QUICK, retry=DAY, retry_max=DAY)
    )
    metrics = StoreMetrics()
    metrics.watch(jobs)
    for _ in range(6):
        await database.change(add_job, KIND)
    await database.change(add_job, "other", after=DAY)
    await clock.move(100)
    async with running(jobs):
        await gate.begun.wait()
        async with asyncio.timeout(30):
            while not jobs.backlogs or jobs.backlogs[0].due != 1:
                await passing(0.01)
        told = metrics.exposition("")[0].decode()
    found = {
        (
            sample.name.removeprefix("cacheproxy_registry_jobs_"),
            *sample.labels.values(),
        ): sample.value
        for family in text_string_to_metric_families(told)
        for sample in family.samples
    }
    assert 100 <= found.pop(("due_seconds", KIND)) < DAY
    assert found == {
        ("total", KIND, "done"): 1,
        ("total", KIND, "later"): 1,
        ("total", KIND, "failed"): 2,
        ("total", KIND, "given_up"): 1,
        ("running", KIND): 1,
        ("due", KIND): 1,
        ("given_up", KIND): 1,
    }
