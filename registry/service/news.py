"""Tells others how tasks go, behind the transactions that made it so."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Literal, TypeAlias

from registry.db.database import Database
from registry.db.tasks import get_task
from registry.domain.errors import UnavailableError
from registry.domain.notices import SILENT, Notifier, task_notice
from registry.domain.task import Task, TaskStatus
from registry.service.clock import Clock, utc_now

LOG = logging.getLogger(__name__)

TaskEvent: TypeAlias = Literal["create", "processing", "success", "failure", "run"]
_ENDS: dict[TaskStatus, TaskEvent] = {
    TaskStatus.SUCCESS: "success",
    TaskStatus.FAILURE: "failure",
}


class TaskNews:
    """Tells of tasks where anybody listens; who does not hear of one holds nobody up."""

    def __init__(
        self, database: Database, notifier: Notifier = SILENT, clock: Clock = utc_now
    ) -> None:
        self._database = database
        self._notifier = notifier
        self._clock = clock

    def created(self, task: Task) -> None:
        """Tell of a new task."""
        self._emit("create", task)

    def refused(self, task: Task, failed: Task) -> None:
        """Tell of a new task that came to nothing at once, in Glance's steps."""
        self._emit("create", task)
        self._emit("processing", replace(task, status=TaskStatus.PROCESSING))
        self._emit("failure", failed)

    async def begun(self, task_id: str) -> None:
        """Tell that a task is being done."""
        task = await self._find(task_id)
        if task is not None:
            self._emit("processing", task)

    async def ended(self, task_id: str) -> None:
        """Tell how a task has ended; of one that came to something, as Glance, also as it was made."""
        task = await self._find(task_id)
        if task is None or task.status not in _ENDS:
            return
        self._emit(_ENDS[task.status], task)
        if task.status is TaskStatus.FAILURE:
            return
        as_made = replace(
            task, status=TaskStatus.PENDING, updated_at=task.created_at, expires_at=None
        )
        self._emit("run", as_made)

    async def _find(self, task_id: str) -> Task | None:
        if self._notifier is SILENT:
            return None
        try:
            return await self._database.query(get_task, task_id, self._clock())
        except UnavailableError as error:
            LOG.warning("nobody is told of task %s: %s", task_id, error)
            return None

    def _emit(self, event: TaskEvent, task: Task) -> None:
        self._notifier.emit(f"task.{event}", task_notice(task, self._clock()))
