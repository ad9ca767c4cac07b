"""Whether this instance could answer now, as far as that depends on its database."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from registry.db.database import REPEAT_SECONDS, Database
from registry.db.programs import oldest_program
from registry.db.schema import newest_program
from registry.domain.errors import UnavailableError

LOG = logging.getLogger(__name__)

LOOK_SECONDS = 2.0  # between two looks
ANSWER_SECONDS = 5.0  # that the database has to answer one
# Requests wait as long for a database that is away.  Who took an instance out sooner would turn a
# failover, which costs requests their time only, into refusals by every instance at once.
AWAY_SECONDS = REPEAT_SECONDS

DATABASE_AWAY = "DATABASE AWAY"
DATABASE_TOO_NEW = "DATABASE OF A LATER RELEASE"


class Readiness:
    """Looks at the database by itself, whoever asks and however often."""

    def __init__(self, database: Database, clock: Callable[[], float] | None = None) -> None:
        self._database = database
        self._clock = clock or asyncio.get_running_loop().time
        self._away_since: float | None = None  # when the first look began that found nothing
        self._fits = True
        self._told: str | None = None

    def __repr__(self) -> str:
        return f"Readiness({self.hindrance or 'OK'})"

    @property
    def hindrance(self) -> str | None:
        """Say what keeps this instance from answering; None: nothing.  Waits for nothing."""
        if not self._fits:
            return DATABASE_TOO_NEW
        since = self._away_since
        if since is not None and self._clock() - since >= AWAY_SECONDS:
            return DATABASE_AWAY
        return None

    async def watch(self) -> None:
        """Look again and again; never returns."""
        newest = await newest_program()
        while True:
            await self.look(newest)
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self, newest: str) -> None:
        """Ask the database which programs fit, of which this one is of revision `newest`."""
        began = self._clock()
        try:
            async with self._database.read(ANSWER_SECONDS) as connection:
                oldest = await connection.run_sync(oldest_program)
        except UnavailableError:
            if self._away_since is None:
                self._away_since = began
        else:
            self._away_since = None
            self._fits = (oldest or newest) <= newest
        self._tell()

    def _tell(self) -> None:
        found = self.hindrance
        if found != self._told:
            self._told = found
            LOG.warning("balancers are told to send no requests: %s", found or "no longer")
