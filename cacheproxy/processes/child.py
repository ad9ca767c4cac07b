"""What the keeper and the workers have in common: how a child process of the node begins."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
from collections.abc import Collection, Coroutine

import uvloop

log = logging.getLogger(__name__)


def run(main: Coroutine[None, None, int]) -> int:
    """Run a child's main on uvloop, with as many descriptors as the machine allows.

    The loop is closed, which waits for threads, only after an end in order (0): threads may hang.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # What was imported before lives as long as the process: the collector need not look at it.
    gc.freeze()
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    code = runner.run(main)
    if code == 0:
        runner.close()
    return code


def open_files_max(wanted: int) -> int:
    """Return how many files may be kept open of those wanted: half of all is for connections."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(wanted, allowed // 2)


def background(name: str, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
    """Start what runs beside everything else; that it broke is told at once.  The caller ends it."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_tell_failure)
    return task


async def end(tasks: Collection[asyncio.Task[None]]) -> None:
    """End what runs in the background."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def _tell_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("%s broke", task.get_name(), exc_info=error)
