"""Rows of tasks.  Every function runs in its caller's transaction.  One that has expired is not seen."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from registry.db.database import Connection
from registry.db.tables import tasks
from registry.domain.errors import InvalidRequestError
from registry.domain.task import Task, TaskKind, TaskQuery, TaskStatus


async def add_task(connection: Connection, task: Task) -> None:
    """Insert a task."""
    row = {column.name: getattr(task, column.name) for column in tasks.columns}
    for name in ("input", "result"):
        row[name] = None if row[name] is None else dict(row[name])
    await connection.execute(tasks.insert().values(row))


async def get_task(connection: Connection, task_id: str, now: datetime) -> Task | None:
    """Return a task."""
    question = sa.select(tasks).where(tasks.c.id == task_id, _lives(now))
    row = (await connection.execute(question)).one_or_none()
    return None if row is None else _task(row)


async def list_tasks(
    connection: Connection, query: TaskQuery, owner: str | None, now: datetime
) -> list[Task]:
    """Return a page of tasks, those of one owner where that is given."""
    question = sa.select(tasks).where(_lives(now))
    if owner is not None:
        question = question.where(tasks.c.owner == owner)
    for name, value in query.filters.items():
        question = question.where(tasks.c[name] == value)
    keys = [tasks.c[name] for name in dict.fromkeys((query.sort_key, "created_at", "id"))]
    if query.marker is not None:
        marker = await get_task(connection, query.marker, now)
        if marker is None:
            raise InvalidRequestError(f"No task found with ID {query.marker}")
        question = question.where(_behind(keys, marker, descending=query.descending))
    ordered = [key.desc() if query.descending else key.asc() for key in keys]
    rows = await connection.execute(question.order_by(*ordered).limit(query.limit))
    return [_task(row) for row in rows]


async def image_tasks(connection: Connection, image_id: str, now: datetime) -> list[Task]:
    """Return the tasks of an image, the oldest first."""
    question = sa.select(tasks).where(tasks.c.image_id == image_id, _lives(now))
    rows = await connection.execute(question.order_by(tasks.c.created_at, tasks.c.id))
    return [_task(row) for row in rows]


async def change_task(
    connection: Connection,
    task_id: str,
    now: Sequence[TaskStatus],
    then: TaskStatus,
    moment: datetime,
    **values: Any,
) -> bool:
    """Change a task that is in one of some statuses; False if it is not."""
    answer = await connection.execute(
        tasks.update()
        .where(tasks.c.id == task_id, tasks.c.status.in_(now))
        .values(status=then, updated_at=moment, **values)
    )
    return bool(answer.rowcount == 1)


async def forget_tasks(connection: Connection, before: datetime) -> int:
    """Forget the tasks that had expired by a moment; say how many."""
    answer = await connection.execute(tasks.delete().where(tasks.c.expires_at < before))
    return int(answer.rowcount)


def _lives(now: datetime) -> sa.ColumnElement[bool]:
    return sa.or_(tasks.c.expires_at.is_(None), tasks.c.expires_at >= now)


def _behind(
    keys: Sequence[sa.Column[Any]], marker: Task, *, descending: bool
) -> sa.ColumnElement[bool]:
    """Say what comes behind a task in the order of these keys; one that has no value comes last."""
    either: list[sa.ColumnElement[bool]] = []
    for number, key in enumerate(keys):
        value = getattr(marker, key.name)
        if value is None:
            continue
        same = [other == getattr(marker, other.name) for other in keys[:number]]
        either.append(sa.and_(*same, key < value if descending else key > value))
    return sa.or_(*either)


def _task(row: sa.Row[Any]) -> Task:
    values: dict[str, Any] = dict(row._mapping)  # noqa: SLF001  # SQLAlchemy's documented way to a row's names
    told = {"type": TaskKind(row.type), "status": TaskStatus(row.status)}
    return Task(**(values | told))
