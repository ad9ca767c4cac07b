"""What each operation of a store took, told to whoever keeps the figures.

    store = wrap(FilesystemStore(...), Watched(observer), Limited(...), Retrying(...))

Innermost, as here, it sees every attempt, and neither the wait for a place nor a pause is taken for
the store's.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from backends.base import (
    FileStream,
    PruneStore,
    ReadStore,
    ReadStream,
    Stat,
    Writer,
    WriteResult,
    WriteStore,
    is_file,
)
from backends.errors import StoreError
from backends.keptfile import KeptFile
from backends.location import Location
from backends.spans import Span
from backends.wrapping import Behaviour

Opened = TypeVar("Opened", bound=ReadStream | Writer)


class Observer(Protocol):
    """Hears of operations: `stat`, `read`, `create` or `delete`.  Called on the loop; never waits."""

    def moved(self, operation: str, count: int) -> None:
        """Some bytes have come or gone; so that a long transfer shows while it lasts."""

    def ended(self, operation: str, seconds: float, moved: int, error: StoreError | None) -> None:
        """An operation is over.

        `seconds` are those that the store took, without what its caller did between two pieces;
        `moved` are all its bytes, told before; `error` is the store's, None also for a caller
        who left early.
        """


def outcome(error: StoreError | None) -> str:
    """Return one word for how an operation ended: `ok`, or the error's kind (`missing`, …)."""
    return "ok" if error is None else type(error).__name__.removesuffix("Error").lower()


class Watched(Behaviour):
    """Tells an observer of every operation."""

    def __init__(self, observer: Observer, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._observer = observer
        self._clock = clock

    def __repr__(self) -> str:
        return "Watched()"

    def _begin(self, operation: str) -> _Watch:
        return _Watch(self._observer, self._clock, operation)

    async def stat(self, inner: ReadStore, location: Location) -> Stat:
        """Watch a look."""
        watch = self._begin("stat")
        try:
            with watch:
                return await inner.stat(location)
        finally:
            watch.end()

    def read(
        self, inner: ReadStore, location: Location, span: Span | None
    ) -> AbstractAsyncContextManager[ReadStream]:
        """Watch a read until it is left."""
        return _WatchedOpening(self._begin("read"), inner.read(location, span), _watched_stream)

    def create(
        self, inner: WriteStore, name: str, size: int | None
    ) -> AbstractAsyncContextManager[Writer]:
        """Watch a write until it is left."""
        return _WatchedOpening(self._begin("create"), inner.create(name, size), _WatchedWriter)

    async def delete(self, inner: PruneStore, location: Location) -> None:
        """Watch a deletion."""
        watch = self._begin("delete")
        try:
            with watch:
                await inner.delete(location)
        finally:
            watch.end()

    async def clear(self, inner: PruneStore, name: str) -> int:
        """Watch a removal of what was left."""
        watch = self._begin("clear")
        try:
            with watch:
                return await inner.clear(name)
        finally:
            watch.end()


class _Watch:
    """One operation.  `with watch:` stands around whatever the store does for it."""

    def __init__(self, observer: Observer, clock: Callable[[], float], operation: str) -> None:
        self._observer = observer
        self._clock = clock
        self._operation = operation
        self._seconds = 0.0
        self._moved = 0
        self._error: StoreError | None = None
        self._since = 0.0

    def __enter__(self) -> None:
        self._since = self._clock()

    def __exit__(
        self, _kind: object, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._seconds += self._clock() - self._since
        if self._error is None and isinstance(error, StoreError):
            self._error = error

    def move(self, count: int) -> None:
        self._moved += count
        self._observer.moved(self._operation, count)

    def once_more(self, count: int) -> None:
        """Tell of one more such operation, which took the store no time."""
        self._observer.moved(self._operation, count)
        self._observer.ended(self._operation, 0.0, count, None)

    def end(self) -> None:
        self._observer.ended(self._operation, self._seconds, self._moved, self._error)


class _WatchedOpening(Generic[Opened]):
    """A read or a write from its opening to its end.

    An error that its user raises inside is not the store's: the store's own context hands such a
    one on without raising it.
    """

    def __init__(
        self,
        watch: _Watch,
        inner: AbstractAsyncContextManager[Opened],
        watched: Callable[[Opened, _Watch], Opened],
    ) -> None:
        self._watch = watch
        self._inner = inner
        self._watched = watched

    async def __aenter__(self) -> Opened:
        try:
            with self._watch:
                opened = await self._inner.__aenter__()
        except BaseException:
            self._watch.end()
            raise
        return self._watched(opened, self._watch)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        try:
            with self._watch:
                return await self._inner.__aexit__(kind, error, trace)
        finally:
            self._watch.end()


class _WatchedStream:
    def __init__(self, inner: ReadStream, watch: _Watch) -> None:
        self._inner = inner
        self._pieces: AsyncIterator[bytes] = aiter(inner)
        self._watch = watch

    @property
    def size(self) -> int | None:
        return self._inner.size

    @property
    def version(self) -> str | None:
        return self._inner.version

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        with self._watch:
            piece = await anext(self._pieces)
        self._watch.move(len(piece))
        return piece


class _WatchedFile(_WatchedStream):
    _inner: FileStream

    def file(self) -> tuple[int, Span]:
        return self._inner.file()

    def sent(self, count: int) -> None:
        self._inner.sent(count)
        self._watch.move(count)

    def keep(self) -> KeptFile | None:
        kept = self._inner.keep()
        if kept is not None:
            kept.on_read = self._watch.once_more
        return kept


def _watched_stream(inner: ReadStream, watch: _Watch) -> ReadStream:
    offers_file = is_file(inner)
    return _WatchedFile(inner, watch) if offers_file else _WatchedStream(inner, watch)


class _WatchedWriter(Writer):
    def __init__(self, inner: Writer, watch: _Watch) -> None:
        self._inner = inner
        self._watch = watch

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        with self._watch:
            await self._inner.write(data)
        self._watch.move(memoryview(data).nbytes)

    async def publish(self) -> WriteResult:
        with self._watch:
            return await self._inner.publish()

    def keep(self) -> None:
        self._inner.keep()
