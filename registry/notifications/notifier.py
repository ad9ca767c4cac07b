"""A queue in front of whoever tells others: a broker that is away holds nobody up.

One thread sends, in the order of the events.  Where it cannot, the queue fills; what does not fit
is dropped, counted, and told in the log once a minute.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Protocol, TypeAlias

from registry.domain.notices import Payload, Priority

LOG = logging.getLogger(__name__)

QUEUE_MAX = 10_000  # events that wait, some kilobytes each
TELL_SECONDS = 60.0  # between two lines in the log about what is dropped

_Notice: TypeAlias = tuple[str, Payload, Priority]


class Sending(Protocol):
    """Who tells others, in one thread; may block as long as it pleases."""

    def send(self, event: str, payload: Payload, priority: Priority) -> None:
        """Tell them of an event."""

    def close(self) -> None:
        """Leave; behind the last event."""


Count: TypeAlias = Callable[[str], None]  # by what became of one: sent, failed or dropped


class QueuedNotifier:
    """Tells others in a thread of its own: `registry.domain.notices.Notifier`."""

    def __init__(
        self,
        make: Callable[[], Sending],
        disabled: Collection[str] = (),
        count: Count = lambda _outcome: None,
        queue_max: int = QUEUE_MAX,
    ) -> None:
        """`make` is called in the thread; `disabled` are events, or the first parts of their names."""
        self._make = make
        self._disabled = frozenset(disabled)
        self._count = count
        self._queue_max = queue_max
        self._queue: SimpleQueue[_Notice | None] = SimpleQueue()
        self._dropped = 0
        self._told_at = -TELL_SECONDS
        self._ready: Future[None] = Future()
        self._ended = threading.Event()
        # A daemon: one that waits for a broker does not keep the process from ending, nor one that
        # has imported eventlet (oslo.messaging does), which cannot be joined.
        self._thread = threading.Thread(target=self._run, name="notifications", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<QueuedNotifier {self._queue.qsize()} waiting, {self._dropped} dropped>"

    async def ready(self) -> None:
        """Wait for the sender to be made; its error is raised."""
        await asyncio.wrap_future(self._ready)

    def emit(self, event: str, payload: Payload, priority: Priority = "info") -> None:
        """Have others told, unless too much waits already; from one thread, the loop's."""
        if event in self._disabled or event.partition(".")[0] in self._disabled:
            return
        if self._queue.qsize() < self._queue_max:
            self._queue.put((event, payload, priority))
            return
        self._dropped += 1
        self._count("dropped")
        if time.monotonic() - self._told_at >= TELL_SECONDS:
            self._told_at = time.monotonic()
            LOG.error("notifications cannot be sent: %d have been dropped", self._dropped)

    def close(self, seconds: float) -> None:
        """Wait for what is queued to be sent, but not for longer; blocks."""
        self._queue.put(None)
        if not self._ended.wait(seconds):
            LOG.error("%d notifications are not sent any more", self._queue.qsize())

    def _run(self) -> None:
        try:
            sender = self._make()
        except Exception as error:  # noqa: BLE001  # whoever waits for it hears of it
            self._ready.set_exception(error)
            return
        self._ready.set_result(None)
        while (notice := self._queue.get()) is not None:
            try:
                sender.send(*notice)
            except Exception:
                LOG.exception("a notification of %s was not sent", notice[0])
                self._count("failed")
            else:
                self._count("sent")
        sender.close()
        self._ended.set()
