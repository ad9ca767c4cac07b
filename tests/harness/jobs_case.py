"""Instances that do the jobs of a database, and what they are told to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from registry.db.database import Database
from registry.db.tables import jobs
from registry.service.jobs import Handler, Job, Jobs, Pace

DAY = 86400.0
QUICK = Pace(lease=60, renewal=0.01, poll=0.01, retry=2, retry_max=300)
PATIENT = replace(QUICK, renewal=3600)  # no renewal within a test
ENDURING = replace(QUICK, lease=1e6)  # none is lost while the clock is moved
KIND = "work"


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
