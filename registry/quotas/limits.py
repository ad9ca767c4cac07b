"""Keystone's unified limits, as oslo.limit reads them: a project's own, else those registered.

Who asks at the same time about the same project waits for the same answer, which is good for a
second: of many uploads each second one asks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias
from urllib.parse import quote, urlencode

from registry.domain.errors import UnavailableError
from registry.domain.quota import Resource
from registry.quotas.options import EndpointSettings

GOOD_SECONDS = 1.0  # how long limits are believed
ENDPOINT_SECONDS = 300.0  # how long it is believed which endpoint is ours
PROJECTS_MAX = 1000  # remembered

Get: TypeAlias = Callable[[str], Awaitable[Any]]  # a document of Keystone's by its path, or None
Limits: TypeAlias = dict[Resource, int]


class KeystoneLimits:
    """Reads limits; belongs to one loop.  `get` raises `UnavailableError` if Keystone is away."""

    def __init__(
        self,
        get: Get,
        settings: EndpointSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._get = get
        self._settings = settings
        self._clock = clock
        self._scope: tuple[dict[str, str], float] | None = None
        self._known: dict[str | None, tuple[Limits, float]] = {}
        self._asking: dict[str | None, asyncio.Task[Limits]] = {}

    async def limits(self, project_id: str | None) -> Limits:
        """Return a project's limits, -1 for none; what is not there is not to be had."""
        limits, until = self._known.get(project_id, ({}, 0.0))
        if self._clock() < until:
            return limits
        task = self._asking.get(project_id)
        if task is None:
            task = asyncio.create_task(self._ask(project_id), name="ask about limits")
            self._asking[project_id] = task
            task.add_done_callback(_looked_at)
        return await asyncio.shield(task)

    async def aclose(self) -> None:
        """Give up what is being asked."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, project_id: str | None) -> Limits:
        try:
            asked_at = self._clock()
            scope = await self._found_scope()
            found: dict[str, int] = {}
            for each in await self._list("registered_limits", scope):
                found[each["resource_name"]] = each["default_limit"]
            own: dict[str, int] = {}
            if project_id is not None:
                for each in await self._list("limits", {**scope, "project_id": project_id}):
                    own.setdefault(each["resource_name"], each["resource_limit"])
            limits = {
                resource: int((found | own)[resource])
                for resource in Resource
                if resource in found or resource in own
            }
        except (KeyError, TypeError, ValueError):
            raise UnavailableError("Keystone's answer about limits cannot be read.") from None
        finally:
            del self._asking[project_id]
        if len(self._known) >= PROJECTS_MAX:
            self._known.clear()
        self._known[project_id] = (limits, asked_at + GOOD_SECONDS)
        return limits

    async def _found_scope(self) -> dict[str, str]:
        """Return what limits are registered for: our service, and our region if we have one."""
        if self._scope is None or self._clock() >= self._scope[1]:
            endpoint = await self._endpoint()
            scope = {"service_id": endpoint["service_id"], "region_id": endpoint.get("region_id")}
            known = {name: value for name, value in scope.items() if value is not None}
            self._scope = (known, self._clock() + ENDPOINT_SECONDS)
        return self._scope[0]

    async def _endpoint(self) -> Any:
        settings = self._settings
        if settings.endpoint_id is not None:
            found = await self._get(f"/endpoints/{quote(settings.endpoint_id, safe='')}")
            if found is None:
                raise UnavailableError("[oslo_limit] endpoint_id: Keystone knows no such endpoint.")
            return found["endpoint"]
        named = {"type": settings.service_type, "name": settings.service_name}
        services = await self._list(
            "services", {name: value for name, value in named.items() if value is not None}
        )
        if len(services) != 1:
            raise UnavailableError(f"[oslo_limit] Keystone knows {len(services)} such services.")
        asked = {"service_id": services[0]["id"], "interface": settings.interface}
        if settings.region is not None:
            asked["region_id"] = settings.region
        endpoints = await self._list("endpoints", asked)
        if len(endpoints) != 1:
            raise UnavailableError(f"[oslo_limit] Keystone knows {len(endpoints)} such endpoints.")
        return endpoints[0]

    async def _list(self, kind: str, asked: dict[str, str]) -> list[Any]:
        document = await self._get(f"/{kind}?{urlencode(asked)}")
        if document is None:
            raise UnavailableError(f"Keystone has no {kind}.")
        found: list[Any] = document[kind]
        return found


def _looked_at(task: asyncio.Task[Limits]) -> None:
    if not task.cancelled():
        task.exception()  # looked at here, should everybody who waited be gone
