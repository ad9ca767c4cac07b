"""Chunks on their way from memory to the store, a few at once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Self

LANDINGS_MAX = 4  # chunks of one leg being hashed and written while the next is received


class Landings:
    """A bounded number of chunks being stored while the next one is received."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(LANDINGS_MAX)
        self._error: BaseException | None = None

    async def __aenter__(self) -> Self:
        return self

    async def add(self, landing: Coroutine[None, None, None]) -> None:
        """Start one when there is room; raises what an earlier one failed with."""
        try:
            await self._room.acquire()
        except BaseException:
            landing.close()
            raise
        if self._error is not None:
            landing.close()
            raise self._error
        task = asyncio.create_task(landing)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._room.release()
        if not task.cancelled() and task.exception() is not None:
            self._error = self._error or task.exception()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # What was received whole is stored even when the source failed behind it.
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))
        if kind is None and self._error is not None:
            raise self._error
