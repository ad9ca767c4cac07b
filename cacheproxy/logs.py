"""Log lines on standard error: who says it, and what.

    2026-01-31 12:00:00,000 cacheproxy worker 1: warning: …

A child writes its lines in a thread of its own: standard error may be a pipe that nobody reads, and
the loop never waits for it.
"""

from __future__ import annotations

import logging
import logging.handlers
import queue
import sys
from collections.abc import Callable

RECORDS_MAX = 10_000  # waiting to be written; more are dropped
FLUSH_SECONDS = 2.0  # how long the end of a process waits for its last lines


class _Line(logging.Formatter):
    def __init__(self, who: str) -> None:
        super().__init__(f"%(asctime)s {who}: %(level)s%(message)s")

    def format(self, record: logging.LogRecord) -> str:
        ordinary = record.levelno <= logging.INFO
        record.level = "" if ordinary else f"{record.levelname.lower()}: "
        return super().format(record)


class _Bounded(logging.handlers.QueueHandler):
    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            super().enqueue(record)
        except queue.Full:
            return  # the reader of the log stands still; serving goes on


class _Listener(logging.handlers.QueueListener):
    def stop(self) -> None:
        """Write what waits, for a bounded time."""
        try:
            self.queue.put(self._sentinel, timeout=FLUSH_SECONDS)  # type: ignore[attr-defined]  # inherited, not in the stubs
        except queue.Full:
            return
        if self._thread is not None:
            self._thread.join(FLUSH_SECONDS)


def to_stderr(who: str) -> None:
    """Write all lines of this process at once; for a process without a loop."""
    _only(_stderr(who))


def through_a_thread(who: str) -> Callable[[], None]:
    """Write all lines of this process in a thread; call what is returned at its end."""
    lines: queue.Queue[logging.LogRecord] = queue.Queue(RECORDS_MAX)
    listener = _Listener(lines, _stderr(who))
    _only(_Bounded(lines))
    listener.start()
    return listener.stop


def _stderr(who: str) -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line(who))
    return handler


def _only(handler: logging.Handler) -> None:
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
