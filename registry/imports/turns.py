"""Turns at what comes from outside: as slow as its source is, and anybody may name a source.

Such imports have slots of their own, so that staged data and copies never wait for them; and no
project has all of these.
"""

from __future__ import annotations

from collections import Counter

from registry.domain.importing import GLANCE, WEB
from registry.service.jobs import Handler, Job, LaterError

IMPORT = "import"  # the kinds of the jobs
OUTSIDE = "import-outside"
KINDS = (IMPORT, OUTSIDE)
OUTSIDE_AT_ONCE = 20  # in one instance
OF_A_PROJECT = 10  # of them; as many as Glance does of all
PAUSE_SECONDS = 15.0  # until a project that has that many asks again


def kind_of(method: str) -> str:
    """Return the kind of the job that an import by this method is."""
    return OUTSIDE if method in {WEB, GLANCE} else IMPORT


class Turns:
    """A `Handler` that lets no project do more than so many of its jobs at once."""

    def __init__(self, handler: Handler, most: int = OF_A_PROJECT) -> None:
        self._handler = handler
        self._most = most
        self._running: Counter[str | None] = Counter()

    async def __call__(self, job: Job) -> None:
        """Do a job, or `LaterError`."""
        project = job.arguments["project"]
        if self._running[project] >= self._most:
            raise LaterError(PAUSE_SECONDS)
        self._running[project] += 1
        try:
            await self._handler(job)
        finally:
            self._running[project] -= 1
            if not self._running[project]:
                del self._running[project]
