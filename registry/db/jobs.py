"""Rows of durable jobs.  Every function runs in its caller's transaction.

A job is held by a lease: its row says until when nobody else may claim it, and counts the claims.
Whoever claims, renews or ends one does so under the condition that the count is still the one that
was read, in one statement: no lock is needed, and whoever has lost a job cannot touch it any more.
Each of these writes something that differs from what was there: Galera's nodes tell one another of
nothing else.  Times are those of the database's clock.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from registry.db.clock import moment_in
from registry.db.database import Connection
from registry.db.failures import OvertakenError
from registry.db.tables import jobs
from registry.domain.job import Backlog, Job, Owed

_NOW = moment_in(0)
_DAY = 86400.0  # seconds


async def add_job(  # noqa: PLR0913  # what a job is, by name
    connection: Connection,
    kind: str,
    *,
    image_id: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    host: str | None = None,
    after: float = 0.0,
) -> str:
    """Owe a job from the end of this transaction on, due after so many seconds, and return its id.

    `host` is the only one that can do it, where that matters.  The arguments are JSON.
    """
    job_id = f"{time.time_ns():016x}-{secrets.token_hex(8)}"
    await connection.execute(
        jobs.insert().values(
            id=job_id,
            kind=kind,
            image_id=image_id,
            arguments=dict(arguments or {}),
            host=host,
            due_at=moment_in(after),
            claims=0,
            attempts=0,
        )
    )
    return job_id


async def add_recurring_job(connection: Connection, kind: str, seconds: float) -> None:
    """See that there is the one job of a kind that is done again and again, due in `seconds` or less.

    One that somebody holds stays his until it is done.
    """
    due_at = moment_in(seconds)
    waits_longer = (jobs.c.id == kind, jobs.c.due_at > due_at, *_UNTOUCHED)
    answer = await connection.execute(jobs.update().where(*waits_longer).values(due_at=due_at))
    known = sa.select(jobs.c.id).where(jobs.c.id == kind)
    if answer.rowcount or (await connection.execute(known)).first() is not None:
        return
    row = {"id": kind, "kind": kind, "arguments": {}, "claims": 0, "attempts": 0}
    try:
        await connection.execute(jobs.insert().values(**row, due_at=due_at))
    except IntegrityError:
        raise OvertakenError("Another instance begins at the same time.") from None


async def due_jobs(connection: Connection, room: Mapping[str, int], host: str) -> list[Job]:
    """Return jobs that may be claimed, as they would be claimed, so many of each kind at most.

    Those that have been due the longest come first; many of one kind hide none of another.
    """
    questions = [
        sa.select(jobs)
        .where(
            jobs.c.kind == kind,
            jobs.c.due_at <= _NOW,
            sa.or_(jobs.c.host.is_(None), jobs.c.host == host),
        )
        .order_by(jobs.c.due_at, jobs.c.id)
        .limit(most)
        .subquery()
        for kind, most in room.items()
    ]
    return [
        Job(row.id, row.kind, row.image_id, row.arguments, row.attempts + 1, row.claims + 1)
        for row in await connection.execute(sa.union_all(*map(sa.select, questions)))
    ]


async def claim_job(connection: Connection, job: Job, seconds: float) -> Job | None:
    """Claim one of `due_jobs` with a lease of so many seconds; None if somebody else did."""
    answer = await connection.execute(
        jobs.update()
        .where(jobs.c.id == job.id, jobs.c.claims == job.claims - 1, jobs.c.due_at <= _NOW)
        .values(claims=job.claims, attempts=job.attempts, due_at=moment_in(seconds))
    )
    return replace(job, lease=seconds) if answer.rowcount == 1 else None


async def renew_job(connection: Connection, job: Job) -> bool:
    """Hold a job for another lease, beside whatever else this transaction does; False if it is lost."""
    return await _change(connection, job, due_at=moment_in(job.lease))


async def tell_job(connection: Connection, job: Job, arguments: Mapping[str, Any]) -> bool:
    """Change what whoever claims a job next is told; False if it is lost."""
    return await _change(connection, job, arguments=dict(arguments))


async def end_job(connection: Connection, job: Job) -> bool:
    """Forget a job that is done; False if it is lost.

    In the transaction that writes what a job came to, this makes it happen once.
    """
    answer = await connection.execute(jobs.delete().where(*_held(job)))
    return bool(answer.rowcount == 1)


async def postpone_job(
    connection: Connection, job: Job, seconds: float, *, attempts: int, reason: str | None = None
) -> bool:
    """Let anybody claim a job in so many seconds, as one that had so many attempts.

    False if it is lost.  Without a reason it keeps that of the last failure.
    """
    values: dict[str, Any] = {} if reason is None else {"reason": reason}
    return await _change(connection, job, due_at=moment_in(seconds), attempts=attempts, **values)


async def give_up_job(
    connection: Connection, job: Job, reason: str | None, otherwise: str = ""
) -> bool:
    """Keep a job that nobody will try again, and why; False if it is lost.

    What it was told goes: nobody asks for it any more, and a URI may hold a password.
    Without a reason that of the last failure counts; `otherwise` where there was none.
    """
    why = sa.func.coalesce(jobs.c.reason, otherwise) if reason is None else reason
    return await _change(connection, job, due_at=None, given_up_at=_NOW, reason=why, arguments={})


async def forget_jobs(connection: Connection, days: float) -> int:
    """Forget jobs that were given up more than so many days ago; say how many."""
    long_ago = jobs.c.given_up_at < moment_in(-days * _DAY)
    answer = await connection.execute(jobs.delete().where(long_ago))
    return int(answer.rowcount)


async def backlogs(connection: Connection, kinds: Collection[str]) -> list[Backlog]:
    """Return what there is of jobs of each kind that are due, or were given up."""
    counted = (sa.func.count(), sa.func.min(jobs.c.due_at), _NOW)
    questions = [
        sa.select(sa.literal(kind), *counted).where(jobs.c.kind == kind, which)
        for kind in kinds
        for which in (jobs.c.due_at <= _NOW, jobs.c.due_at.is_(None))
    ]
    rows = (await connection.execute(sa.union_all(*questions))).all()
    return [
        Backlog(kind, due, (now - first).total_seconds() if first else 0.0, given_up)
        for (kind, due, first, now), (_, given_up, *_) in zip(rows[::2], rows[1::2], strict=True)
    ]


async def is_owed(connection: Connection, kind: str, image_id: str) -> bool:
    """Tell whether there is a job of a kind for an image that somebody does or will do."""
    question = sa.select(jobs.c.id).where(
        jobs.c.image_id == image_id, jobs.c.kind == kind, jobs.c.due_at.is_not(None)
    )
    return (await connection.execute(question.limit(1))).first() is not None


async def owed_jobs(connection: Connection, kind: str, image_id: str) -> list[Owed]:
    """Return the jobs of a kind for an image that somebody does or will do, the oldest first."""
    question = sa.select(jobs.c.id, jobs.c.arguments, jobs.c.host).where(
        jobs.c.image_id == image_id, jobs.c.kind == kind, jobs.c.due_at.is_not(None)
    )
    return [Owed(*row) for row in await connection.execute(question.order_by(jobs.c.id))]


async def all_owed(connection: Connection, kind: str) -> list[tuple[str, Owed]]:
    """Return the jobs of a kind that somebody does or will do, with the images that they are of."""
    question = sa.select(jobs.c.image_id, jobs.c.id, jobs.c.arguments, jobs.c.host).where(
        jobs.c.kind == kind, jobs.c.due_at.is_not(None), jobs.c.image_id.is_not(None)
    )
    return [(image_id, Owed(*row)) for image_id, *row in await connection.execute(question)]


async def reschedule_job(
    connection: Connection,
    job_id: str,
    seconds: float,
    arguments: Mapping[str, Any] | None = None,
) -> bool:
    """Let a job that nobody has begun be due in so many seconds from now; False if somebody has.

    What it is told then is changed in any case, but known only to whoever begins it after that.
    """
    if arguments is not None:
        await connection.execute(
            jobs.update().where(jobs.c.id == job_id).values(arguments=dict(arguments))
        )
    answer = await connection.execute(
        jobs.update().where(jobs.c.id == job_id, *_UNTOUCHED).values(due_at=moment_in(seconds))
    )
    return bool(answer.rowcount == 1)


async def hurry_jobs(connection: Connection, image_id: str) -> None:
    """Let what is owed for an image, and nobody has begun, be due at once."""
    await connection.execute(
        jobs.update().where(jobs.c.image_id == image_id, *_UNTOUCHED).values(due_at=_NOW)
    )


async def drop_jobs(connection: Connection, kind: str, image_id: str) -> None:
    """Forget the jobs of a kind for an image; whoever does one loses it."""
    await connection.execute(jobs.delete().where(jobs.c.image_id == image_id, jobs.c.kind == kind))


_UNTOUCHED = (jobs.c.attempts == 0, jobs.c.due_at.is_not(None))


async def _change(connection: Connection, job: Job, **values: Any) -> bool:
    answer = await connection.execute(jobs.update().where(*_held(job)).values(**values))
    return bool(answer.rowcount == 1)


def _held(job: Job) -> tuple[sa.ColumnElement[bool], ...]:
    return jobs.c.id == job.id, jobs.c.claims == job.claims
