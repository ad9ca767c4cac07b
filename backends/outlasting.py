"""Waiting through cancellation, for what must not be left half done."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def outlast(waiter: asyncio.Future[Any], seconds: float) -> bool:
    """Wait until `waiter` is done, through any cancellation; return whether there was one."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    cancelled = False
    while not waiter.done() and (left := deadline - loop.time()) > 0:
        try:
            await asyncio.wait({waiter}, timeout=left)
        except asyncio.CancelledError:
            cancelled = True
    return cancelled


async def finished(work: Coroutine[Any, Any, T], seconds: float) -> T:
    """Return what `work` returns; a cancelled caller is cancelled when that has ended.

    TimeoutError if it has to be cut short after `seconds`.
    """
    task = asyncio.create_task(work)
    cancelled = await outlast(task, seconds)
    timed_out = not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    if cancelled:
        raise asyncio.CancelledError
    if timed_out:
        raise TimeoutError
    return task.result()
