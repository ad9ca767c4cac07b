"""Grants requests to import: the lock, the task and the job in one transaction, or nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

from backends.location import Location
from registry.db.database import Connection, Database
from registry.db.failures import OvertakenError
from registry.db.images import get_image, move_image, save_image
from registry.db.jobs import add_job, drop_jobs, owed_jobs
from registry.db.quotas import release
from registry.db.tasks import add_task, change_task, get_task
from registry.db.uploads import get_upload
from registry.domain import access
from registry.domain.errors import ConflictError, InvalidRequestError
from registry.domain.identity import Identity
from registry.domain.image import Image
from registry.domain.importing import (
    COPY,
    DIRECT,
    GLANCE,
    LOCK,
    WEB,
    ImportRequest,
    begun,
    named_stores,
    parse_import,
    released,
    require_importable,
    without_failures,
)
from registry.domain.quota import Resource
from registry.domain.status import Status
from registry.domain.task import OPEN, Task, TaskKind, TaskStatus
from registry.fetching.filtering import UriFilter
from registry.imports.glances import OtherGlances
from registry.imports.kinds import KINDS, kind_of
from registry.imports.options import ImportSettings
from registry.imports.staging import waiting
from registry.quotas.quotas import Quota, Quotas
from registry.service.clock import Clock, utc_now
from registry.service.discards import require_settled
from registry.service.news import TaskNews
from registry.service.stores import Stores

LOG = logging.getLogger(__name__)

LOCK_AGE = timedelta(minutes=60)  # of a task that says nothing, whose lock may then be taken


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: `token` only where it is needed later, and never printed."""

    identity: Identity
    request_id: str | None
    token: str | None = None

    def __repr__(self) -> str:
        return f"Caller({self.identity}, {self.request_id})"


