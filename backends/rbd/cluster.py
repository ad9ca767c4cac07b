"""The connection to a Ceph cluster: one for all operations, made anew when it was lost.

Librados reaches daemons again by itself, however long they were away.  A connection is lost only
where the cluster has shut this client out, as it does with one that it took for dead.

Every call of librados ends within `answer_seconds`, because it is told so: that bounds what is
sent in the background too, and the end of the process.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any, TypeVar

import rados

from backends.errors import DeniedError, StoreError, UnavailableError
from backends.rbd.errors import CEPH_ERRORS, failure, number_of
from backends.rbd.options import RbdOptions
from backends.threads import Lane, Threads

T = TypeVar("T")
_log = logging.getLogger(__name__)

_CALLS_IN_ONE = 4  # of librados, one after another, that may run into their time in one of ours
_LOST = (errno.ESHUTDOWN, errno.ENOTCONN)
_REFUSALS = (errno.EACCES, errno.EPERM)


class Connection:
    """A connected handle of librados; closed when nobody uses it any more."""

    def __init__(self, handle: rados.Rados, fsid: str) -> None:
        self.handle = handle
        self.fsid = fsid
        self._lock = threading.Lock()
        self._users = 1  # the cluster itself, until it closes, or the connection is lost

    def take(self) -> None:
        """Count one more user, before the last one has left."""
        with self._lock:
            self._users += 1

    def give_back(self) -> None:
        """Count one user less; the last one closes the connection.  Blocks."""
        with self._lock:
            self._users -= 1
            if self._users:
                return
        self.handle.shutdown()


class Visit:
    """What one operation has of the cluster: a lane, and what it opened, closed in its last call.

    Whatever blocks runs through `run`; `begin` and `ended` are for what librbd does by itself.
    """

    def __init__(self, cluster: Cluster, connection: Connection, lane: Lane, what: object) -> None:
        self.connection = connection
        self.lane = lane
        self.opened = ExitStack()
        self.opened.callback(connection.give_back)
        self._cluster = cluster
        self.hang_seconds = cluster.hang_seconds
        self.what = what

    async def run(self, call: Callable[[], T]) -> T:
        """Run a call that blocks in a thread; its errors are the store's."""
        try:
            return await self.lane.run(call)
        except CEPH_ERRORS as error:
            raise self._failure(number_of(error)) from error

    def begin(self, submit: Callable[[Callable[..., None]], object]) -> asyncio.Future[Any]:
        """Let librbd begin something; `submit` is given what to call when it ends, in any thread.

        The future tells librbd's result and data, and never fails.
        """
        loop = asyncio.get_running_loop()
        future = loop.create_future()

        def settle(result: int, data: bytes | None) -> None:
            if not future.done():
                future.set_result((result, data))

        def called(completion: Any, data: bytes | None = None) -> None:
            with suppress(RuntimeError):  # the loop has ended before that
                loop.call_soon_threadsafe(settle, completion.get_return_value(), data)

        try:
            submit(called)
        except CEPH_ERRORS as error:
            raise self._failure(number_of(error)) from error
        return future

    async def ended(self, *begun: asyncio.Future[Any]) -> None:
        """Wait for what has begun; raises the first of their errors."""
        if begun:
            seconds = self.hang_seconds
            _, running = await asyncio.wait(begun, timeout=seconds)
            if running:
                raise UnavailableError(f"{self.what}: Ceph has not answered for {seconds} s")
        for future in begun:
            if (result := future.result()[0]) < 0:
                raise self._failure(result)

    def pool(self, name: str) -> rados.Ioctx:
        """Open a pool.  Blocks."""
        pool = self.connection.handle.open_ioctx(name)
        self.opened.callback(pool.close)
        return pool

    def close(self) -> None:
        """Close all that was opened.  Blocks."""
        try:
            self.opened.close()
        except CEPH_ERRORS as error:
            _log.warning("%s: could not be closed well: %s", self.what, error)

    def _failure(self, number: int) -> StoreError:
        if abs(number) in _LOST:
            self._cluster.lose(self.connection)
        return failure(self.what, number)


class Cluster:
    """A Ceph cluster, connected to at the first visit."""

    def __init__(self, options: RbdOptions) -> None:
        self._options = options
        self.hang_seconds = _CALLS_IN_ONE * options.answer_seconds
        self._threads = Threads("rbd-store", options.threads, self.hang_seconds, asked="Ceph")
        self._connecting: asyncio.Task[Connection] | None = None

    @asynccontextmanager
    async def visit(self, what: object) -> AsyncIterator[Visit]:
        """Use the cluster for an operation; `what` is its object, for errors."""
        connection = await self._connected()
        visit = Visit(self, connection, self._threads.lane(), what)
        try:
            yield visit
        finally:
            await visit.lane.finish(visit.close)

    async def finish(self, cleanup: Callable[[], object]) -> None:
        """Run a call that blocks and belongs to no visit, also if cancelled meanwhile."""
        await self._threads.lane().finish(cleanup)

    def lose(self, connection: Connection) -> None:
        """Note that a connection is of no use any more: the next visit makes another one."""
        task = self._connecting
        if task is not None and task.done() and _made(task) is connection:
            self._connecting = None
            self._threads.submit(connection.give_back)

    async def aclose(self) -> None:
        """Let go of the connection; nothing may be under way any more."""
        task, self._connecting = self._connecting, None
        if task is not None:
            await asyncio.wait({task})
            if (connection := _made(task)) is not None:
                await self.finish(connection.give_back)
        self._threads.close()

    async def _connected(self) -> Connection:
        """Return the connection, taken; all who come meanwhile wait for one attempt."""
        task = self._connecting
        if task is None:
            task = self._connecting = asyncio.create_task(self._connect())
        await asyncio.wait({task})
        connection = _made(task)
        if connection is None:
            if self._connecting is task:
                self._connecting = None
            error = task.exception()
            assert error is not None
            raise type(error)(*error.args) from error
        connection.take()
        return connection

    async def _connect(self) -> Connection:
        lane = self._threads.lane()
        try:
            return await lane.run(lambda: _connection(self._options))
        finally:
            await lane.finish(lambda: None)


def _made(task: asyncio.Task[Connection]) -> Connection | None:
    return None if task.cancelled() or task.exception() is not None else task.result()


def _connection(options: RbdOptions) -> Connection:
    """Connect.  Blocks."""
    seconds = str(options.answer_seconds)
    settings = {
        "client_mount_timeout": seconds,
        "rados_mon_op_timeout": seconds,
        "rados_osd_op_timeout": seconds,
        "rbd_cache": "false",  # nothing is read twice, and what is written is gathered here
        "rbd_disable_zero_copy_writes": "false",  # nobody changes what is being written
    }
    file = str(options.configuration or "")  # empty: librados looks where ceph.conf may be
    try:
        handle = rados.Rados(conffile=file, rados_id=options.user or None, conf=settings)
    except CEPH_ERRORS as error:
        which = file or "where librados looks for it"
        raise UnavailableError(f"Ceph's configuration, {which}, cannot be read") from error
    try:
        handle.connect()
        return Connection(handle, str(handle.get_fsid()))
    except CEPH_ERRORS as error:
        handle.shutdown()
        number = number_of(error)
        kind = DeniedError if number in _REFUSALS else UnavailableError
        raise kind(failure("the connection to Ceph", number).args[0]) from error
