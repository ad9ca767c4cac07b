"""The requests in progress, so that a stop can let them finish.

aiohttp's own shutdown stops reading at once, which would starve uploads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware


class Progress:
    """Counts requests from their head to their response."""

    def __init__(self) -> None:
        self._count = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False
        self._at_closing: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        return f"Progress({self._count} requests)"

    @property
    def middleware(self) -> Middleware:
        """The outermost middleware, which counts."""

        @web.middleware
        async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
            with self.one():
                return await handler(request)

        return count

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count a request for as long as the context lasts."""
        self._count += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._count -= 1
            if not self._count:
                self._idle.set()

    @property
    def closing(self) -> bool:
        """Whether the service is stopping."""
        return self._closing

    async def close_connection(self, _request: web.Request, response: web.StreamResponse) -> None:
        """End connections with their response, once stopping (an `on_response_prepare` signal)."""
        if self._closing:
            response.force_close()

    def at_closing(self, release: Callable[[], None]) -> None:
        """Have `release` called once stopping, to end requests that only wait."""
        self._at_closing.append(release)

    async def settle(self, seconds: float) -> int:
        """Wait until no request is in progress; return how many still are after `seconds`."""
        self._closing = True
        for release in self._at_closing:
            release()
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return self._count
        return 0
