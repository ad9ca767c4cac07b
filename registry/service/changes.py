"""The feed of changes: what proxies ask to learn of images that are gone, and wait for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from registry.db.changes import get_changes, get_history, get_tail
from registry.db.database import Connection, Database
from registry.domain import access
from registry.domain.changes import ChangePage, ChangeTail
from registry.domain.errors import GoneError, UnavailableError
from registry.domain.identity import Identity

LOG = logging.getLogger(__name__)

TAIL_CHANGES = 100  # kept in memory: more than come within a second
POLL_SECONDS = 1.0  # how late changes that another instance makes are seen, at most


@dataclass(frozen=True, slots=True)
class ChangeQuestion:
    """The first `limit` changes behind a number, waiting up to `wait` seconds for the first of them.

    `behind` is the epoch and the number; None asks where the feed stands, to begin there.
    """

    behind: tuple[str, int] | None
    limit: int
    wait: float


class ChangeFeed:
    """Answers questions, at once or when there is something to tell.

    Thousands may wait, mostly behind the same number.  One task looks into the database for all of
    them and keeps what is newest; they wait for it and are answered from it, so that a change costs
    the database one look, however many wait.  That it may be old does not matter to whoever waits:
    the wait brings the next look.  Whoever does not wait is answered from the database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiters = 0
        self._awaited = asyncio.Event()
        self._tail: ChangeTail | None = None
        self._news = asyncio.Event()
        self._is_closing = False

    async def ask(self, identity: Identity, question: ChangeQuestion) -> ChangePage:
        """Answer; `GoneError` if the feed does not reach back that far."""
        access.require_changes(identity)
        if question.behind is None or not question.wait:
            return await self._database.query(self._look, question)
        deadline = asyncio.get_running_loop().time() + question.wait
        while True:
            news = self._news  # taken first: it tells of whatever comes after the look
            page = self._tail.page(*question.behind, question.limit) if self._tail else None
            if page is None:
                page = await self._database.query(self._look, question)
            if page.changes or self._is_closing:
                return page
            try:
                async with asyncio.timeout_at(deadline):
                    with self._waiter():
                        await news.wait()
            except TimeoutError:
                return page

    @staticmethod
    async def _look(connection: Connection, question: ChangeQuestion) -> ChangePage:
        history = await get_history(connection)
        if question.behind is None:
            return ChangePage((), history.last, history.epoch)
        epoch, after = question.behind
        if not history.reaches(epoch, after):
            raise GoneError(
                f"The feed does not reach back to {after} of that epoch: ask without after "
                "where it stands, look at every image, and go on from there."
            )
        changes = await get_changes(connection, after, question.limit)
        return ChangePage(changes, history.last, history.epoch)

    async def watch(self) -> None:
        """Wake whoever waits as changes come, from this instance or another; never returns."""
        while True:
            await self._awaited.wait()
            try:
                tail = await self._database.query(get_tail, TAIL_CHANGES)
                if tail != self._tail:
                    self._tail = tail
                    self._wake()
            except UnavailableError as error:
                LOG.warning("whoever waits for changes goes on waiting: %s", error)
            await self._database.wait_for_write(POLL_SECONDS)

    def close(self) -> None:
        """Answer everybody who waits now, and let nobody wait any more."""
        self._is_closing = True
        self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    @contextmanager
    def _waiter(self) -> Iterator[None]:
        """Have the feed watched for as long as anybody waits."""
        self._waiters += 1
        self._awaited.set()
        try:
            yield
        finally:
            self._waiters -= 1
            if not self._waiters:
                self._awaited.clear()
