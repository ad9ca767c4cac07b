"""The requests in progress, so that a stop can let them finish.

aiohttp's own shutdown stops reading at once, which would starve uploads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware


class Progress:
    """Counts requests from their head to their response."""

    def __init__(self, hurry: asyncio.Event | None = None) -> None:
        """Once `hurry` is set, nothing is waited for but what has to be undone."""
        self._hurry = hurry or asyncio.Event()
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
            response.headers[hdrs.CONNECTION] = "close"  # aiohttp has made its headers already

    async def notify(self, seconds: float) -> None:
        """Say that the service is stopping, and take all requests for so long still."""
        self._closing = True
        await _first(seconds, self._hurry)

    def at_closing(self, release: Callable[[], None]) -> None:
        """Have `release` called when requests are to settle, to end those that only wait."""
        self._at_closing.append(release)

    async def settle(self, seconds: float) -> int:
        """Wait until no request is in progress; return how many still are after `seconds`."""
        self._closing = True
        for release in self._at_closing:
            release()
        await _first(seconds, self._idle, self._hurry)
        return self._count

    async def unwind(self, seconds: float) -> None:
        """Wait until requests that were cut off have undone what they began."""
        await _first(seconds, self._idle)


async def _first(seconds: float, *events: asyncio.Event) -> None:
    """Wait until one of the events has come, `seconds` at most."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.wait(waits)
