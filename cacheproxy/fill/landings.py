"""Chunks on their way from memory to the store, while the next ones are received."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Self


class Landings:
    """Chunks of one leg being hashed and written; as many as there are buffers."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[None], Callable[[], None]] = {}
        self._error: BaseException | None = None

    def __repr__(self) -> str:
        return f"<Landings {len(self._tasks)}>"

    async def __aenter__(self) -> Self:
        return self

    def check(self) -> None:
        """Raise what one has failed with."""
        if self._error is not None:
            raise self._error

    def add(self, landing: Coroutine[None, None, None], on_end: Callable[[], None]) -> None:
        """Begin one; `on_end` is called when nobody uses its buffer any more."""
        task = asyncio.create_task(landing)
        self._tasks[task] = on_end
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        on_end = self._tasks.pop(task)
        if not task.cancelled() and task.exception() is not None:
            self._error = self._error or task.exception()
        on_end()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # What was received whole is stored even when the source failed behind it.
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))
        if kind is None:
            self.check()
