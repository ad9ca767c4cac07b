"""The bounded number of threads for all blocking work but the index's commits."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

THREADS = 4  # hashing, writing and reading chunks at once; more only queue at the disk

T = TypeVar("T")


class Threads:
    """Runs work and remembers what runs, so that closing waits for it, whoever else does.

    `on_error` is told on the loop whatever work fails with.  A fill hands over several jobs for each
    chunk, so there is one queue, and one call back to the loop, and no lock for each of them as
    `concurrent.futures` has.
    """

    def __init__(
        self,
        count: int = THREADS,
        name: str = "cache-io",
        begin: Callable[[], None] | None = None,
    ) -> None:
        """`begin` is called in each thread, first."""
        self.on_error: Callable[[BaseException], None] = lambda _: None
        self._count = count
        self._name = name
        self._begin = begin
        self._since: dict[object, float] = {}  # when what runs now began; changed in the threads
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._jobs: set[asyncio.Future[Any]] = set()

    def start(self, work: Callable[..., T], *args: object) -> asyncio.Future[T]:
        """Run work in a thread; not to be cancelled, because a thread cannot be."""
        job: asyncio.Future[T] = self._loop.create_future()
        self._jobs.add(job)
        self._queue.put(lambda: self._do(job, work, *args))
        if len(self._threads) < min(len(self._jobs), self._count):
            # Daemons: a disk that hangs must not keep the process from ending.
            name = f"{self._name}_{len(self._threads)}"
            thread = threading.Thread(target=self._run, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()
        return job

    def _run(self) -> None:
        """Be one of the threads."""
        if self._begin is not None:
            self._begin()
        while (work := self._queue.get()) is not None:
            work()

    def _do(self, job: asyncio.Future[T], work: Callable[..., T], *args: object) -> None:
        result: object = None
        failure: BaseException | None = None
        mark = object()
        self._since[mark] = time.monotonic()
        try:
            result = work(*args)
        except BaseException as error:  # noqa: BLE001  whoever waits for the job gets it
            failure = error
        finally:
            del self._since[mark]
        self._loop.call_soon_threadsafe(self._ended, job, result, failure)

    def _ended(
        self, job: asyncio.Future[Any], result: object, failure: BaseException | None
    ) -> None:
        self._jobs.discard(job)
        if failure is None:
            job.set_result(result)
            return
        job.set_exception(failure)
        job.exception()  # nobody need ask for it
        self.on_error(failure)

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
        for _ in self._threads:
            self._queue.put(None)
        await asyncio.to_thread(self._join)

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()