class Imports:
    """Takes requests to import."""

    def __init__(  # noqa: PLR0913  # what it is made of
        self,
        database: Database,
        stores: Stores,
        settings: ImportSettings,
        uri_filter: UriFilter,
        *,
        glances: OtherGlances,
        news: TaskNews,
        wake: Callable[[], None],
        clock: Clock = utc_now,
        quotas: Quotas | None = None,
    ) -> None:
        self._database = database
        self._stores = stores
        self._settings = settings
        self._filter = uri_filter
        self._glances = glances
        self._news = news
        self._quotas = quotas or Quotas(database)
        self._wake = wake
        self._clock = clock

    @property
    def methods(self) -> tuple[str, ...]:
        """The ways of import that clients may ask for."""
        return self._settings.methods

    async def request(self, caller: Caller, image_id: str, body: Any, header: str | None) -> None:
        """Begin an import."""
        request = parse_import(body, header, self.methods)
        image = await self._database.query(get_image, image_id)
        image = access.require_visible(caller.identity, image, image_id)
        await self._database.query(self._require, caller.identity, image, request)
        if not (request.must_succeed or self._stores.names):
            raise InvalidRequestError(
                "All_stores_must_succeed can only be set with enabled_backends "
                f"{request.arguments.get('uri')}"
            )
        if request.method == WEB:
            await self._require_address(request.arguments.get("uri"))
        quota = await self._quotas.of(caller.identity)
        task_id = str(uuid4())
        if request.method == GLANCE and caller.token is not None:
            self._glances.remember(task_id, caller.identity, caller.token)
        try:
            task, robbed = await self._database.change(
                self._begin, caller, image_id, request, task_id, quota=quota
            )
        except BaseException:
            self._glances.forget(task_id)
            raise
        if task is None:
            self._glances.forget(task_id)
            return
        LOG.info("image %s is to be imported by task %s", image_id, task_id)
        if robbed is not None:
            await self._news.ended(robbed.id)
        self._news.created(task)
        self._wake()

    async def _require_address(self, uri: Any) -> None:
        try:
            await self._filter.addresses(uri if isinstance(uri, str) else "")
        except InvalidRequestError:
            raise InvalidRequestError(
                f"URI for web-download does not pass filtering: {uri}"
            ) from None

    async def _require(
        self, connection: Connection, identity: Identity, image: Image, request: ImportRequest
    ) -> tuple[tuple[str | None, ...], Task | None]:
        """Refuse what cannot be; return the stores, none if there is nothing to do, and a stale task."""
        require_importable(image, request)
        if request.method == COPY:
            access.require_copying(identity, image)
        else:
            access.require_change(identity, image)
        stale = None
        if LOCK in image.properties:
            stale = await self._stale(connection, image)
        return self._wanted(image, request), stale

    async def _stale(self, connection: Connection, image: Image) -> Task | None:
        """Return the task that holds the image and has died, None if it is not even known."""
        now = self._clock()
        task = await get_task(connection, str(image.properties[LOCK]), now)
        if task is None:
            return None
        age = LOCK_AGE * 2 if task.status is TaskStatus.PENDING else LOCK_AGE
        if now - task.updated_at < age:
            raise ConflictError("Image has active task")
        return task

    def _wanted(self, image: Image, request: ImportRequest) -> tuple[str | None, ...]:
        names = self._stores.names
        if not names:
            return (None,)
        named = named_stores(request)
        wanted = self._stores.writable_names if named is None else named
        default = self._stores.settings.default
        stores = tuple(default if name is None else name for name in wanted)
        for name in stores:
            if name not in names:
                raise ConflictError(f"Store for identifier {name} not found")
        if request.method != COPY:
            return stores
        there = {self._stores.name_of(place) for place in image.locations}
        if named is None:
            return tuple(name for name in stores if name not in there)
        for name in stores:
            if name in there:
                raise InvalidRequestError(f"Image is already present at store '{name}'")
        return stores

    async def _begin(  # noqa: PLR0913  # what is to be done, by name
        self,
        connection: Connection,
        caller: Caller,
        image_id: str,
        request: ImportRequest,
        task_id: str,
        *,
        quota: Quota,
    ) -> tuple[Task | None, Task | None]:
        """Lock the image, and owe the import.

        Return its task, None if there is nothing to do, and that whose lock was taken.
        """
        identity, now = caller.identity, self._clock()
        await quota.admit_bytes(connection, Resource.SIZE, 0)
        image = access.require_visible(
            identity, await get_image(connection, image_id, for_update=True), image_id
        )
        stores, stale = await self._require(connection, identity, image, request)
        if not stores:
            return None, None
        if await get_upload(connection, image_id) is not None:
            raise ConflictError(f"Image {image_id}: what an upload left is being taken away.")
        default = self._stores.settings.default
        names = [default if name is None else name for name in stores]
        await require_settled(connection, self._stores, image_id, names)
        written: list[str] = []
        if LOCK in image.properties:
            written = await _written(connection, image_id)
            image = await self._robbed(connection, image, stale)
        host = await self._host(connection, image, request)
        arguments = {
            "task": task_id,
            "method": {**request.arguments},
            "stores": list(stores),
            "must_succeed": request.must_succeed,
            "project": identity.project_id,
            "user": identity.user_id,
            "roles": sorted(identity.roles),
            "begun": written,
        }
        await save_image(connection, replace(begun(image, task_id, stores), updated_at=now))
        if request.method != COPY and not await move_image(
            connection, image_id, image.status, Status.IMPORTING, now
        ):
            raise OvertakenError(f"Image {image_id} is being changed by others.")
        size = image.size or 0
        if request.method == DIRECT:
            await quota.reserve(connection, image_id, Resource.SIZE, size * len(stores))
        else:
            await quota.admit_bytes(connection, Resource.STAGE, size)
            await quota.admit_upload(connection)
        told = {"image_id": image_id, "import_req": _shown(request), "backend": list(stores)}
        task = Task(
            id=task_id,
            type=TaskKind.API_IMAGE_IMPORT,
            created_at=now,
            updated_at=now,
            owner=identity.project_id,
            input=told,
            image_id=image_id,
            user_id=identity.user_id,
            request_id=caller.request_id,
        )
        await add_task(connection, task)
        kind = kind_of(request.method)
        await add_job(connection, kind, image_id=image_id, arguments=arguments, host=host)
        return task, stale

    async def _robbed(self, connection: Connection, image: Image, stale: Task | None) -> Image:
        """Take the lock of a task that has died."""
        for kind in KINDS:
            await drop_jobs(connection, kind, image.id)
        await release(connection, image.id, Resource.SIZE)
        image = released(image)
        if stale is None:
            return image
        LOG.warning("image %s: the lock of task %s has expired", image.id, stale.id)
        now = self._clock()
        ends = now + timedelta(hours=self._settings.task_hours)
        told = {"message": "Expired lock preempted", "expires_at": ends}
        await change_task(connection, stale.id, OPEN, TaskStatus.FAILURE, now, **told)
        return without_failures(image, (stale.input or {}).get("backend", ()))

    async def _host(
        self, connection: Connection, image: Image, request: ImportRequest
    ) -> str | None:
        """Return who alone can do it: who has the data, or the caller's token."""
        if request.method == GLANCE:
            return self._settings.host
        if request.method != DIRECT:
            return None
        owed = await waiting(connection, image.id)
        if owed is None:
            raise ConflictError(
                "Image needs to be staged before 'glance-direct' method can be used"
            )
        return owed.host


async def _written(connection: Connection, image_id: str) -> list[str]:
    """Return the stores where imports of an image may have left something."""
    owed = [each for kind in KINDS for each in await owed_jobs(connection, kind, image_id)]
    return sorted({store for each in owed for store in each.arguments.get("begun", ())})


def _shown(request: ImportRequest) -> dict[str, Any]:
    """Return the client's words for its whole project: without a URI's password and query."""
    uri = request.arguments.get("uri")
    if not isinstance(uri, str):
        return dict(request.body)
    return {**request.body, "method": {**request.arguments, "uri": Location(uri).redacted}}
