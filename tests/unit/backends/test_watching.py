from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from backends.base import FileStream, ReadStore
from backends.errors import (
    DeniedError,
    DuplicateError,
    InvalidError,
    StoreError,
    ThrottledError,
    UnavailableError,
)
from backends.faulty import Fail, Faulty, Wait
from backends.location import Location
from backends.memory import MemoryStore
from backends.opening import open_store
from backends.options import DataDirectory, FilesystemOptions, Handling, MemoryOptions
from backends.spans import Span
from backends.watching import Watched, outcome
from backends.wrapping import Behaviour, Retrying, wrap
from contracts.subject import pattern, read, write

PIECE = 16
CONTENT = pattern(4 * PIECE)
DOWN = UnavailableError("down")
MISSING = Location("memory:///absent")


class Notes:
    """An observer that keeps what it hears."""

    def __init__(self) -> None:
        self.moves: list[tuple[str, int]] = []
        self.ends: list[tuple[str, int, StoreError | None]] = []
        self.seconds: list[float] = []

    def moved(self, operation: str, count: int) -> None:
        self.moves.append((operation, count))

    def ended(self, operation: str, seconds: float, moved: int, error: StoreError | None) -> None:
        self.seconds.append(seconds)
        self.ends.append((operation, moved, error))


class Hand:
    """A clock that goes on by one at each look, and otherwise as it is told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore(MemoryOptions(piece_bytes=PIECE))


@pytest.fixture
async def location(memory: MemoryStore) -> Location:
    return await write(memory, "image", CONTENT)


async def test_every_operation(memory: MemoryStore, notes: Notes) -> None:
    store = wrap(memory, Watched(notes))
    assert repr(store) == f"Watched() > {memory!r}"
    location = await write(store, "image", CONTENT)
    await store.stat(location)
    assert await read(store, location, Span(1, 20)) == CONTENT[1:20]
    await store.delete(location)
    assert notes.ends == [
        ("create", len(CONTENT), None),
        ("stat", 0, None),
        ("read", 19, None),
        ("delete", 0, None),
    ]
    assert notes.moves == [("create", len(CONTENT)), ("read", PIECE), ("read", 3)]


async def test_bytes_show_while_they_move(
    memory: MemoryStore, location: Location, notes: Notes
) -> None:
    store = wrap(memory, Watched(notes))
    async with store.read(location) as stream:
        await anext(aiter(stream))
        assert notes.moves == [("read", PIECE)]
        assert notes.ends == []
    assert notes.ends == [("read", PIECE, None)]
    async with store.create("other") as writer:
        await writer.write(memoryview(b"abcd").cast("H"))
        assert notes.moves[1:] == [("create", 4)]
    assert notes.ends[1:] == [("create", 4, None)]


async def test_errors_of_the_store(memory: MemoryStore, location: Location, notes: Notes) -> None:
    faulty = Faulty(
        stat=[[Fail(DeniedError("no"))]],
        read=[[Fail(DOWN)], [Fail(DOWN, PIECE + 1)]],
        create=[[Fail(DOWN, 3)], []],
    )
    store = wrap(memory, faulty, Watched(notes))
    for operation in (
        store.stat(location),
        read(store, location),
        read(store, location),
        write(store, "other", b"xxxx"),
        write(store, "image", b"x"),
        store.delete(MISSING),
    ):
        with pytest.raises(StoreError):
            await operation
    assert [(name, moved, outcome(error)) for name, moved, error in notes.ends] == [
        ("stat", 0, "denied"),
        ("read", 0, "unavailable"),
        ("read", PIECE + 1, "unavailable"),
        ("create", 0, "unavailable"),
        ("create", 0, "duplicate"),
        ("delete", 0, "missing"),
    ]


async def test_errors_of_others_are_not_the_stores(
    memory: MemoryStore, location: Location, notes: Notes
) -> None:
    store = wrap(memory, Watched(notes))
    with pytest.raises(InvalidError):
        async with store.read(location):
            raise InvalidError("what the reader found")
    with pytest.raises(DuplicateError):
        async with store.create("other"):
            raise DuplicateError("another store's")
    assert notes.ends == [("read", 0, None), ("create", 0, None)]
    assert memory.names == {"image"}


async def test_an_error_at_the_end(memory: MemoryStore, location: Location, notes: Notes) -> None:
    class FailsAtTheEnd(Behaviour):
        @asynccontextmanager
        async def read(
            self, inner: ReadStore, location: Location, span: Span | None
        ) -> AsyncIterator[Any]:
            async with inner.read(location, span) as stream:
                yield stream
            raise DOWN

    with pytest.raises(UnavailableError):
        await read(wrap(memory, FailsAtTheEnd(), Watched(notes)), location)
    assert notes.ends == [("read", len(CONTENT), DOWN)]


async def test_who_is_cancelled(memory: MemoryStore, location: Location, notes: Notes) -> None:
    for at in (-1, PIECE):
        hanging = Wait(at=at)
        store = wrap(memory, Faulty(read=[[hanging]]), Watched(notes))
        reader = asyncio.create_task(read(store, location))
        await hanging.reached.wait()
        reader.cancel()
        await asyncio.wait({reader})
        assert reader.cancelled()
    assert notes.ends == [("read", 0, None), ("read", PIECE, None)]


async def test_only_the_stores_time_counts(
    memory: MemoryStore, location: Location, notes: Notes
) -> None:
    hand = Hand()
    store = wrap(memory, Watched(notes, clock=hand))
    async with store.read(location, Span(0, 2 * PIECE)) as stream:
        hand.now += 1000.0
        async for _ in stream:
            hand.now += 1000.0
    async with store.create("other") as writer:
        hand.now += 1000.0
        await writer.write(b"x")
        hand.now += 1000.0
        await writer.commit()
    await store.stat(location)
    # opened, two pieces, their end, left; opened, one piece, committed, left
    assert notes.seconds == [5.0, 4.0, 1.0]


async def test_every_attempt_is_seen(memory: MemoryStore, location: Location, notes: Notes) -> None:
    async def no_pause(_seconds: float) -> None:
        await asyncio.sleep(0)

    cuts = Faulty(read=[[Fail(ThrottledError("busy"))], [Fail(DOWN, PIECE)]])
    store = wrap(memory, cuts, Watched(notes), Retrying(4, 1.0, 8.0, sleep=no_pause))
    assert await read(store, location) == CONTENT
    assert [(moved, outcome(error)) for _, moved, error in notes.ends] == [
        (0, "throttled"),
        (PIECE, "unavailable"),
        (3 * PIECE, "ok"),
    ]


async def test_a_store_that_is_opened_with_an_observer(notes: Notes) -> None:
    store = open_store(MemoryOptions(), Handling(at_once=3, attempts=2), notes)
    assert "> Limited(at_once=3) > Watched() > MemoryStore" in repr(store)
    await write(store, "image", b"x")
    assert notes.ends == [("create", 1, None)]
    await store.aclose()


async def test_a_stream_without_a_file_offers_none(
    memory: MemoryStore, location: Location, notes: Notes
) -> None:
    async with wrap(memory, Watched(notes)).read(location) as stream:
        assert not isinstance(stream, FileStream)


async def test_what_is_sent_of_a_file_counts(tmp_path: Path, notes: Notes) -> None:
    store = open_store(FilesystemOptions((DataDirectory(tmp_path),)), observer=notes)
    location = await write(store, "image", CONTENT)
    async with store.read(location, Span(1, 60)) as stream:
        assert isinstance(stream, FileStream)
        descriptor, part = stream.file()
        assert os.pread(descriptor, len(part), part.start) == CONTENT[1:60]
        stream.sent(10)
        assert notes.moves[1:] == [("read", 10)]
        assert b"".join([piece async for piece in stream]) == CONTENT[11:60]
    assert notes.ends[1:] == [("read", 59, None)]
    await store.aclose()
