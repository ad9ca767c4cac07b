"""The leases of this process: that it is alive, told to the database for all of its work at once.

One statement every third of a lease's time renews everything that is going on, however much it is,
and none is sent while nothing is.  A database that is away ends nothing: only one that answers that
a lease is another's does.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from registry.db.database import Database
from registry.db.uploads import renew_uploads
from registry.domain.errors import LeaseLostError, UnavailableError

LOG = logging.getLogger(__name__)

RENEWALS = 3  # in the time of a lease
RETRY_SECONDS = 1.0  # after a renewal that failed
RENEWED_AT_ONCE = 500  # holders in one statement
HOLDER_LENGTH = 32  # characters that a name may have in the database


class Lease:
    """A hold on one piece of work, by a name that nobody else has; `role` begins it."""

    def __init__(self, role: str = "") -> None:
        self.holder = (role + secrets.token_hex(HOLDER_LENGTH // 2))[:HOLDER_LENGTH]
        self._is_lost = False
        self._limit: asyncio.Timeout | None = None

    def lose(self) -> bool:
        """End what is being done in `kept`; False if nothing is."""
        self._is_lost = True
        if self._limit is None or self._limit.expired():
            return False
        self._limit.reschedule(0)
        return True

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Do something for as long as the lease is not lost; `LeaseLostError` then."""
        limit = asyncio.timeout(None)
        try:
            async with limit:
                self._limit = limit
                if self._is_lost:
                    self.lose()
                try:
                    yield
                finally:
                    self._limit = None
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise LeaseLostError(
                "This was given up, for the database had not heard of it for too long."
            ) from error


class Leases:
    """The leases that this process renews; each lasts `seconds` from its last renewal."""

    def __init__(self, database: Database, seconds: int) -> None:
        self._database = database
        self.seconds = seconds
        self._held: dict[str, Lease] = {}

    def __repr__(self) -> str:
        return f"Leases({len(self._held)} held)"

    @contextmanager
    def renewed(self, lease: Lease) -> Iterator[None]:
        """Renew a lease, which the database knows by now, for as long as the context lasts."""
        self._held[lease.holder] = lease
        try:
            yield
        finally:
            self.let_go(lease.holder)

    def let_go(self, holder: str) -> None:
        """Renew a lease no longer, whose holder ends now, by its name, what it held.

        Else a renewal behind that would take it for lost, and end what comes after.
        """
        self._held.pop(holder, None)

    async def run(self) -> None:
        """Renew; never returns."""
        pause = self.seconds / RENEWALS
        while True:
            await asyncio.sleep(pause)
            try:
                await self.renew()
                pause = self.seconds / RENEWALS
            except UnavailableError as error:
                LOG.warning("%r could not be renewed: %s", self, error)
                pause = min(RETRY_SECONDS, self.seconds / RENEWALS)

    async def renew(self) -> None:
        """Renew what is held; whoever has lost a lease is told."""
        holders = sorted(self._held)
        for start in range(0, len(holders), RENEWED_AT_ONCE):
            # One try: the next one comes sooner than the database would repeat it.
            async with self._database.write(self.seconds) as connection:
                some = holders[start : start + RENEWED_AT_ONCE]
                lost = await renew_uploads(connection, some, self.seconds)
            for holder in lost & self._held.keys():
                if self._held[holder].lose():
                    LOG.error(
                        "a lease was lost: this process was away for more than %d s", self.seconds
                    )
