"""Behaviour added to a store from outside: a store goes in, a store of the same rung comes out.

    wrap(FilesystemStore(...), Limited(64, ...), Retrying(...))

is a store whose every operation passes `Retrying`, then `Limited`, then the driver, and whose
repr says so: `Retrying(attempts=4) > Limited(at_once=64) > FilesystemStore(/images)`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
)
from dataclasses import dataclass
from typing import Self, TypeVar, overload

from backends.base import (
    PruneStore,
    ReadStore,
    ReadStream,
    Stat,
    Writer,
    WriteStore,
    is_file,
)
from backends.errors import (
    InvalidError,
    MissingError,
    StoreError,
    ThrottledError,
    UnavailableError,
)
from backends.keptfile import KeptFile
from backends.location import Location
from backends.spans import END, Span

T = TypeVar("T")
_log = logging.getLogger(__name__)

PROGRESS_BYTES = 1 << 20  # a read that brought so much since its last failure may fail afresh


class Behaviour:
    """What happens around each operation; each passes through unless a subclass says otherwise."""

    async def stat(self, inner: ReadStore, location: Location) -> Stat:
        """Around `inner.stat`."""
        return await inner.stat(location)

    def read(
        self, inner: ReadStore, location: Location, span: Span | None
    ) -> AbstractAsyncContextManager[ReadStream]:
        """Around `inner.read`."""
        return inner.read(location, span)

    def create(
        self, inner: WriteStore, name: str, size: int | None
    ) -> AbstractAsyncContextManager[Writer]:
        """Around `inner.create`."""
        return inner.create(name, size)

    async def require_unused(self, inner: PruneStore, location: Location) -> None:
        """Around `inner.require_unused`."""
        await inner.require_unused(location)

    async def delete(self, inner: PruneStore, location: Location) -> None:
        """Around `inner.delete`."""
        await inner.delete(location)

    async def clear(self, inner: PruneStore, name: str) -> int:
        """Around `inner.clear`."""
        return await inner.clear(name)


class _Wrapped:
    def __init__(self, inner: ReadStore, behaviour: Behaviour) -> None:
        self._inner = inner
        self._behaviour = behaviour

    def __repr__(self) -> str:
        return f"{self._behaviour!r} > {self._inner!r}"

    async def stat(self, location: Location) -> Stat:
        return await self._behaviour.stat(self._inner, location)

    def read(
        self, location: Location, span: Span | None = None
    ) -> AbstractAsyncContextManager[ReadStream]:
        return self._behaviour.read(self._inner, location, span)

    async def aclose(self) -> None:
        await self._inner.aclose()


class _WrappedWrite(_Wrapped):
    _inner: WriteStore

    def create(self, name: str, size: int | None = None) -> AbstractAsyncContextManager[Writer]:
        return self._behaviour.create(self._inner, name, size)


class _WrappedPrune(_WrappedWrite):
    _inner: PruneStore

    async def require_unused(self, location: Location) -> None:
        await self._behaviour.require_unused(self._inner, location)

    async def delete(self, location: Location) -> None:
        await self._behaviour.delete(self._inner, location)

    async def clear(self, name: str) -> int:
        return await self._behaviour.clear(self._inner, name)


@overload
def wrap(store: PruneStore, *behaviours: Behaviour) -> PruneStore: ...
@overload
def wrap(store: WriteStore, *behaviours: Behaviour) -> WriteStore: ...
@overload
def wrap(store: ReadStore, *behaviours: Behaviour) -> ReadStore: ...
def wrap(store: ReadStore, *behaviours: Behaviour) -> ReadStore:
    """Return `store` inside `behaviours`, the last one outermost; it can do what `store` can."""
    for behaviour in behaviours:
        match store:
            case PruneStore():
                store = _WrappedPrune(store, behaviour)
            case WriteStore():
                store = _WrappedWrite(store, behaviour)
            case _:
                store = _Wrapped(store, behaviour)
    return store


class CrowdedError(ThrottledError):
    """No place became free in time.  Who tried again would stand at the end of the queue."""


class Limited(Behaviour):
    """At most `at_once` calls, open reads and open writes.

    Others wait `wait_seconds`, then fail with a `CrowdedError`, which is not tried again: so a task
    that reads while it writes to one store cannot wait for itself for ever.
    """

    def __init__(self, at_once: int, wait_seconds: float) -> None:
        self._at_once = at_once
        self._wait_seconds = wait_seconds
        self._places = asyncio.Semaphore(at_once)

    def __repr__(self) -> str:
        return f"Limited(at_once={self._at_once})"

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._places.acquire()
        except TimeoutError:
            raise CrowdedError(
                f"{self!r}: no place became free within {self._wait_seconds} s"
            ) from None
        try:
            yield
        finally:
            self._places.release()

    async def stat(self, inner: ReadStore, location: Location) -> Stat:
        """Look in a place of its own."""
        async with self._place():
            return await inner.stat(location)

    @asynccontextmanager
    async def read(
        self, inner: ReadStore, location: Location, span: Span | None
    ) -> AsyncIterator[ReadStream]:
        """Hold a place as long as the object is open."""
        async with self._place(), inner.read(location, span) as stream:
            yield stream

    @asynccontextmanager
    async def create(self, inner: WriteStore, name: str, size: int | None) -> AsyncIterator[Writer]:
        """Hold a place as long as the object is in the making."""
        async with self._place(), inner.create(name, size) as writer:
            yield writer

    async def require_unused(self, inner: PruneStore, location: Location) -> None:
        """Ask in a place of its own."""
        async with self._place():
            await inner.require_unused(location)

    async def delete(self, inner: PruneStore, location: Location) -> None:
        """Delete in a place of its own."""
        async with self._place():
            await inner.delete(location)

    async def clear(self, inner: PruneStore, name: str) -> int:
        """Clear in a place of its own."""
        async with self._place():
            return await inner.clear(name)


class Retrying(Behaviour):
    """Tries what failed as unavailable again, `attempts` times in all, with pauses in between.

    The pauses double, from `first_pause_seconds` to `pause_seconds_max`, each cut at random
    ("full jitter"), so that many clients of a store that comes back do not all come at once; by no
    more than half where the store asks to be asked less often.
    A read is taken up again at the byte where it broke.  What was written is gone with its
    writer, so of a write only the beginning is tried again.
    """

    def __init__(
        self,
        attempts: int,
        first_pause_seconds: float,
        pause_seconds_max: float,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.attempts = attempts
        self._first_pause_seconds = first_pause_seconds
        self._pause_seconds_max = pause_seconds_max
        self._sleep = sleep

    def __repr__(self) -> str:
        return f"Retrying(attempts={self.attempts})"

    async def pause(self, failures: int, error: UnavailableError) -> None:
        """Wait after the given number of failures in a row; raise `error` if they are enough."""
        if failures >= self.attempts or isinstance(error, CrowdedError):
            raise error
        _log.info("attempt %d of %d failed: %s", failures, self.attempts, error)
        longest = min(self._first_pause_seconds * 2 ** (failures - 1), self._pause_seconds_max)
        shortest = longest / 2 if isinstance(error, ThrottledError) else 0.0
        await self._sleep(random.uniform(shortest, longest))  # noqa: S311  # spreads load, no secret

    async def tried(self, act: Callable[[], Awaitable[T]]) -> T:
        """Return what `act` returns, at the first attempt that does not fail as unavailable."""
        failures = 0
        while True:
            try:
                return await act()
            except UnavailableError as error:
                failures += 1
                await self.pause(failures, error)

    async def stat(self, inner: ReadStore, location: Location) -> Stat:
        """Look until there is an answer."""
        return await self.tried(lambda: inner.stat(location))

    @asynccontextmanager
    async def read(
        self, inner: ReadStore, location: Location, span: Span | None
    ) -> AsyncIterator[ReadStream]:
        """Read, and read on after a failure."""
        async with AsyncExitStack() as stack:
            stream = await self.tried(lambda: stack.enter_async_context(inner.read(location, span)))
            resumed = _ResumedFile if is_file(stream) else _ResumedStream
            yield resumed(self, _Object(inner, location), span, stack, stream)

    @asynccontextmanager
    async def create(self, inner: WriteStore, name: str, size: int | None) -> AsyncIterator[Writer]:
        """Begin until it can be begun."""
        async with AsyncExitStack() as stack:
            yield await self.tried(lambda: stack.enter_async_context(inner.create(name, size)))

    async def delete(self, inner: PruneStore, location: Location) -> None:
        """Delete until it is gone; an attempt without an answer may have done it."""
        attempts = 0

        async def attempt() -> None:
            nonlocal attempts
            attempts += 1
            try:
                await inner.delete(location)
            except MissingError:
                if attempts == 1:
                    raise

        await self.tried(attempt)

    async def clear(self, inner: PruneStore, name: str) -> int:
        """Clear until all is gone."""
        return await self.tried(lambda: inner.clear(name))


@dataclass(frozen=True, slots=True)
class _Object:
    store: ReadStore
    location: Location


class _ResumedStream:
    """A read that is opened again, at the byte, when it breaks."""

    def __init__(
        self,
        retrying: Retrying,
        source: _Object,
        span: Span | None,
        stack: AsyncExitStack,
        stream: ReadStream,
    ) -> None:
        self._retrying = retrying
        self._inner = source.store
        self._location = source.location
        self._span = span  # None: whole, and nothing of it has come yet
        self._left = Span(0, END) if span is None else span
        self._stack = stack  # holds the one open read
        self._stream: ReadStream | None = stream
        self._pieces: AsyncIterator[bytes] | None = aiter(stream)
        self._size: int | None = None
        self._version = stream.version
        self._failures = 0
        self._progress = 0  # bytes since the last failure

    @property
    def size(self) -> int | None:
        if self._stream is not None and self._stream.size is not None:
            return self._stream.size
        return self._size

    @property
    def version(self) -> str | None:
        return self._version

    async def _open(self) -> None:
        """Open what is left."""
        stream = await self._stack.enter_async_context(self._inner.read(self._location, self._span))
        if self._size is not None and stream.size not in (None, self._size):
            raise InvalidError(
                f"{self._location}: had {self._size} bytes and has {stream.size} now"
            )
        if self._version is not None and stream.version not in (None, self._version):
            raise InvalidError(f"{self._location}: was replaced while it was read")
        self._version = self._version or stream.version
        self._stream, self._pieces = stream, aiter(stream)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while True:
            try:
                if self._pieces is None:
                    if self._is_complete():
                        raise StopAsyncIteration
                    await self._open()
                    continue
                piece = await anext(self._pieces)
            except UnavailableError as error:
                await self._failed(error)
            else:
                if len(piece) > len(self._left):
                    raise InvalidError(f"{self._location}: more bytes than were asked for")
                self._passed(len(piece))
                return piece

    def _passed(self, count: int) -> None:
        self._left = self._span = Span(self._left.start + count, self._left.stop)
        self._progress += count

    def _is_complete(self) -> bool:
        stop = self._left.stop if self._size is None else min(self._left.stop, self._size)
        return self._left.start >= stop

    async def _failed(self, error: UnavailableError) -> None:
        self._size = self.size
        self._stream = self._pieces = None
        if self._progress >= PROGRESS_BYTES:
            self._failures = 0
        self._failures += 1
        self._progress = 0
        try:
            await self._stack.aclose()  # a failing store is not held while we wait
        except StoreError as closing:
            _log.info("%s: %s, and to leave it: %s", self._location, error, closing)
        await self._retrying.pause(self._failures, error)


class _ResumedFile(_ResumedStream):
    """Its file is that of the open read; where there is none, iterating opens one."""

    def file(self) -> tuple[int, Span]:
        if is_file(self._stream):
            return self._stream.file()
        return -1, Span(self._left.start, self._left.start)

    def sent(self, count: int) -> None:
        assert is_file(self._stream)
        self._stream.sent(count)
        self._passed(count)

    def keep(self) -> KeptFile | None:
        return self._stream.keep() if is_file(self._stream) else None
