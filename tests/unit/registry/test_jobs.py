"""Durable jobs: each is done once, by whoever lives, however many instances there are and die."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from harness.database_clock import DatabaseClock, mislead
from harness.waiting import passing, until_async
from registry.db.changes import add_change
from registry.db.clock import moment_in
from registry.db.database import Connection, Database
from registry.db.jobs import (
    add_job,
    add_recurring_job,
    claim_job,
    drop_jobs,
    due_jobs,
    end_job,
    forget_jobs,
    hurry_jobs,
    is_owed,
    owed_jobs,
    postpone_job,
    renew_job,
    reschedule_job,
)
from registry.db.options import DatabaseSettings
from registry.db.tables import image_changes, jobs
from registry.domain.changes import ChangeKind
from registry.domain.errors import ConflictError, UnavailableError
from registry.metrics import StoreMetrics
from registry.service import jobs as service
from registry.service.jobs import Handler, Job, Jobs, LaterError, Pace

DAY = 86400.0
QUICK = Pace(lease=60, renewal=0.01, poll=0.01, retry=2, retry_max=300)
PATIENT = replace(QUICK, renewal=3600)  # no renewal within a test
ENDURING = replace(QUICK, lease=1e6)  # none is lost while the clock is moved
KIND = "work"


@pytest.fixture
def clock(database: Database) -> DatabaseClock:
    return DatabaseClock(database, jobs.c.due_at, jobs.c.given_up_at)


@asynccontextmanager
async def running(jobs: Jobs) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(jobs.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        assert not jobs._running


async def rows(database: Database) -> list[sa.Row[Any]]:
    async with database.read() as connection:
        return list(await connection.execute(sa.select(jobs).order_by(jobs.c.id)))


async def the_row(database: Database) -> sa.Row[Any]:
    (row,) = await rows(database)
    return row


async def until_rows(
    database: Database, holds: Callable[[list[sa.Row[Any]]], bool]
) -> list[sa.Row[Any]]:
    """Wait for what another task writes."""
    async with asyncio.timeout(30):
        while not holds(found := await rows(database)):
            pass
    return found


def has(**values: Any) -> Callable[[list[sa.Row[Any]]], bool]:
    """Tell of the only row whether it has these values."""

    def holds(found: list[sa.Row[Any]]) -> bool:
        return all(getattr(found[0], name) == value for name, value in values.items())

    return holds


class Hands:
    """A handler that counts, and does what it is told to."""

    def __init__(self, *deeds: Callable[[Job], Awaitable[None]] | Exception | None) -> None:
        self.done: list[Job] = []
        self._deeds = list(deeds)

    async def __call__(self, job: Job) -> None:
        self.done.append(job)
        deed = self._deeds.pop(0) if self._deeds else None
        if isinstance(deed, Exception):
            raise deed
        if deed is not None:
            await deed(job)


class Gate:
    """A deed that begins, and ends when it is let."""

    def __init__(self) -> None:
        self.begun, self.open, self.cut = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def __call__(self, _job: Job) -> None:
        self.begun.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cut.set()
            raise


def instance(database: Database, hands: Handler, host: str = "one", **more: Any) -> Jobs:
    return Jobs(database, {KIND: hands}, host, **{"pace": QUICK, **more})


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


async def test_whoever_holds_a_job_keeps_it(database: Database, clock: DatabaseClock) -> None:
    await database.change(add_job, KIND)
    gate, other = Gate(), Hands()
    async with running(instance(database, Hands(gate))):
        await gate.begun.wait()
        async with running(instance(database, other, "two")):
            for _ in range(3):  # longer than the lease, but renewed
                renewed = (await the_row(database)).due_at
                await clock.move(30)
                async with asyncio.timeout(30):
                    while (await the_row(database)).due_at < renewed:
                        pass
            gate.open.set()
            await until_rows(database, lambda found: not found)
    assert other.done == []


async def test_a_job_of_the_dead_goes_on_elsewhere(
    database: Database, clock: DatabaseClock
) -> None:
    await database.change(add_job, KIND)
    (due,) = await database.query(due_jobs, {KIND: 9}, "dead")
    assert await database.change(claim_job, due, 3600)
    hands = Hands()
    async with running(instance(database, hands)):
        await clock.move(1800)
        assert await database.query(due_jobs, {KIND: 9}, "one") == []
        await clock.move(1800)
        await until_rows(database, lambda found: not found)
    assert [job.attempts for job in hands.done] == [2]
    assert not await database.change(end_job, due)


async def test_whoever_loses_a_job_stops(database: Database) -> None:
    """Its process slept, say: another has claimed the job before it could renew the lease."""
    await database.change(add_job, KIND)
    gate = Gate()
    loser = instance(database, Hands(gate))
    async with running(loser):
        await gate.begun.wait()
        (held,) = loser._running.values()
        thief = replace(held, claims=held.claims + 1)

        async def steal(connection: Connection) -> Job | None:
            await connection.execute(jobs.update().values(due_at=moment_in(0)))
            return await claim_job(connection, thief, DAY)

        assert await database.change(steal)
        stolen = await the_row(database)
        await gate.cut.wait()
        await until_async("the loser to notice", lambda: not loser._running)
    row = await the_row(database)
    assert (row.claims, row.due_at) == (thief.claims, stolen.due_at)  # the thief's, untouched


async def test_a_job_that_cannot_be_renewed_stops_before_others_claim_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.change(add_job, KIND)
    gate = Gate()

    async def away(*_: object) -> bool:
        raise UnavailableError("away")

    monkeypatch.setattr(service, "renew_job", away)
    pace = Pace(lease=0.2, renewal=0.05, poll=3600)
    async with running(instance(database, Hands(gate), pace=pace)):
        await gate.cut.wait()


@pytest.mark.parametrize("hours", [-1, 1])
async def test_an_instance_whose_clock_is_wrong_neither_robs_nor_is_robbed(
    database: Database, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """A job that is held stays so, one that is added is due, and a lease that it has lasts."""
    held, own = Gate(), Gate()
    await database.change(add_job, KIND)
    async with running(instance(database, Hands(held))):
        await held.begun.wait()
        mislead(monkeypatch, hours)
        added = await database.change(add_job, KIND, host="wrong")
        hands = Hands(own)
        async with running(instance(database, hands, "wrong", pace=PATIENT)):
            await own.begun.wait()
            assert [job.id for job in hands.done] == [added]
            assert await database.query(due_jobs, {KIND: 9}, "wrong") == []
            assert not held.cut.is_set()
            own.open.set()
            held.open.set()
            await until_rows(database, lambda found: not found)
    assert len(hands.done) == 1


async def test_many_jobs_of_a_kind_hide_none_of_another(database: Database) -> None:
    for kind in (*[KIND] * 5, "other", "unknown"):
        await database.change(add_job, kind)
    found = await database.ask(due_jobs, {KIND: 2, "other": 2}, "one")
    assert [job.kind for job in found] == [KIND, KIND, "other"]


async def test_what_failed_is_not_kept_waiting_by_what_is_added(database: Database) -> None:
    first = await database.change(add_job, KIND)
    (due,) = await database.ask(due_jobs, {KIND: 1}, "one")
    held = await database.change(claim_job, due, 60)
    assert held is not None
    assert await database.change(postpone_job, held, 0.0, attempts=1)
    await database.change(add_job, KIND)
    (due,) = await database.ask(due_jobs, {KIND: 1}, "one")
    assert due.id == first


async def test_a_renewal_writes_something_that_differs(database: Database) -> None:
    """Else Galera would tell other nodes nothing, and two of them could hold a job."""
    await database.change(add_job, KIND)
    (due,) = await database.ask(due_jobs, {KIND: 1}, "one")
    held = await database.change(claim_job, due, 60)
    assert held is not None
    before = await the_row(database)
    async with asyncio.timeout(30):
        while (await the_row(database)).due_at <= before.due_at:
            assert await database.change(renew_job, held)  # within one tick of the clock it may not


async def test_a_stop_gives_jobs_back(database: Database) -> None:
    await database.change(add_job, KIND)
    gate = Gate()
    async with running(instance(database, Hands(gate))):
        await gate.begun.wait()
    assert gate.cut.is_set()
    row = await the_row(database)
    assert (row.attempts, row.claims) == (0, 1)
    assert len(await database.query(due_jobs, {KIND: 9}, "two")) == 1
    async with running(instance(database, Hands())):
        await until_rows(database, lambda found: not found)


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


# Dies at the end of its n-th look at the database, or before that is committed.
MORTAL = """
import asyncio, os, sys
from contextlib import asynccontextmanager
from registry.db.database import Database
from registry.db.changes import add_change
from registry.db.clock import moment_in
from registry.db.jobs import end_job
from registry.db.options import DatabaseSettings
from registry.domain.changes import ChangeKind
from registry.domain.errors import ConflictError
from registry.service.jobs import Jobs, Pace

