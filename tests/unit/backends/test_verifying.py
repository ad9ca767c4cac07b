from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from backends.base import ReadStream
from backends.errors import InvalidError, UnavailableError
from backends.faulty import Alter, End, Fail, Fault, Faulty, Insert
from backends.location import Location
from backends.manifest import CHUNK_BYTES, PAGE_DIGESTS, ManifestShape
from backends.memory import MemoryStore
from backends.options import MemoryOptions
from backends.spans import END, Span
from backends.verifying import Verified
from backends.wrapping import Retrying, wrap
from contracts.subject import pattern, read, write

CHUNK = CHUNK_BYTES[0]
SIZE = 4 * CHUNK + 1000
CONTENT = pattern(SIZE)
SHAPE = ManifestShape(SIZE, CHUNK)


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


async def page(number: int) -> bytes:
    assert number == 0
    return b"".join(digest(CONTENT[start : start + CHUNK]) for start in range(0, SIZE, CHUNK))


def verified() -> Verified:
    return Verified(SHAPE, page, digest)


@pytest.fixture(params=[10_007, CHUNK, 3 * CHUNK])
async def memory(request: pytest.FixtureRequest) -> AsyncIterator[MemoryStore]:
    async with aclosing(MemoryStore(MemoryOptions(piece_bytes=request.param))) as memory:
        yield memory


@pytest.fixture
async def location(memory: MemoryStore) -> Location:
    return await write(memory, "image", CONTENT)


async def collect(stream: ReadStream, released: bytearray) -> None:
    async for piece in stream:
        released += piece


SPANS = [
    Span(start, max(start, stop))
    for start in (0, 1, CHUNK - 1, CHUNK, 4 * CHUNK, SIZE - 1, SIZE, SIZE + 5)
    for stop in (0, 1, CHUNK, CHUNK + 1, 4 * CHUNK + 1, SIZE, SIZE + 9, END)
]


@pytest.mark.parametrize("span", [None, *dict.fromkeys(SPANS)], ids=str)
async def test_what_is_right_passes(
    memory: MemoryStore, location: Location, span: Span | None
) -> None:
    store = wrap(memory, verified())
    expected = CONTENT if span is None else CONTENT[span.start : span.stop]
    assert await read(store, location, span) == expected


@pytest.mark.parametrize("at", [0, 1, CHUNK - 1, CHUNK, 3 * CHUNK + 7, SIZE - 1])
async def test_nothing_of_a_wrong_chunk_is_released(
    memory: MemoryStore, location: Location, at: int
) -> None:
    store = wrap(memory, Faulty(read=[[Alter(at, 1)]] * 3), verified())
    number = at // CHUNK
    released = bytearray()
    complaint = rf"{location}: chunk {number}, bytes {number * CHUNK} to"
    async with store.read(location) as stream:
        with pytest.raises(InvalidError, match=complaint):
            await collect(stream, released)
    assert released == CONTENT[: number * CHUNK]
    # Also where only right bytes of it were asked for: they are in no better company.
    near = Span(at + 1, at + 2) if at < SIZE - 1 else Span(at - 1, at)
    if near.start // CHUNK == number:
        with pytest.raises(InvalidError):
            await read(store, location, near)


async def test_other_chunks_pass(memory: MemoryStore, location: Location) -> None:
    store = wrap(memory, Faulty(read=[[Alter(CHUNK)]]), verified())
    span = Span(2 * CHUNK + 1, SIZE)
    assert await read(store, location, span) == CONTENT[span.start :]


@pytest.mark.parametrize("fault", [End(CHUNK + 5), End(CHUNK), Insert(b"x", 5)], ids=repr)
async def test_streams_of_another_length(
    memory: MemoryStore, location: Location, fault: Fault
) -> None:
    store = wrap(memory, Faulty(read=[[fault]], hide_size=True), verified())
    with pytest.raises(InvalidError):
        await read(store, location)


async def test_an_object_of_another_size(memory: MemoryStore) -> None:
    location = await write(memory, "image", CONTENT + b"x")
    with pytest.raises(InvalidError, match=f"has {SIZE + 1} bytes, its manifest {SIZE}"):
        await read(wrap(memory, verified()), location)


async def test_a_read_that_is_taken_up_again(memory: MemoryStore, location: Location) -> None:
    cuts = Faulty(read=[[Fail(UnavailableError("down"), CHUNK + 9)], []])
    store = wrap(memory, cuts, Retrying(2, 0.0, 0.0), verified())
    assert repr(store).startswith(f"Verified(size={SIZE}) > Retrying(attempts=2) > Faulty")
    assert await read(store, location) == CONTENT


async def test_pages_are_asked_for_once() -> None:
    """Of an image of several pages; its chunks are all alike, for it is never hashed whole."""
    count = PAGE_DIGESTS + 2
    zeros = bytes(CHUNK)
    asked: list[int] = []

    async def pages(number: int) -> bytes:
        asked.append(number)
        return digest(zeros) * min(PAGE_DIGESTS, count - number * PAGE_DIGESTS)

    async with aclosing(MemoryStore()) as memory:
        async with memory.create("image") as writer:
            for _ in range(count):
                await writer.write(zeros)
            location = (await writer.commit()).location
        shape = ManifestShape(count * CHUNK, CHUNK)
        store = wrap(memory, Verified(shape, pages, digest))
        span = Span((PAGE_DIGESTS - 3) * CHUNK + 1, count * CHUNK)
        assert not any(await read(store, location, span))
    assert asked == [0, 1]


async def test_an_empty_object() -> None:
    async def no_page(_number: int) -> bytes:
        raise AssertionError("there is none")

    async with aclosing(MemoryStore()) as memory:
        location = await write(memory, "image", b"")
        store = wrap(memory, Verified(ManifestShape(0, CHUNK), no_page, digest))
        assert await read(store, location) == b""
