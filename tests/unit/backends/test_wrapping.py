from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import pytest

from backends.base import FileStream, PruneStore, ReadStore, ReadStream, Stat, WriteStore
from backends.errors import (
    MissingError,
    ThrottledError,
    UnavailableError,
)
from backends.faulty import Fail, Faulty, Wait
from backends.location import Location
from backends.memory import MemoryStore
from backends.options import MemoryOptions
from backends.spans import Span
from backends.wrapping import (
    Behaviour,
    Limited,
    Retrying,
    wrap,
)
from contracts.subject import pattern, read, write

PIECE = 16
CONTENT = pattern(4 * PIECE)
DOWN = UnavailableError("down")


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore(MemoryOptions(piece_bytes=PIECE))


@pytest.fixture
async def location(memory: MemoryStore) -> Location:
    return await write(memory, "image", CONTENT)


class Pauses:
    """Stands in for the clock: what was slept, not when."""

    def __init__(self) -> None:
        self.made: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.made.append(seconds)


class ReadOnly:
    def __init__(self, inner: ReadStore) -> None:
        self.stat, self.read, self.aclose = inner.stat, inner.read, inner.aclose

    def __repr__(self) -> str:
        return "ReadOnly()"


class WriteOnly(ReadOnly):
    def __init__(self, inner: WriteStore) -> None:
        super().__init__(inner)
        self.create = inner.create


class TestWrap:
    def test_keeps_the_rung(self, memory: MemoryStore) -> None:
        for behaviour in (Behaviour(), Limited(1, 1.0), Retrying(1, 1.0, 1.0), Faulty()):
            assert isinstance(wrap(memory, behaviour), PruneStore)
            written = wrap(WriteOnly(memory), behaviour)
            assert isinstance(written, WriteStore)
            assert not isinstance(written, PruneStore)
            assert not isinstance(wrap(ReadOnly(memory), behaviour), WriteStore)

    def test_repr_shows_the_stack(self, memory: MemoryStore) -> None:
        store = wrap(memory, Limited(8, 1.0), Retrying(3, 0.1, 1.0), Faulty(read=[[], []]))
        assert repr(store) == (
            "Faulty(left={'read': 2}) > Retrying(attempts=3) > Limited(at_once=8)"
            " > MemoryStore(0 objects)"
        )
        assert wrap(memory) is memory

    async def test_closes_what_is_inside(self, memory: MemoryStore, location: Location) -> None:
        await wrap(memory, Behaviour(), Limited(1, 1.0)).aclose()
        with pytest.raises(MissingError):
            await memory.stat(location)


class TestLimited:
    async def test_bounds_what_is_open(self, memory: MemoryStore, location: Location) -> None:
        faulty = Faulty()
        store = wrap(memory, faulty, Limited(2, 10.0))
        leave = asyncio.Event()
        both = asyncio.Barrier(3)

        async def reader() -> bytes:
            async with store.read(location) as stream:
                await both.wait()
                await leave.wait()
                return b"".join([piece async for piece in stream])

        readers = [asyncio.create_task(reader()) for _ in range(2)]
        await both.wait()
        others = [
            asyncio.create_task(read(store, location)),
            asyncio.create_task(store.stat(location)),
            asyncio.create_task(write(store, "other", CONTENT)),
            asyncio.create_task(store.delete(Location("memory:///absent"))),
        ]
        for _ in range(20):
            await asyncio.sleep(0)
        assert faulty.begun == {"read": 2}
        leave.set()
        results = await asyncio.gather(*readers, *others, return_exceptions=True)
        assert results[:4] == [CONTENT, CONTENT, CONTENT, Stat(len(CONTENT))]
        assert isinstance(results[5], MissingError)
        assert faulty.begun == {"read": 3, "stat": 1, "create": 1, "delete": 1}

    async def test_waits_are_bounded(self, memory: MemoryStore, location: Location) -> None:
        store = wrap(memory, Limited(1, 0.02))
        async with store.read(location) as stream:
            with pytest.raises(ThrottledError, match="no place became free"):
                await store.stat(location)
            with pytest.raises(ThrottledError):
                await write(store, "other", b"x")
            assert b"".join([piece async for piece in stream]) == CONTENT
        assert await read(store, location) == CONTENT

    async def test_places_are_given_back(self, memory: MemoryStore, location: Location) -> None:
        failing = Faulty(read=[[Fail(DOWN)], [Fail(DOWN, 1)]], stat=[[Fail(DOWN)]])
        store = wrap(memory, failing, Limited(1, 0.02))
        for _ in range(2):
            with pytest.raises(UnavailableError, match="down"):
                await read(store, location)
        with pytest.raises(UnavailableError, match="down"):
            await store.stat(location)
        hanging = Wait()
        store = wrap(memory, Faulty(read=[[hanging]]), Limited(1, 10.0))
        reader = asyncio.create_task(read(store, location))
        await hanging.reached.wait()
        second = asyncio.create_task(read(store, location))
        await asyncio.sleep(0)
        reader.cancel()
        assert await second == CONTENT
        await asyncio.wait({reader})
        assert reader.cancelled()


