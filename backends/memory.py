"""Objects in memory: the reference driver, which says what the port means.

Locations are `memory:///NAME`, and belong to the one store object that made them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

from backends.base import Stat, Writer, WriteResult
from backends.errors import DuplicateError, InvalidError, MissingError, NoSpaceError
from backends.location import Location, checked_name
from backends.options import MemoryOptions
from backends.spans import Span
from backends.tally import Tally

_PREFIX = "memory:///"


class MemoryStore:
    """A `PruneStore` in a dictionary."""

    def __init__(self, options: MemoryOptions | None = None) -> None:
        self._options = options or MemoryOptions()
        self._objects: dict[str, bytes] = {}
        self._unkept: dict[str, _MemoryWriter] = {}  # of some of them: who may take them away
        self._unfinished_bytes = 0

    def __repr__(self) -> str:
        return f"MemoryStore({len(self._objects)} objects)"

    @property
    def names(self) -> frozenset[str]:
        """What is there."""
        return frozenset(self._objects)

    @property
    def used_bytes(self) -> int:
        """The bytes of all objects, and of those in the making."""
        return self._unfinished_bytes + sum(map(len, self._objects.values()))

    async def stat(self, location: Location) -> Stat:
        """Look at an object."""
        await asyncio.sleep(0)
        return Stat(len(self._look_up(location)))

    @asynccontextmanager
    async def read(
        self, location: Location, span: Span | None = None
    ) -> AsyncIterator[_MemoryStream]:
        """Read an object as it was when it was opened, also if it is deleted meanwhile."""
        await asyncio.sleep(0)
        content = self._look_up(location)
        whole = Span(0, len(content))
        clipped = whole if span is None else span.clip(whole)
        yield _MemoryStream(content, clipped, self._options.piece_bytes)

    @asynccontextmanager
    async def create(self, name: str, size: int | None = None) -> AsyncIterator[_MemoryWriter]:
        """Begin an object."""
        await asyncio.sleep(0)
        if checked_name(name) in self._objects:
            raise DuplicateError(f"{_PREFIX}{name}: is there already")
        writer = _MemoryWriter(self, name, size)
        try:
            yield writer
        finally:
            self._unfinished_bytes -= len(writer.content)
            if self._unkept.get(name) is writer:
                self._forget(name)

    async def require_unused(self, location: Location) -> None:
        """Let it go: nothing is told of who uses an object."""

    async def delete(self, location: Location) -> None:
        """Delete an object."""
        await asyncio.sleep(0)
        self._look_up(location)
        self._forget(self._name(location))

    async def clear(self, name: str) -> int:
        """Delete an object, if it is there; what its writers hold goes with them."""
        await asyncio.sleep(0)
        return int(self._forget(checked_name(name)))

    async def aclose(self) -> None:
        """Forget everything."""
        self._objects.clear()

    def take(self, count: int) -> None:
        """Take room for an object in the making; NoSpaceError if there is none."""
        if self.used_bytes + count > self._options.capacity_bytes:
            raise NoSpaceError(f"{self!r}: {self._options.capacity_bytes} bytes are its capacity")
        self._unfinished_bytes += count

    def publish(self, name: str, content: bytes, writer: _MemoryWriter) -> WriteResult:
        """Make a finished object readable; DuplicateError if the name was taken meanwhile."""
        if name in self._objects:
            raise DuplicateError(f"{_PREFIX}{name}: is there already")
        self._objects[name] = content
        self._unkept[name] = writer
        return WriteResult(Location(_PREFIX + name), len(content))

    def keep(self, name: str, writer: _MemoryWriter) -> None:
        """Let an object stay, if it is this writer's still."""
        if self._unkept.get(name) is writer:
            del self._unkept[name]

    def _forget(self, name: str) -> bool:
        self._unkept.pop(name, None)
        return self._objects.pop(name, None) is not None

    def _look_up(self, location: Location) -> bytes:
        try:
            return self._objects[self._name(location)]
        except KeyError:
            raise MissingError(f"{location}: is not there") from None

    @staticmethod
    def _name(location: Location) -> str:
        if not location.uri.startswith(_PREFIX):
            raise InvalidError(f"{location}: not a location of this store")
        return checked_name(location.uri.removeprefix(_PREFIX))


class _MemoryStream:
    version = None

    def __init__(self, content: bytes, span: Span, piece_bytes: int) -> None:
        self._content = content
        self._span = span
        self._piece_bytes = piece_bytes

    @property
    def size(self) -> int:
        return len(self._content)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        await asyncio.sleep(0)
        if not len(self._span):
            raise StopAsyncIteration
        end = min(self._span.start + self._piece_bytes, self._span.stop)
        piece = self._content[self._span.start : end]
        self._span = Span(end, self._span.stop)
        return piece


class _MemoryWriter(Writer):
    def __init__(self, store: MemoryStore, name: str, size: int | None) -> None:
        self._store = store
        self._name = name
        self._tally = Tally(name, size)
        self.content = bytearray()

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        await asyncio.sleep(0)
        view = memoryview(data).cast("B")
        self._tally.add(len(view))
        self._store.take(len(view))
        self.content += view

    async def publish(self) -> WriteResult:
        await asyncio.sleep(0)
        self._tally.finish()
        if len(self.content) != self._tally.written:
            raise InvalidError(f"{self._name}: some of it could not be written")
        return self._store.publish(self._name, bytes(self.content), self)

    def keep(self) -> None:
        self._store.keep(self._name, self)
