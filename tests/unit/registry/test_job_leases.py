"""Who holds a job: nobody takes it from the living, and somebody does from the dead."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace

import pytest
import sqlalchemy as sa

from harness.database_clock import DatabaseClock, mislead
from harness.jobs_case import (
    DAY,
    KIND,
    PATIENT,
    QUICK,
    Gate,
    Hands,
    instance,
    rows,
    running,
    the_row,
    until_rows,
)
from harness.waiting import until_async
from registry.db.changes import add_change
from registry.db.clock import moment_in
from registry.db.database import Connection, Database
from registry.db.jobs import (
    add_job,
    claim_job,
    due_jobs,
    end_job,
    renew_job,
)
from registry.db.options import DatabaseSettings
from registry.db.tables import image_changes, jobs
from registry.domain.changes import ChangeKind
from registry.domain.errors import UnavailableError
from registry.service import jobs as service
from registry.service.jobs import Job, Jobs, Pace

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


@pytest.fixture
def clock(database: Database) -> DatabaseClock:
    return DatabaseClock(database, jobs.c.due_at, jobs.c.given_up_at)


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
