from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from backends.base import PruneStore, ReadStore, ReadStream
from backends.errors import (
    DeniedError,
    InvalidError,
    MissingError,
    StoreError,
    ThrottledError,
    UnavailableError,
)
from backends.faulty import Fail, Faulty, Insert, Wait
from backends.location import Location
from backends.memory import MemoryStore
from backends.options import MemoryOptions
from backends.spans import END, Span
from backends.wrapping import (
    PROGRESS_BYTES,
    Behaviour,
    CrowdedError,
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


async def test_takes_up_a_read_at_the_byte(memory: MemoryStore, location: Location) -> None:
    asked: list[Span | None] = []

    class Asked(Behaviour):
        def read(self, inner, location, span):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202  # as its base
            asked.append(span)
            return inner.read(location, span)

    cuts = [[Fail(DOWN, at)] for at in (5, 5, 20)]
    pauses = Pauses()
    store = wrap(memory, Faulty(read=cuts), Asked(), Retrying(4, 1.0, 8.0, sleep=pauses))
    assert await read(store, location) == CONTENT
    assert asked == [None, Span.since(5), Span.since(5), Span.since(20)]
    assert len(pauses.made) == 3
    asked.clear()
    store = wrap(memory, Faulty(read=cuts), Asked(), Retrying(4, 1.0, 8.0, sleep=pauses))
    assert await read(store, location, Span(3, 30)) == CONTENT[3:30]
    assert asked == [Span(3, 30), Span(5, 30), Span(5, 30), Span(20, 30)]


async def test_does_not_ask_for_nothing(memory: MemoryStore, location: Location) -> None:
    faulty = Faulty(read=[[Fail(DOWN, END)], [Fail(DOWN, END)]])
    store = wrap(memory, faulty, Retrying(2, 1.0, 8.0, sleep=Pauses()))
    assert await read(store, location) == CONTENT
    assert await read(store, location, Span(1, 2)) == CONTENT[1:2]
    assert faulty.begun["read"] == 2


async def test_gives_up(memory: MemoryStore, location: Location) -> None:
    pauses = Pauses()
    faulty = Faulty(
        stat=[[Fail(DOWN)]] * 3,
        read=[[Fail(DOWN)]] * 3 + [[Fail(DOWN, PIECE)]] * 3,
        create=[[Fail(DOWN)]] * 3,
        delete=[[Fail(DOWN)]] * 3,
    )
    store = wrap(memory, faulty, Retrying(3, 1.0, 8.0, sleep=pauses))
    for operation in (
        store.stat(location),
        read(store, location),
        read(store, location),
        write(store, "other", b"x"),
        store.delete(location),
    ):
        with pytest.raises(UnavailableError, match="down"):
            await operation
    assert len(pauses.made) == 5 * 2
    assert faulty.begun == faulty.ended
    assert memory.names == {"image"}
    assert await read(store, location) == CONTENT


async def test_the_pauses_double_and_differ(memory: MemoryStore, location: Location) -> None:
    made: list[list[float]] = []
    for _ in range(20):
        pauses = Pauses()
        store = wrap(
            memory,
            Faulty(stat=[[Fail(DOWN)]] * 6),
            Retrying(7, 1.0, 8.0, sleep=pauses),
        )
        await store.stat(location)
        made.append(pauses.made)
    for row in made:
        assert all(0 <= pause <= most for pause, most in zip(row, (1, 2, 4, 8, 8, 8), strict=True))
    assert len({tuple(row) for row in made}) == len(made)
    assert max(max(row) for row in made) > 1


@pytest.mark.parametrize("error", [DeniedError("no"), InvalidError("bad"), MissingError("?")])
async def test_only_what_may_pass_is_tried_again(
    memory: MemoryStore, location: Location, error: StoreError
) -> None:
    pauses = Pauses()
    script = [[Fail(error)]]
    faulty = Faulty(stat=script, read=[[Fail(error)], [Fail(error, 20)]], delete=script)
    store = wrap(memory, faulty, Retrying(3, 1.0, 8.0, sleep=pauses))
    for operation in (
        store.stat(location),
        read(store, location),
        read(store, location),
        store.delete(location),
    ):
        with pytest.raises(type(error)):
            await operation
    assert pauses.made == []
    assert memory.names == {"image"}


@pytest.mark.parametrize(("gain", "succeeds"), [(PROGRESS_BYTES, True), (1, False)])
async def test_progress_earns_new_attempts(gain: int, succeeds: bool) -> None:
    memory = MemoryStore()
    content = pattern(4 * gain + 1)
    location = await write(memory, "image", content)
    cuts = [[Fail(DOWN, number * gain)] for number in range(1, 5)]
    store = wrap(memory, Faulty(read=cuts), Retrying(2, 1.0, 8.0, sleep=Pauses()))
    if succeeds:
        assert await read(store, location) == content
    else:
        with pytest.raises(UnavailableError):
            await read(store, location)


async def test_no_place_is_not_asked_for_again(memory: MemoryStore, location: Location) -> None:
    pauses = Pauses()
    limited = wrap(memory, Limited(1, 0.02))
    store = wrap(limited, Retrying(3, 1.0, 8.0, sleep=pauses))
    async with limited.read(location):
        for operation in (store.stat(location), read(store, location), write(store, "x", b"")):
            with pytest.raises(CrowdedError, match="no place became free"):
                await operation
    assert pauses.made == []
    assert await read(store, location) == CONTENT


async def test_a_store_that_is_asked_too_often_is_asked_less(
    memory: MemoryStore, location: Location
) -> None:
    for _ in range(20):
        pauses = Pauses()
        busy = Faulty(stat=[[Fail(ThrottledError("busy"))]] * 4)
        await wrap(memory, busy, Retrying(5, 1.0, 4.0, sleep=pauses)).stat(location)
        assert all(
            most / 2 <= pause <= most for pause, most in zip(pauses.made, (1, 2, 4, 4), strict=True)
        )


async def test_an_error_while_a_broken_read_is_left(
    memory: MemoryStore, location: Location
) -> None:
    class FailsToLeave(Behaviour):
        @asynccontextmanager
        async def read(
            self, inner: ReadStore, location: Location, span: Span | None
        ) -> AsyncIterator[ReadStream]:
            async with inner.read(location, span) as stream:
                yield stream
            if span is None:
                raise DeniedError("cannot be left")

    faulty = Faulty(read=[[Fail(DOWN, 20)]])
    store = wrap(memory, faulty, FailsToLeave(), Retrying(2, 1.0, 8.0, sleep=Pauses()))
    assert await read(store, location) == CONTENT
    assert faulty.begun == faulty.ended == {"read": 2}


@pytest.mark.parametrize("at", ["open", "piece", "pause"])
async def test_who_is_cancelled_leaves_nothing(
    memory: MemoryStore, location: Location, at: str
) -> None:
    hanging = Wait(at=20 if at == "piece" else -1)
    faulty = Faulty(read=[[Fail(DOWN, 5)], [Fail(DOWN)] if at == "pause" else [hanging]])
    sleeping = asyncio.Event()
    limited = wrap(memory, faulty, Limited(1, 10.0))

    async def sleep(_seconds: float) -> None:
        if at == "pause" and faulty.begun["read"] == 2:
            sleeping.set()
            await asyncio.Event().wait()

    reader = asyncio.create_task(read(wrap(limited, Retrying(4, 1.0, 8.0, sleep=sleep)), location))
    await (sleeping if at == "pause" else hanging.reached).wait()
    reader.cancel()
    await asyncio.wait({reader})
    assert reader.cancelled()
    assert faulty.begun == faulty.ended == {"read": 2}
    assert await read(limited, location) == CONTENT  # with the only place


async def test_progress_counts_once() -> None:
    memory = MemoryStore()
    location = await write(memory, "image", pattern(2 * PROGRESS_BYTES))
    faulty = Faulty(read=[[Fail(DOWN, PROGRESS_BYTES)]] * 9)
    store = wrap(memory, faulty, Retrying(3, 1.0, 8.0, sleep=Pauses()))
    with pytest.raises(UnavailableError):
        await read(store, location)
    assert faulty.begun["read"] == 3


async def test_a_pause_holds_nothing(memory: MemoryStore, location: Location) -> None:
    faulty = Faulty(read=[[Fail(DOWN, 5)], [Fail(DOWN)], []])
    store = wrap(memory, faulty, Limited(1, 10.0))

    async def pause(_seconds: float) -> None:
        assert faulty.begun == faulty.ended
        await store.stat(location)  # with the only place

    assert await read(wrap(store, Retrying(4, 1.0, 8.0, sleep=pause)), location) == CONTENT
    assert faulty.begun == {"read": 3, "stat": 2}


async def test_an_object_that_changed(memory: MemoryStore, location: Location) -> None:
    broken = Wait(at=20)
    faulty = Faulty(read=[[broken, Fail(DOWN, 20)]])
    store = wrap(memory, faulty, Retrying(3, 1.0, 8.0, sleep=Pauses()))
    reader = asyncio.create_task(read(store, location))
    await broken.reached.wait()
    await memory.delete(location)
    await write(memory, "image", CONTENT + b"x")
    assert isinstance(broken.gate, asyncio.Event)
    broken.gate.set()
    with pytest.raises(InvalidError, match="64 bytes and has 65"):
        await reader


async def test_an_unknown_size(memory: MemoryStore, location: Location) -> None:
    faulty = Faulty(read=[[Fail(DOWN, 20)], [Fail(DOWN, END)]], hide_size=True)
    store = wrap(memory, faulty, Retrying(3, 1.0, 8.0, sleep=Pauses()))
    assert await read(store, location) == CONTENT
    assert faulty.begun["read"] == 3


async def test_more_than_was_asked_for(memory: MemoryStore, location: Location) -> None:
    store = wrap(memory, Faulty(read=[[Insert(b"x" * 9)]]), Retrying(3, 1.0, 8.0))
    with pytest.raises(InvalidError, match="more bytes"):
        await read(store, location, Span(0, 8))


async def test_a_delete_whose_answer_was_lost(memory: MemoryStore, location: Location) -> None:
    class AnswerLost(Behaviour):
        async def delete(self, inner: PruneStore, location: Location) -> None:
            await inner.delete(location)
            raise UnavailableError("no answer")

    store = wrap(memory, AnswerLost(), Retrying(3, 1.0, 8.0, sleep=Pauses()))
    await store.delete(location)
    assert memory.names == set()
    with pytest.raises(MissingError):
        await store.delete(location)


async def test_a_write_is_begun_again(memory: MemoryStore) -> None:
    pauses = Pauses()
    faulty = Faulty(create=[[Fail(DOWN)], [Fail(DOWN, 1)], [Fail(DOWN, END)]])
    store = wrap(memory, faulty, Retrying(3, 1.0, 8.0, sleep=pauses))
    for _ in range(2):
        with pytest.raises(UnavailableError):
            await write(store, "image", CONTENT)
    assert len(pauses.made) == 1
    assert memory.names == set()
    assert memory.used_bytes == 0
    await write(store, "image", CONTENT)
