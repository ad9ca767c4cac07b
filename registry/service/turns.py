"""Turns at jobs that are as slow as what they wait for: none of that has all places of its kind."""

from __future__ import annotations

from collections import Counter
from typing import Any

from registry.service.jobs import Handler, Job, LaterError

PAUSE_SECONDS = 15.0  # until a job is asked for again whose turn it was not


class Turns:
    """A `Handler` that does no more than so many jobs at once of those that are alike in `whose`.

    That is one of their arguments.
    """

    def __init__(self, handler: Handler, whose: str, most: int) -> None:
        self._handler = handler
        self._whose = whose
        self._most = most
        self._running: Counter[Any] = Counter()

    async def __call__(self, job: Job) -> None:
        """Do a job, or `LaterError`."""
        owner = job.arguments[self._whose]
        if self._running[owner] >= self._most:
            raise LaterError(PAUSE_SECONDS)
        self._running[owner] += 1
        try:
            await self._handler(job)
        finally:
            self._running[owner] -= 1
            if not self._running[owner]:
                del self._running[owner]
