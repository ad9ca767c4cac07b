"""Makes images of what is on the web: the one thing that clients may ask of the tasks' own API.

The task, the image and its import begin in one transaction.  What is wrong with the address is
refused at once; what is wrong with the image is told by the task, which has failed, as in Glance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from backends.location import Location
from registry.db.database import Connection, Database
from registry.db.images import add_image, move_image
from registry.db.jobs import add_job
from registry.db.tasks import add_task
from registry.domain import access
from registry.domain.drafts import draft_image
from registry.domain.errors import InvalidRequestError, RegistryError
from registry.domain.image import Image
from registry.domain.importing import WEB, begun
from registry.domain.limits import Limits
from registry.domain.notices import SILENT, Notifier, image_notice
from registry.domain.status import Status
from registry.domain.task import Document, Task, TaskKind, TaskStatus, task_document
from registry.domain.validation import ImageValidator
from registry.fetching.filtering import UriFilter
from registry.imports.kinds import kind_of
from registry.imports.requests import Caller
from registry.service.clock import Clock, utc_now
from registry.service.news import TaskNews

_INPUT = ("import_from", "import_from_format", "image_properties")


class TaskRequests:
    """Takes requests for tasks."""

    def __init__(  # noqa: PLR0913  # what it is made of
        self,
        database: Database,
        uri_filter: UriFilter,
        validator: ImageValidator,
        limits: Limits,
        *,
        news: TaskNews,
        task_hours: int,
        wake: Callable[[], None],
        notifier: Notifier = SILENT,
        clock: Clock = utc_now,
    ) -> None:
        self._database = database
        self._filter = uri_filter
        self._validator = validator
        self._limits = limits
        self._news = news
        self._task_life = timedelta(hours=task_hours)
        self._wake = wake
        self._notifier = notifier
        self._clock = clock

    async def create(self, caller: Caller, body: Any) -> Document:
        """Begin a task."""
        access.require_tasks(caller.identity, "add_task")
        told = _read(body)
        uri = await self._address(told.get("import_from"))
        now = self._clock()
        task = Task(
            id=str(uuid4()),
            type=TaskKind.IMPORT,
            created_at=now,
            updated_at=now,
            owner=caller.identity.project_id,
            input=told | {"import_from": Location(uri).redacted},  # its project may read it
            user_id=caller.identity.user_id,
            request_id=caller.request_id,
        )
        try:
            image = self._drafted(caller, task)
        except RegistryError as error:
            ends = now + self._task_life
            failed = replace(
                task, status=TaskStatus.FAILURE, message=f"Error: {error}", expires_at=ends
            )
            await self._database.change(add_task, failed)
            self._news.refused(task, failed)
        else:
            await self._database.change(self._begin, caller, task, image, uri)
            self._news.created(task)
            self._notifier.emit("image.create", image_notice(image))
            self._wake()
        return task_document(task)

    async def _address(self, uri: Any) -> str:
        """Return where the data is; refuse what may not be asked."""
        text = uri if isinstance(uri, str) else ""
        scheme = urlsplit(text).scheme
        if not text:
            raise InvalidRequestError(f"Invalid location: {uri}")
        if scheme in {"file", "filesystem"}:
            raise InvalidRequestError(
                "File based imports are not allowed. Please use a non-local source of image data."
            )
        if scheme not in {"http", "https"}:
            raise InvalidRequestError(
                "The given uri is not valid. Please specify a valid uri from the following list "
                "of supported uri ['http']"
            )
        try:
            await self._filter.addresses(text)
        except InvalidRequestError:
            raise InvalidRequestError(
                f"URI for legacy import task does not pass filtering: {text}"
            ) from None
        return text

    def _drafted(self, caller: Caller, task: Task) -> Image:
        told = task.input or {}
        for name in _INPUT:
            if name not in told:
                raise InvalidRequestError(f"Input does not contain '{name}' field")
        described = told["image_properties"]
        blank = Image(id=str(uuid4()), created_at=task.created_at, updated_at=task.created_at)
        image = draft_image(blank, described, caller.identity, self._validator, self._limits)
        if not (image.disk_format and image.container_format):
            raise InvalidRequestError(
                "Properties disk_format, container_format must be set prior to saving data."
            )
        return image

    async def _begin(
        self, connection: Connection, caller: Caller, task: Task, image: Image, uri: str
    ) -> None:
        await add_image(connection, begun(image, task.id, [None]))
        await move_image(connection, image.id, Status.QUEUED, Status.IMPORTING, self._clock())
        await add_task(connection, task)
        identity = caller.identity
        arguments = {
            "task": task.id,
            "method": {"name": WEB, "uri": uri},
            "stores": [None],
            "must_succeed": True,
            "project": identity.project_id,
            "user": identity.user_id,
            "roles": sorted(identity.roles),
        }
        await add_job(connection, kind_of(WEB), image_id=image.id, arguments=arguments)


def _read(body: Any) -> dict[str, Any]:
    """Return the input of the task that a request describes."""
    if not isinstance(body, dict):
        raise InvalidRequestError("A task is described by a JSON object.")
    for name in ("type", "input"):
        if name not in body:
            raise InvalidRequestError(f"Task '{name}' is required")
    if body["type"] != TaskKind.IMPORT:
        raise InvalidRequestError(
            f"Provided object does not match schema 'task': '{body['type']}' is not 'import'"
        )
    if body["input"] is not None and not isinstance(body["input"], dict):
        raise InvalidRequestError(
            "Provided object does not match schema 'task': input is no object"
        )
    return dict(body["input"] or {})
