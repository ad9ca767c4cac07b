"""A store that misbehaves on purpose, as a script says: for tests, benchmarks and drills.

    slow = Wait(at=MIB)
    store = wrap(MemoryStore(), Faulty(read=[[slow, Alter(at=2 * MIB)], [], [Fail(DeniedError("no"))]]))

The first read stops before its second mebibyte until `slow.gate` is set and then has one wrong
byte, the second is served well, the third is denied, all others are served well.  Positions are
the object's, whatever span is read; a fault of a byte that a read does not cover does not happen.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

from backends.base import (
    PruneStore,
    ReadStore,
    ReadStream,
    Stat,
    Writer,
    WriteResult,
    WriteStore,
)
from backends.errors import StoreError
from backends.location import Location
from backends.spans import END, Span
from backends.wrapping import Behaviour

BEGIN = -1  # the position of what happens before anything else


@dataclass(slots=True)
class Fail:
    """Raise `error` where byte `at` is due; `at=END`: after the last byte, or at the commit."""

    error: StoreError
    at: int = BEGIN


@dataclass(slots=True)
class Wait:
    """Stand still where byte `at` is due until the gate opens: for ever if nobody opens it."""

    at: int = BEGIN
    gate: asyncio.Event | asyncio.Barrier = field(default_factory=asyncio.Event)
    reached: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class Alter:
    """Flip bits of byte `at`."""

    at: int
    bits: int = 0xFF


@dataclass(slots=True)
class End:
    """End quietly before byte `at`, as no honest store does."""

    at: int


@dataclass(slots=True)
class Insert:
    """Give bytes that are not the object's before byte `at`; `at=END`: after the last one."""

    data: bytes
    at: int = END


Fault = Fail | Wait | Alter | End | Insert
Script = Iterable[Iterable[Fault]]


class Faulty(Behaviour):
    """Obeys a script: for each kind of operation, the faults of the first, the second, …

    After its end, and for empty entries, operations are served well.  `begun` and `ended` count
    the operations by name.  With `hide_size` the store never tells how long anything is.
    """

    def __init__(  # noqa: PLR0913  # a script for each operation
        self,
        *,
        stat: Script = (),
        read: Script = (),
        create: Script = (),
        delete: Script = (),
        clear: Script = (),
        hide_size: bool = False,
    ) -> None:
        scripts = {"stat": stat, "read": read, "create": create, "delete": delete, "clear": clear}
        self._scripts = {name: deque(map(list, script)) for name, script in scripts.items()}
        self._hide_size = hide_size
        self.begun: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()

    def __repr__(self) -> str:
        left = {name: len(script) for name, script in self._scripts.items() if script}
        return f"Faulty(left={left})"

    @asynccontextmanager
    async def _operation(self, name: str, start: int = 0) -> AsyncIterator[_Course]:
        script = self._scripts[name]
        course = _Course(script.popleft() if script else [], start)
        self.begun[name] += 1
        try:
            await course.begin()
            yield course
        finally:
            self.ended[name] += 1

    async def stat(self, inner: ReadStore, location: Location) -> Stat:
        """Look at an object."""
        async with self._operation("stat"):
            stat = await inner.stat(location)
            return Stat(None) if self._hide_size else stat

    @asynccontextmanager
    async def read(
        self, inner: ReadStore, location: Location, span: Span | None
    ) -> AsyncIterator[ReadStream]:
        """Read with faults."""
        start = 0 if span is None else span.start
        async with (
            self._operation("read", start) as course,
            inner.read(location, span) as stream,
        ):
            yield _FaultyStream(stream, course, hide_size=self._hide_size)

    @asynccontextmanager
    async def create(self, inner: WriteStore, name: str, size: int | None) -> AsyncIterator[Writer]:
        """Write with faults."""
        async with self._operation("create") as course, inner.create(name, size) as writer:
            yield _FaultyWriter(writer, course)

    async def delete(self, inner: PruneStore, location: Location) -> None:
        """Delete an object."""
        async with self._operation("delete"):
            await inner.delete(location)

    async def clear(self, inner: PruneStore, name: str) -> int:
        """Remove what was left."""
        async with self._operation("clear"):
            return await inner.clear(name)


class _Course:
    """The faults of one operation, met in the order of their positions."""

    def __init__(self, faults: list[Fault], position: int) -> None:
        self._faults = deque(sorted(faults, key=lambda fault: fault.at))
        self._position = position
        self.ended = False

    async def begin(self) -> None:
        """Meet what stands before the first byte, and pass what lies before this span."""
        while self._faults and self._faults[0].at < self._position:
            fault = self._faults.popleft()
            if fault.at == BEGIN:
                await self._meet(fault, b"")

    async def advance(self, data: bytes) -> tuple[bytes, bytes]:
        """Return what passes of `data` before the next fault, and what is left of it."""
        while self._faults and self._faults[0].at == self._position:
            fault = self._faults.popleft()
            if isinstance(fault, Insert):
                return fault.data, data
            data = await self._meet(fault, data)
        if self.ended:
            return b"", b""
        count = len(data)
        if self._faults:
            count = min(count, self._faults[0].at - self._position)
        self._position += count
        return data[:count], data[count:]

    async def finish(self) -> bytes:
        """Meet what stands after the last byte; return what is added there."""
        added = b""
        at_the_end = [fault for fault in self._faults if fault.at == END]
        self._faults.clear()
        for fault in at_the_end:
            if isinstance(fault, Insert):
                added += fault.data
            else:
                await self._meet(fault, b"")
        return added

    async def _meet(self, fault: Fault, data: bytes) -> bytes:
        match fault:
            case Fail():
                raise fault.error
            case Wait():
                fault.reached.set()
                await fault.gate.wait()
            case Alter():
                return bytes([data[0] ^ fault.bits]) + data[1:] if data else data
            case End():
                self.ended = True
            case Insert():
                raise AssertionError("inserted where it is met")
        return data


class _FaultyStream:
    def __init__(self, inner: ReadStream, course: _Course, *, hide_size: bool) -> None:
        self._inner = inner
        self._pieces = aiter(inner)
        self._course = course
        self._hide_size = hide_size
        self._left = b""

    @property
    def size(self) -> int | None:
        return None if self._hide_size else self._inner.size

    @property
    def version(self) -> str | None:
        return self._inner.version

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._course.ended:
            if not self._left:
                self._left = await anext(self._pieces, b"")
            if not self._left:
                if added := await self._course.finish():
                    return added
                break
            passed, self._left = await self._course.advance(self._left)
            if passed:
                return passed
        raise StopAsyncIteration


class _FaultyWriter(Writer):
    def __init__(self, inner: Writer, course: _Course) -> None:
        self._inner = inner
        self._course = course

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        left = bytes(data)
        while left and not self._course.ended:
            passed, left = await self._course.advance(left)
            await self._inner.write(passed)

    async def publish(self) -> WriteResult:
        if not self._course.ended:
            await self._inner.write(await self._course.finish())
        return await self._inner.publish()

    def keep(self) -> None:
        self._inner.keep()
