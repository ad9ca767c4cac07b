"""The bounded number of threads for all blocking work but the index's commits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

THREADS = 4  # hashing, writing and reading chunks at once; more only queue at the disk

T = TypeVar("T")


class Threads:
    """Runs work and remembers what runs, so that closing waits for it, whoever else does.

    `on_error` is told on the loop whatever work fails with.
    """

    def __init__(
        self,
        count: int = THREADS,
        name: str = "cache-io",
        begin: Callable[[], None] | None = None,
    ) -> None:
        """`begin` is called in each thread, first."""
        self.on_error: Callable[[BaseException], None] = lambda _: None
        self._since: dict[object, float] = {}  # when what runs now began; changed in the threads
        self._loop = asyncio.get_running_loop()
        self._pool = ThreadPoolExecutor(count, name, begin)
        self._jobs: set[asyncio.Future[Any]] = set()

    def start(self, work: Callable[..., T], *args: object) -> asyncio.Future[T]:
        """Run work in a thread; not to be cancelled, because a thread cannot be."""
        job = self._loop.run_in_executor(self._pool, partial(self._timed, work, *args))
        self._jobs.add(job)
        job.add_done_callback(self._ended)
        return job

    def _timed(self, work: Callable[..., T], *args: object) -> T:
        mark = object()
        self._since[mark] = time.monotonic()
        try:
            return work(*args)
        finally:
            del self._since[mark]

    def _ended(self, job: asyncio.Future[Any]) -> None:
        self._jobs.discard(job)
        error = job.exception()
        if error is not None:
            self.on_error(error)

    def running_since(self) -> float | None:
        """Return when the oldest work that runs now began (of time.monotonic()), if any runs."""
        return min(tuple(self._since.values()), default=None)

    async def run(
        self,
        work: Callable[..., T],
        *args: object,
        discard: Callable[[asyncio.Future[T]], None] | None = None,
    ) -> T:
        """Run work and wait for it; if the caller is cancelled, `discard` gets what it gives."""
        job = self.start(work, *args)
        try:
            return await asyncio.shield(job)
        except asyncio.CancelledError:
            if discard is not None:
                job.add_done_callback(discard)
            raise

    async def idle(self) -> None:
        """Wait until nothing runs."""
        while self._jobs:
            await asyncio.wait(tuple(self._jobs))

    async def close(self) -> None:
        """Wait for all work and end the threads."""
        await self.idle()
        await asyncio.to_thread(self._pool.shutdown)
