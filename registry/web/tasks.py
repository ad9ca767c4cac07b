"""The API of tasks: `/v2/tasks` and `/v2/images/{id}/tasks`."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import hdrs, web

from registry.domain import access
from registry.imports.requests import Caller
from registry.imports.tasks import TaskRequests
from registry.service.tasks import Tasks
from registry.web.bodies import json_response, read_json, refuse_body
from registry.web.errors import error_response
from registry.web.identity import IDENTITY
from registry.web.query import parameters
from registry.web.request_id import REQUEST_ID


class TaskHandlers:
    """Tasks."""

    def __init__(self, tasks: Tasks, requests: TaskRequests) -> None:
        self._tasks = tasks
        self._requests = requests

    async def create(self, request: web.Request) -> web.Response:
        """POST /v2/tasks: 201; what comes of it, the task tells."""
        access.require_tasks(request[IDENTITY], "add_task")  # whatever the body is
        caller = Caller(request[IDENTITY], request[REQUEST_ID])
        document = await self._requests.create(caller, await read_json(request))
        return json_response(
            document, status=HTTPStatus.CREATED, headers={hdrs.LOCATION: document["self"]}
        )

    async def page(self, request: web.Request) -> web.Response:
        """GET /v2/tasks."""
        return json_response(await self._tasks.page(request[IDENTITY], parameters(request)))

    async def show(self, request: web.Request) -> web.Response:
        """GET /v2/tasks/{id}."""
        refuse_body(request)
        task_id = request.match_info["task_id"]
        return json_response(await self._tasks.show(request[IDENTITY], task_id))

    async def of_image(self, request: web.Request) -> web.Response:
        """GET /v2/images/{id}/tasks."""
        refuse_body(request)
        image_id = request.match_info["image_id"]
        return json_response(await self._tasks.of_image(request[IDENTITY], image_id))

    async def remove(self, request: web.Request) -> web.Response:
        """DELETE /v2/tasks/{id}: 405, to whom the rules let use the API; tasks go by themselves."""
        access.require_tasks(request[IDENTITY], "get_task")
        return error_response(
            request,
            HTTPStatus.METHOD_NOT_ALLOWED,
            "This operation is currently not permitted on Glance Tasks. They are auto deleted "
            "after reaching the time based on their expires_at property.",
            {hdrs.ALLOW: "GET"},
        )
