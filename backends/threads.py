"""Calls that block, in a bounded pool of threads, so that nobody waits for ever for one.

A thread cannot be stopped.  So each resource (an open file) has a `Lane`: its calls run one at a
time, and when a caller leaves while one is still running, the resource is given back by that
call's thread as soon as it ends, be it hours later, and by nobody else.

    lane.run(call)*    →    lane.finish(cleanup)     always, in a finally
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

from backends.errors import UnavailableError
from backends.outlasting import outlast

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Threads:
    """A bounded pool of threads; a call that is silent for `hang_seconds` has failed.

    `asked` is who then has not answered, for the error's text.  The threads are daemons: one that
    hangs does not keep the process from ending.
    """

    def __init__(
        self, name: str, count: int, hang_seconds: float, asked: str = "the file system"
    ) -> None:
        self._name = name
        self._count = count
        self.hang_seconds = hang_seconds
        self.asked = asked
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._lock = threading.Lock()  # of the three fields below; held for moments only
        self._started = 0
        self._unfinished = 0
        self._closed = False
        self._hanging: set[Future[Any]] = set()

    @property
    def hangs(self) -> bool:
        """Whether a call hangs now."""
        return bool(self._hanging)

    @property
    def is_stuck(self) -> bool:
        """Whether as many calls hang as there are threads: another one would only wait too."""
        return len(self._hanging) >= self._count

    def lane(self) -> Lane:
        """Return the lane of one resource."""
        return Lane(self)

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Queue a call; lanes use it."""
        future: Future[T] = Future()
        future.add_done_callback(_retrieve)
        with self._lock:
            if self._closed:
                raise RuntimeError("a call for threads that have been closed")
            self._unfinished += 1
            if self._started < min(self._unfinished, self._count):
                self._start()
            self._queue.put(lambda: self._do(future, call))
        return future

    def note_hang(self, future: Future[Any]) -> None:
        """Take a call for hanging until it ends, if a thread has begun it."""
        if future.running():
            self._hanging.add(future)
            future.add_done_callback(self._hanging.discard)

    def close(self) -> None:
        """Start no more calls; does not wait for those that run."""
        with self._lock:
            self._closed = True
            for _ in range(self._started):
                self._queue.put(None)

    def _start(self) -> None:
        name = f"{self._name}_{self._started}"
        threading.Thread(target=self._run, name=name, daemon=True).start()
        self._started += 1

    def _run(self) -> None:
        """Be one of the threads."""
        while (work := self._queue.get()) is not None:
            work()
            del work  # with what it holds

    def _do(self, future: Future[T], call: Callable[[], T]) -> None:
        try:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001  whoever waits for the call gets it
                future.set_exception(error)
            else:
                future.set_result(result)
        finally:
            with self._lock:
                self._unfinished -= 1


class Lane:
    """The blocking calls on one resource: one at a time, in order."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._lock = threading.Lock()  # of the two fields below; held for moments only
        self._busy = False
        self._cleanup: Callable[[], object] | None = None
        self._finished = False
        self._heard = 0.0  # time.monotonic() at the call's last sign of life

    def beside(self) -> Lane:
        """Return the lane of another resource, in the same threads."""
        return self._threads.lane()

    def beat(self) -> None:
        """Note, in the call's thread, that a long call goes on: it does not hang."""
        self._heard = time.monotonic()

    async def run(self, call: Callable[[], T]) -> T:
        """Run `call` in a thread; UnavailableError if it hangs.

        A cancelled caller waits for a call that has begun, no longer than `hang_seconds`.
        """
        if self._finished:
            raise RuntimeError("a lane was used after its end")
        if self._busy:
            raise UnavailableError(f"an earlier call to {self._threads.asked} still hangs")
        if self._threads.is_stuck:
            raise UnavailableError(f"{self._threads.asked} hangs")
        self._busy = True
        self.beat()
        future = self._threads.submit(lambda: self._in_thread(call))
        waiter = asyncio.wrap_future(future)
        waiter.add_done_callback(_retrieve)
        try:
            while not waiter.done() and (left := self._seconds_left()) > 0:
                await asyncio.wait({waiter}, timeout=left)
        except asyncio.CancelledError:
            if not self._revoked(future):
                await outlast(waiter, self._threads.hang_seconds)
                self._threads.note_hang(future)
            raise
        if not waiter.done():
            self._revoked(future)
            self._threads.note_hang(future)
            raise UnavailableError(
                f"{self._threads.asked} has not answered for {self._threads.hang_seconds} s"
            )
        return waiter.result()

    async def finish(self, cleanup: Callable[[], object]) -> None:
        """Run the last call, whatever happens; after a hanging call, as soon as that has ended.

        Returns when it is done or `hang_seconds` have passed; cancellation waits for that too.
        Where all threads hang nobody waits: it is done when one of them comes back.
        """
        self._finished = True
        with self._lock:
            if self._busy:
                self._cleanup = cleanup
                return
        future = self._threads.submit(cleanup)
        if self._threads.is_stuck:
            return
        waiter = asyncio.wrap_future(future)
        waiter.add_done_callback(_retrieve)
        cancelled = await outlast(waiter, self._threads.hang_seconds)
        self._threads.note_hang(future)
        if cancelled:
            raise asyncio.CancelledError
        if waiter.done():
            waiter.result()

    def _seconds_left(self) -> float:
        return self._heard + self._threads.hang_seconds - time.monotonic()

    def _in_thread(self, call: Callable[[], T]) -> T:
        try:
            return call()
        finally:
            with self._lock:
                self._busy = False
                cleanup, self._cleanup = self._cleanup, None
            if cleanup is not None:
                cleanup()
                _log.warning(
                    "a call to %s that hung has ended, and was cleaned up", self._threads.asked
                )

    def _revoked(self, future: Future[Any]) -> bool:
        """Take back a call that no thread has begun; False if it runs or ran."""
        if future.cancel():
            self._busy = False
            return True
        return False


def _retrieve(future: Future[Any] | asyncio.Future[Any]) -> None:
    """Look at a late call's error, which nobody waits for any more."""
    if not future.cancelled():
        future.exception()