class Sendable(Behaviour):
    """Gives streams of which all that is left could be sent, as if in a file."""

    @asynccontextmanager
    async def read(
        self, inner: ReadStore, location: Location, span: Span | None
    ) -> AsyncIterator[ReadStream]:
        async with inner.read(location, span) as stream:
            yield SendableStream(stream, span or Span(0, len(CONTENT)))


class SendableStream:
    version = None
    descriptor = 99

    def __init__(self, inner: ReadStream, left: Span) -> None:
        self.size = inner.size
        self._pieces = aiter(inner)
        self._left = left.clip(Span(0, len(CONTENT)))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        piece = await anext(self._pieces)
        self.sent(len(piece))
        return piece

    def file(self) -> tuple[int, Span]:
        return self.descriptor, self._left

    def sent(self, count: int) -> None:
        self._left = Span(self._left.start + count, self._left.stop)


class TestFiles:
    async def test_what_passes_a_stream_on_offers_its_file(
        self, memory: MemoryStore, location: Location
    ) -> None:
        limited = wrap(memory, Sendable(), Limited(1, 1.0), Retrying(2, 1.0, 1.0))
        async with limited.read(location, Span(3, 50)) as stream:
            assert isinstance(stream, FileStream)
            assert stream.file() == (99, Span(3, 50))
            stream.sent(7)
            assert stream.file() == (99, Span(10, 50))
        faulty = wrap(memory, Sendable(), Faulty())
        async with faulty.read(location) as stream:
            assert not isinstance(stream, FileStream)
        async with wrap(memory, Limited(1, 1.0), Retrying(2, 1.0, 1.0)).read(location) as stream:
            assert not isinstance(stream, FileStream)

    async def test_a_read_goes_on_behind_what_was_sent(
        self, memory: MemoryStore, location: Location
    ) -> None:
        faulty = Faulty(read=[[Fail(DOWN, 20)]])
        pauses = Pauses()
        store = wrap(memory, faulty, Sendable(), Retrying(2, 1.0, 1.0, sleep=pauses))
        async with store.read(location) as stream:
            assert isinstance(stream, FileStream)
            pieces = aiter(stream)
            assert await anext(pieces) + await anext(pieces) == CONTENT[:20]
            stream.sent(10)  # then the read breaks
            assert await anext(pieces) == CONTENT[30:46]
            assert len(pauses.made) == 1
            assert stream.file() == (99, Span(46, len(CONTENT)))

    async def test_what_failed_for_good_has_no_file(
        self, memory: MemoryStore, location: Location
    ) -> None:
        store = wrap(memory, Faulty(read=[[Fail(DOWN, 0)]]), Sendable(), Retrying(1, 1.0, 1.0))
        async with store.read(location) as stream:
            assert isinstance(stream, FileStream)
            with pytest.raises(UnavailableError):
                await anext(aiter(stream))
            assert not len(stream.file()[1])
