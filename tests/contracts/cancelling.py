"""Cancels a coroutine at each of its suspension points in turn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

STEPS_MAX = 500


class _CancelledAt:
    """Runs a coroutine, and cancels its task when it suspends for the `step`th time."""

    def __init__(self, coroutine: Coroutine[Any, Any, object], step: int) -> None:
        self._coroutine = coroutine
        self._step = step
        self.reached = False

    def __await__(self) -> Generator[Any, Any, object]:
        inner = self._coroutine.__await__()
        error: BaseException | None = None
        steps = 0
        while True:
            try:
                waited_for = inner.send(None) if error is None else inner.throw(error)
            except StopIteration as stop:
                return stop.value
            steps += 1
            if steps == self._step:
                self.reached = True
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            error = None
            try:
                yield waited_for
            except BaseException as thrown:  # noqa: BLE001  # handed on to the coroutine
                error = thrown

    async def run(self) -> None:
        await self


async def cancelled_everywhere(
    make: Callable[[], Coroutine[Any, Any, object]], check: Callable[[], Awaitable[None]]
) -> None:
    """Run `make()` once for each of its suspension points, cancelled there, and once through.

    `check` runs after each.  A coroutine that swallows its cancellation fails.
    """
    for step in range(1, STEPS_MAX):
        attempt = _CancelledAt(make(), step)
        task = asyncio.create_task(attempt.run())
        await asyncio.wait({task})
        if not attempt.reached:
            task.result()
            assert step > 1, "it never suspends: nothing was tested"
            await check()
            return
        assert task.cancelled(), f"cancelled at suspension {step}, and went on: {task!r}"
        await check()
    raise AssertionError(f"more than {STEPS_MAX} suspensions")
