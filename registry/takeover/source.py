"""The Glance that is taken over, by its API.

keystoneauth1 logs in and sends: it has OpenStack's ways to log in, gets another token when one ends,
and asks again where nobody answers.  It blocks, so it has threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import requests
from keystoneauth1.adapter import Adapter
from keystoneauth1.exceptions import ClientException, HttpError

from registry.domain.errors import UnavailableError
from registry.takeover.records import Document

T = TypeVar("T")

PARALLEL = 8  # requests at once; Glance has a few processes
PAGE_IMAGES = 200
TRIES = 7  # of a request that nobody answers: half a minute, in which Glance restarts
RETRY_SECONDS: float | None = None  # between tries; None: keystoneauth's 0.5, 1, 2, …
RETRIED = (502, 503, 504)
_NOT_TOLD = (403, 404, 405)


class SourceError(UnavailableError):
    """Glance, or its Keystone, does not answer, or refuses everything."""


class GlanceSource:
    """Reads records; the user must be an administrator, for others do not see all images."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter
        self._threads = ThreadPoolExecutor(PARALLEL, "glance")

    async def aclose(self) -> None:
        """Wait for the requests in progress."""
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)

    async def require_administrator(self) -> None:
        """Refuse a user who would not see all images."""
        roles = await self._in_thread(self._roles)
        if roles is not None and "admin" not in roles:
            raise SourceError(
                f"the user has the roles {', '.join(sorted(roles)) or 'none'}: only one with the role "
                "admin sees the images of all projects"
            )

    async def images(self, *, hidden: bool) -> list[Document]:
        """Return all records, oldest first: those that lists show, or those that they hide."""
        found: list[Document] = []
        path = "/v2/images?" + "&".join(
            [
                *("visibility=all", "member_status=all", "sort=created_at:asc,id:asc"),
                *(f"limit={PAGE_IMAGES}", f"os_hidden={str(hidden).lower()}"),
            ]
        )
        while path:
            page = await self._ask(path)
            found += page["images"]
            path = page.get("next", "")
        return found

    async def members(self, image_id: str) -> list[Document]:
        """Return whom an image is shared with; nobody, where it is gone or no longer shared."""
        page = await self._ask(f"/v2/images/{image_id}/members", _NOT_TOLD)
        return [] if page is None else list(page["members"])

    async def locations(self, image_id: str) -> list[Document] | None:
        """Return where the data is, by the API of locations; None where that does not tell it."""
        told = await self._ask(f"/v2/images/{image_id}/locations", _NOT_TOLD)
        return told if told is None else list(told)

    async def has(self, image_id: str) -> bool:
        """Tell whether there is such an image (still)."""
        return await self._ask(f"/v2/images/{image_id}", (404,)) is not None

    async def _ask(self, path: str, refusals: tuple[int, ...] = ()) -> Any:
        """Return the answer; None where it is one of `refusals`."""

        def ask() -> Any:
            try:
                return self._adapter.get(
                    path,
                    connect_retries=TRIES - 1,
                    connect_retry_delay=RETRY_SECONDS,
                    status_code_retries=TRIES - 1,
                    retriable_status_codes=RETRIED,
                    status_code_retry_delay=RETRY_SECONDS,
                ).json()
            except HttpError as error:
                if error.http_status in refusals:
                    return None
                raise

        return await self._in_thread(ask)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except (ClientException, requests.RequestException) as error:
            raise SourceError(" ".join(f"Glance: {error}".split())) from error

    def _roles(self) -> frozenset[str] | None:
        """Return the user's roles; None where there is no Keystone."""
        auth: Any = self._adapter.auth or self._adapter.session.auth
        if not hasattr(auth, "get_access"):
            return None
        names: list[str] = auth.get_access(self._adapter.session).role_names
        return frozenset(name.lower() for name in names)
