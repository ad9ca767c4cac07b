from __future__ import annotations

import asyncio

import pytest

from backends.base import Stat
from backends.errors import DeniedError, UnavailableError
from backends.faulty import Alter, End, Fail, Faulty, Insert, Wait
from backends.location import Location
from backends.memory import MemoryStore
from backends.options import MemoryOptions
from backends.spans import END, Span
from backends.wrapping import wrap
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


@pytest.mark.parametrize(
    ("faults", "span", "expected"),
    [
        ([], None, CONTENT),
        ([Alter(0, 1)], None, bytes([CONTENT[0] ^ 1]) + CONTENT[1:]),
        ([Alter(20)], None, CONTENT[:20] + bytes([CONTENT[20] ^ 255]) + CONTENT[21:]),
        ([Alter(20)], Span(21, 30), CONTENT[21:30]),
        ([Alter(20)], Span(10, 20), CONTENT[10:20]),
        ([Alter(20)], Span(20, 21), bytes([CONTENT[20] ^ 255])),
        ([End(0)], None, b""),
        ([End(20)], None, CONTENT[:20]),
        ([End(20)], Span(15, 30), CONTENT[15:20]),
        ([End(20), Alter(19), Alter(30)], Span(20, 30), b""),
        ([Insert(b"xy", 20)], Span(15, 30), CONTENT[15:20] + b"xy" + CONTENT[20:30]),
        ([Insert(b"xy"), Insert(b"z")], Span(60, 99), CONTENT[60:] + b"xyz"),
        ([Alter(1000), Insert(b"x")], Span(60, 99), CONTENT[60:] + b"x"),
    ],
)
async def test_reads(
    memory: MemoryStore,
    location: Location,
    *,
    faults: list[Alter | End | Insert],
    span: Span | None,
    expected: bytes,
) -> None:
    store = wrap(memory, Faulty(read=[faults]))
    assert await read(store, location, span) == expected
    assert await read(store, location) == CONTENT


@pytest.mark.parametrize("at", [0, 1, PIECE, 20, END])
async def test_failures_and_waits(memory: MemoryStore, location: Location, at: int) -> None:
    wait = Wait(at)
    store = wrap(memory, Faulty(read=[[wait, Fail(DOWN, at)]]))
    got = b""

    async def reader() -> None:
        nonlocal got
        async with store.read(location) as stream:
            async for piece in stream:
                got += piece

    task = asyncio.create_task(reader())
    await wait.reached.wait()
    assert got == CONTENT[:at]
    assert isinstance(wait.gate, asyncio.Event)
    wait.gate.set()
    with pytest.raises(UnavailableError, match="down"):
        await task
    assert got == CONTENT[:at]


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ([], CONTENT),
        ([Alter(20)], CONTENT[:20] + bytes([CONTENT[20] ^ 255]) + CONTENT[21:]),
        ([End(20)], CONTENT[:20]),
        ([Insert(b"x", 20)], CONTENT[:20] + b"x" + CONTENT[20:]),
        ([Insert(b"x")], CONTENT + b"x"),
    ],
)
async def test_writes(
    memory: MemoryStore, faults: list[Alter | End | Insert], expected: bytes
) -> None:
    store = wrap(memory, Faulty(create=[faults]))
    async with store.create("image") as writer:
        for start in range(0, len(CONTENT), 7):
            await writer.write(CONTENT[start : start + 7])
        location = (await writer.commit()).location
    assert await read(memory, location) == expected


async def test_counts_and_hides(memory: MemoryStore, location: Location) -> None:
    barrier = asyncio.Barrier(2)
    faulty = Faulty(stat=[[Wait(gate=barrier)], [Fail(DeniedError("no"))]], hide_size=True)
    store = wrap(memory, faulty)
    task = asyncio.create_task(store.stat(location))
    await barrier.wait()
    assert faulty.ended == {}
    assert await task == Stat(None)
    with pytest.raises(DeniedError):
        await store.stat(location)
    assert faulty.begun == faulty.ended == {"stat": 2}
    async with store.read(location) as stream:
        assert stream.size is None
    assert repr(faulty) == "Faulty(left={})"
