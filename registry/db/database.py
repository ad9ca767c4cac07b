"""The database: the two kinds of transaction, and their repetition.

A reading transaction sees one snapshot (REPEATABLE READ): an image and its tags, read by two
statements, belong together.  A writing one is READ COMMITTED: it waits for whoever holds a row and
then sees what that one left, where a snapshot would fail (PostgreSQL) or be written over (InnoDB),
and deletions lock no gaps.  That it writes over nothing which it has not read is not left to locks,
which Galera's nodes do not share: `registry.db.images` changes rows under a condition, and a
transaction that was overtaken is run again, as one that the server broke off.

SQLite runs in WAL mode: readers never wait; writers queue, for the one connection that writes in
this process, and from the start of their transaction (BEGIN IMMEDIATE) for other processes.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection as Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from registry.db.engines import asking_engine, reading_engine, writing_engine
from registry.db.failures import OutageError, OvertakenError, TransientError, translated
from registry.db.moments import Moments
from registry.db.options import DatabaseSettings
from registry.db.target import Kind, read_target
from registry.domain.errors import UnavailableError

__all__ = ["Connection", "Database"]

LOG = logging.getLogger(__name__)

REPEAT_SECONDS = 20.0  # from the first try of a transaction to the start of its last
TRANSACTION_SECONDS = 50.0  # all tries: more than a wait for other writers
CLOSE_SECONDS = 5.0  # to give a connection back; a driver takes 2 to break one off
OVERTAKEN_SECONDS = 0.01  # before the second try, then twice that, and so on
OVERTAKEN_SECONDS_MAX = 0.5
DOUBLINGS_MAX = 16  # of any pause: more than these limits need
JITTER = 0.5  # of each pause, so that those who collided do not meet again

P = ParamSpec("P")
T = TypeVar("T")
_Transaction: TypeAlias = Callable[[float], AbstractAsyncContextManager[Connection]]


class Database:
    """Connections to one database.  Failures are `UnavailableError`."""

    def __init__(self, settings: DatabaseSettings) -> None:
        """Prepare a database; blocks for a moment, as looking up a path does.

        Nothing is opened before the first transaction.
        """
        self._settings = settings
        self._target = read_target(settings.connection)
        self._reading = reading_engine(self._target, settings)
        self._asking = asking_engine(self._target, settings)
        self._writing = writing_engine(self._target, settings)
        self._wrote = asyncio.Event()
        self._closing: set[asyncio.Task[None]] = set()
        self._moments = None if self.file is None else Moments(self.file)

    def __repr__(self) -> str:
        return f"Database({self._target.url!r})"

    @property
    def kind(self) -> Kind:
        """The kind of database."""
        return self._target.kind

    @property
    def file(self) -> Path | None:
        """The file that everything is in; None where a server has it."""
        return Path(self._target.url.database or "") if self.kind == "sqlite" else None

    async def tell_moments(self) -> None:
        """Have `moment` told from now on, where the kind of database can."""
        if self._moments is None:
            return
        try:
            await asyncio.to_thread(self._moments.open)
        except sqlite3.Error as error:
            LOG.warning("every record is read anew: %s", error)

    def moment(self) -> int | None:
        """Return what differs after each commit by anybody; does not wait.

        What was read after a moment is still so as long as this is that moment.  None where nobody
        tells: servers would have to be asked, which takes as long as to read again.
        """
        return None if self._moments is None else self._moments.now()

    async def ask(
        self,
        work: Callable[Concatenate[Connection, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Return what `work` returns, which asks one question: what it sees is of one moment.

        Without the beginning and the end of a transaction, which cost as much as a question.
        """
        return await self._repeat(self._one, work, *args, **kwargs)

    async def query(
        self,
        work: Callable[Concatenate[Connection, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Return what `work` returns, called with a reading transaction before its arguments."""
        return await self._repeat(self.read, work, *args, **kwargs)

    async def change(
        self,
        work: Callable[Concatenate[Connection, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Return what `work` returns, called with a writing transaction before its arguments.

        It may be called several times, and must do nothing that an undone transaction leaves
        behind.  `UnavailableError`: nothing was changed, unless the error says that nobody knows.
        """
        return await self._repeat(self.write, work, *args, **kwargs)

    async def _repeat(
        self,
        transaction: _Transaction,
        work: Callable[Concatenate[Connection, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        loop = asyncio.get_running_loop()
        began = loop.time()
        deadline = began + REPEAT_SECONDS
        tries = 0
        while True:
            try:
                async with transaction(began + TRANSACTION_SECONDS - loop.time()) as connection:
                    return await work(connection, *args, **kwargs)
            except TransientError as error:
                pause = self._pause(error, tries)
                tries += 1
                if tries > self._settings.db_max_retries >= 0 or loop.time() + pause > deadline:
                    raise
            await asyncio.sleep(pause)

    def _pause(self, error: TransientError, tries: int) -> float:
        """Say how long to wait before the next try, `tries` of which have been repetitions."""
        settings = self._settings
        if isinstance(error, OvertakenError):
            seconds = min(
                OVERTAKEN_SECONDS * 2.0 ** min(tries, DOUBLINGS_MAX), OVERTAKEN_SECONDS_MAX
            )
        elif not tries:
            seconds = OVERTAKEN_SECONDS  # a server that is back already, behind old connections
        else:
            doublings = min(tries - 1, DOUBLINGS_MAX) if settings.db_inc_retry_interval else 0
            longest = max(settings.db_max_retry_interval, settings.db_retry_interval)
            seconds = min(settings.db_retry_interval * 2.0**doublings, longest)
        return seconds * random.uniform(1 - JITTER, 1)  # noqa: S311  # nothing secret

    def _one(self, seconds: float) -> AbstractAsyncContextManager[Connection]:
        return self._transaction(self._asking, seconds, writes=False)

    def read(
        self, seconds: float | None = TRANSACTION_SECONDS
    ) -> AbstractAsyncContextManager[Connection]:
        """Run a transaction that changes nothing, once: one consistent view."""
        return self._transaction(self._reading, seconds, writes=False)

    @asynccontextmanager
    async def write(self, seconds: float | None = TRANSACTION_SECONDS) -> AsyncIterator[Connection]:
        """Run a transaction that may change rows, once: committed at the end, undone by any exception."""
        try:
            async with self._transaction(self._writing, seconds, writes=True) as connection:
                yield connection
        finally:
            self._wrote.set()

    @asynccontextmanager
    async def alter(self) -> AsyncIterator[Connection]:
        """Lend a connection for changes of tables: each statement counts at once, or in SQLite all do.

        It is closed at the end, so that what was set or locked by it is no more.
        """
        if self.kind == "sqlite":
            async with self.write(seconds=None) as connection:
                yield connection
            return
        async with self._transaction(self._asking, None, writes=False) as connection:
            try:
                yield connection
            finally:
                await connection.invalidate()

    @asynccontextmanager
    async def _transaction(
        self, engine: AsyncEngine, seconds: float | None, *, writes: bool
    ) -> AsyncIterator[Connection]:
        committing = False
        connection: Connection | None = None
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                with translated():
                    connection = await engine.connect()
                try:
                    with translated():
                        yield connection
                    if writes:
                        committing = True
                        with translated(committing=True):
                            await connection.commit()
                except OutageError:
                    # Also one that is not lost: behind the same address another server may answer.
                    await connection.invalidate()
                    raise
        except TimeoutError as error:
            if not limit.expired():
                raise
            LOG.warning("the database has not answered for %.1f seconds", seconds)
            raise UnavailableError(
                "The database does not answer: look whether it took the change."
                if committing
                else "The database does not answer."
            ) from error
        finally:
            if connection is not None:
                await asyncio.shield(self._given_back(connection))

    def _given_back(self, connection: Connection) -> asyncio.Task[None]:
        """Give a connection back, whoever waits for that."""
        task = asyncio.create_task(_close(connection), name="give a connection back")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        return task

    async def wait_until_reachable(self) -> None:
        """Wait until the server answers; `OutageError` if `max_retries` were not enough."""
        tries = 0
        while True:
            try:
                async with self.read() as connection:
                    await connection.execute(sa.select(1))
            except OutageError:
                tries += 1
                if tries > self._settings.max_retries >= 0:
                    raise
            else:
                return
            LOG.warning("waiting %d s for the database", self._settings.retry_interval)
            await asyncio.sleep(self._settings.retry_interval)

    async def wait_for_write(self, seconds: float) -> None:
        """Wait until a `write` has ended since the last such wait, `seconds` at most.

        For one task: it learns of this process's own changes at once, and polls for others'.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wrote.wait()
        self._wrote.clear()

    async def aclose(self) -> None:
        """Close the connections."""
        if self._closing:
            await asyncio.wait(self._closing)
        if self._moments is not None:
            await asyncio.to_thread(self._moments.close)
        await self._asking.dispose()
        await self._reading.dispose()
        await self._writing.dispose()


async def _close(connection: Connection) -> None:
    """Give a connection back, or break it off: what it was used for has ended in either case."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await connection.close()
    except (TimeoutError, DBAPIError, OSError) as error:
        LOG.warning("a connection to the database was broken off: %s", error or "no answer")
