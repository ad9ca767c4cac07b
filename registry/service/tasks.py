"""The API of tasks, which Glance deprecates: what goes on behind its answers."""

from __future__ import annotations

from collections.abc import Sequence

from registry.db.database import Connection, Database
from registry.db.images import get_image
from registry.db.tasks import get_task, image_tasks, list_tasks
from registry.domain import access
from registry.domain.errors import NotFoundError
from registry.domain.identity import Identity
from registry.domain.limits import Limits
from registry.domain.task import (
    Document,
    Task,
    image_tasks_document,
    parse_task_query,
    task_document,
    tasks_document,
)
from registry.service.clock import Clock, utc_now


class Tasks:
    """Reads tasks.  Documents are the API's JSON."""

    def __init__(self, database: Database, limits: Limits, clock: Clock = utc_now) -> None:
        self._database = database
        self._limits = limits
        self._clock = clock

    async def show(self, identity: Identity, task_id: str) -> Document:
        """Return one task."""
        access.require_tasks(identity, "get_task")
        task = await self._database.query(get_task, task_id, self._clock())
        if task is None or not _is_visible(identity, task):
            raise NotFoundError(f"No task found with ID {task_id}")
        return task_document(task)

    async def page(self, identity: Identity, parameters: Sequence[tuple[str, str]]) -> Document:
        """Return a page of tasks."""
        access.require_tasks(identity, "get_tasks")
        query = parse_task_query(parameters, self._limits)
        owner = None if identity.is_admin else identity.project_id
        tasks = await self._database.query(list_tasks, query, owner, self._clock())
        return tasks_document(tasks, query)

    async def of_image(self, identity: Identity, image_id: str) -> Document:
        """Return the tasks of an image that the caller may see."""
        return image_tasks_document(await self._database.query(self._of_image, identity, image_id))

    async def _of_image(
        self, connection: Connection, identity: Identity, image_id: str
    ) -> list[Task]:
        access.require_shown(identity, await get_image(connection, image_id), image_id)
        found = await image_tasks(connection, image_id, self._clock())
        return [task for task in found if _is_visible(identity, task)]


def _is_visible(identity: Identity, task: Task) -> bool:
    return identity.is_admin or task.owner is None or task.owner == identity.project_id
