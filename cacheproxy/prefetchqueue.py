"""Images that are to be brought in, one after the other; in memory only, as their tokens are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

QUEUED_MAX = 1024

log = logging.getLogger(__name__)

Bring = Callable[[str, str | None], Awaitable[None]]
"""Brings an image in with a token's right; says itself in the log what went wrong."""


@dataclass(eq=False, slots=True)
class _Queued:
    token: str | None = field(repr=False)


class PrefetchQueue:
    """Who came first is brought in first; belongs to one loop."""

    def __init__(self, bring: Bring) -> None:
        self._bring = bring
        self._queued: dict[str, _Queued] = {}  # in order; the first is being brought
        self._bringing: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    def __repr__(self) -> str:
        return f"<PrefetchQueue {len(self._queued)} images>"

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._queued

    def images(self) -> list[str]:
        """Return the images that wait, and the one that is on its way."""
        return list(self._queued)

    def add(self, image_id: str, token: str | None) -> bool:
        """Put an image at the end, unless it stands there already; False if the queue is full."""
        if image_id in self._queued:
            return True
        if len(self._queued) >= QUEUED_MAX:
            return False
        self._queued[image_id] = _Queued(token)
        self._news.set()
        return True

    def remove(self, image_id: str) -> bool:
        """Take an image out, also while it is brought; False if it was not there."""
        if image_id not in self._queued:
            return False
        if self._bringing is not None and image_id == next(iter(self._queued)):
            self._bringing.cancel()
        del self._queued[image_id]
        return True

    def clear(self) -> None:
        """Take all out."""
        for image_id in reversed(self.images()):
            self.remove(image_id)

    async def run(self) -> None:
        """Bring in what comes, until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._queued:
                image_id, queued = next(iter(self._queued.items()))
                await self._next(image_id, queued.token)
                if self._queued.get(image_id) is queued:  # not taken out, and perhaps put in again
                    del self._queued[image_id]

    async def _next(self, image_id: str, token: str | None) -> None:
        async def bring() -> None:
            await self._bring(image_id, token)

        self._bringing = asyncio.create_task(bring(), name=f"prefetch {image_id}")
        try:
            await asyncio.wait([self._bringing])
        finally:
            bringing, self._bringing = self._bringing, None
            bringing.cancel()
            (outcome,) = await asyncio.gather(bringing, return_exceptions=True)
            if isinstance(outcome, Exception):
                log.error("prefetching %s broke", image_id, exc_info=outcome)