url, step = sys.argv[1], int(sys.argv[2])

class Mortal(Database):
    looks = 0
    def look(self):
        self.looks += 1
        if self.looks == step:
            os._exit(9)
    def read(self, *args):
        return self.mortal(super().read(*args))
    def write(self, *args):
        return self.mortal(super().write(*args))
    @asynccontextmanager
    async def mortal(self, transaction):
        self.look()
        async with transaction as connection:
            yield connection
            self.look()
        self.look()

async def main():
    database = Mortal(DatabaseSettings(url))
    done = asyncio.Event()
    async def work(job):
        async def write(connection):
            if not await end_job(connection, job):
                raise ConflictError("lost")
            await add_change(connection, job.image_id, ChangeKind.DATA)
        await database.change(write)
        done.set()
    jobs = Jobs(database, {"work": work}, "mortal", pace=Pace(poll=0.05))
    running = asyncio.create_task(jobs.run())
    finished = asyncio.create_task(done.wait())
    await asyncio.wait({running, finished}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        running.result()  # says why
    running.cancel()
    await asyncio.wait({running})
    await database.aclose()

asyncio.run(main())
"""


async def test_killed_at_any_step_it_is_done_once(
    database: Database, clock: DatabaseClock, empty_settings: DatabaseSettings
) -> None:
    async def work(job: Job) -> None:
        await database.change(finish, job)

    async def finish(connection: Connection, job: Job) -> None:
        assert await end_job(connection, job)
        await add_change(connection, str(job.image_id), ChangeKind.DATA)

    codes: list[int | None] = []
    for step in range(1, 100):
        image_id = f"image-{step}"
        await database.change(add_job, KIND, image_id=image_id)
        codes.append(await mortal(empty_settings.connection, step))
        # What it left undone another does once its lease is over.
        await clock.move(DAY)
        async with running(Jobs(database, {KIND: work}, "next", pace=QUICK)):
            await until_rows(database, lambda found: not found)
        async with database.read() as connection:
            told = sa.select(sa.func.count()).where(image_changes.c.image_id == image_id)
            assert (await connection.execute(told)).scalar_one() == 1
        assert await rows(database) == []
        if codes[-1] == 0:
            break
    assert len(codes) > 9
    assert set(codes[:-1]) == {9}


async def mortal(url: str, step: int) -> int | None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", MORTAL, url, str(step))
    try:
        async with asyncio.timeout(60):
            return await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


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
