"""Tasks: what clients see of work that goes on behind an answer, as Glance's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeAlias
from urllib.parse import urlencode
from uuid import UUID

from registry.domain.errors import InvalidRequestError
from registry.domain.limits import Limits

Document: TypeAlias = dict[str, Any]

TASK_PATH = "/v2/schemas/task"
TASKS_PATH = "/v2/schemas/tasks"
SORT_KEYS = frozenset(
    {"id", "type", "status", "owner", "created_at", "updated_at", "expires_at", "image_id"}
)
FILTERS = frozenset({"status", "type", "owner", "image_id", "request_id", "user_id"})


class TaskStatus(StrEnum):
    """Where a task is."""

    PENDING = "pending"
    PROCESSING = "processing"
    SUCCESS = "success"
    FAILURE = "failure"


OPEN = (TaskStatus.PENDING, TaskStatus.PROCESSING)


class TaskKind(StrEnum):
    """What a task does."""

    IMPORT = "import"  # makes an image of what is on the web: the tasks' own API
    API_IMAGE_IMPORT = "api_image_import"
    LOCATION_IMPORT = "location_import"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task.  Times are UTC, without a zone; `expires_at` once it has ended."""

    id: str
    type: TaskKind
    created_at: datetime
    updated_at: datetime
    status: TaskStatus = TaskStatus.PENDING
    owner: str | None = None
    input: Mapping[str, Any] | None = field(default=None, repr=False)  # its project may read it
    result: Mapping[str, Any] | None = None
    message: str = ""
    image_id: str | None = None
    user_id: str | None = None
    request_id: str | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class TaskQuery:
    """A page of tasks; `parameters` are those of its link."""

    limit: int
    marker: str | None
    sort_key: str
    descending: bool
    filters: Mapping[str, str]
    parameters: tuple[tuple[str, str], ...]


def parse_task_query(parameters: Sequence[tuple[str, str]], limits: Limits) -> TaskQuery:
    """Read the query string of a list of tasks, as Glance does."""
    given = dict(parameters)
    rest = {name: value for name, value in given.items() if name not in _PAGING}
    direction = given.get("sort_dir", "desc")
    if direction not in {"asc", "desc"}:
        raise InvalidRequestError(f"Invalid sort direction: {direction}")
    if rest.get("status") and rest["status"] not in set(TaskStatus):
        raise InvalidRequestError(f"Invalid status value: {rest['status']}")
    if rest.get("type") and rest["type"] != TaskKind.IMPORT:
        raise InvalidRequestError(f"Invalid type value: {rest['type']}")
    marker = given.get("marker")
    if marker and not _is_uuid(marker):
        raise InvalidRequestError("Invalid marker format")
    sort_key = given.get("sort_key", "created_at")
    if sort_key not in SORT_KEYS:
        raise InvalidRequestError(f"Sort key supplied is invalid: {sort_key}")
    return TaskQuery(
        limit=min(_limit(given.get("limit"), limits.limit_param_default), limits.api_limit_max),
        marker=marker or None,
        sort_key=sort_key,
        descending=direction == "desc",
        filters={name: value for name, value in rest.items() if name in FILTERS},
        parameters=tuple((name, value) for name, value in parameters if name != "marker"),
    )


_PAGING = frozenset({"limit", "marker", "sort_key", "sort_dir"})


def _limit(text: str | None, default: int) -> int:
    if text is None:
        return default
    try:
        limit = int(text)
    except ValueError:
        raise InvalidRequestError("limit param must be an integer") from None
    if limit < 0:
        raise InvalidRequestError("limit param must be positive")
    return limit


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def task_document(task: Task) -> Document:
    """Return one task as the API shows it."""
    document = _summary(task) | {
        "input": task.input,
        "result": task.result,
        "message": task.message,
    }
    for name in ("image_id", "request_id", "user_id"):
        if value := getattr(task, name):
            document[name] = value
    return document


def tasks_document(tasks: Sequence[Task], query: TaskQuery) -> Document:
    """Return a page of tasks, with the link to the next one if there may be more."""
    document: Document = {
        "tasks": [_summary(task) for task in tasks],
        "first": _link(query.parameters),
        "schema": TASKS_PATH,
    }
    if tasks and len(tasks) == query.limit:
        document["next"] = _link((*query.parameters, ("marker", tasks[-1].id)))
    return document


def image_tasks_document(tasks: Sequence[Task]) -> Document:
    """Return the tasks of an image, which Glance tells as its database has them."""
    return {
        "tasks": [
            {
                "id": task.id,
                "type": task.type,
                "status": task.status,
                "owner": task.owner,
                "expires_at": _moment(task.expires_at),
                "created_at": _moment(task.created_at),
                "updated_at": _moment(task.updated_at),
                "deleted_at": None,
                "deleted": False,
                "image_id": task.image_id,
                "request_id": task.request_id,
                "user_id": task.user_id,
                "input": task.input,
                "result": task.result,
                "message": task.message,
            }
            for task in tasks
        ]
    }


def _summary(task: Task) -> Document:
    document: Document = {
        "id": task.id,
        "type": task.type,
        "status": task.status,
        "owner": task.owner,
        "created_at": _time(task.created_at),
        "updated_at": _time(task.updated_at),
        "self": f"/v2/tasks/{task.id}",
        "schema": TASK_PATH,
    }
    if task.expires_at is not None:
        document["expires_at"] = _time(task.expires_at)
    return document


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _link(parameters: Sequence[tuple[str, str]]) -> str:
    return f"/v2/tasks?{urlencode(parameters)}" if parameters else "/v2/tasks"
