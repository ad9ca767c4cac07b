"""What every store driver must do, run against each of them.

A driver's test is a class that inherits `ReadContract` or `PruneContract` and gives a `subject`.
After each test everything that was put is deleted, and what is there then is a failure.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import product

import pytest

from backends.base import PruneStore, ReadStore, WriteResult
from backends.errors import DuplicateError, InvalidError, MissingError, StoreError
from backends.location import Location
from backends.spans import Span
from contracts.cancelling import cancelled_everywhere
from contracts.subject import PIECE, Subject, borders, pattern, read, write

READERS = 8


class ReadContract:
    """What a `ReadStore` must do."""

    @pytest.fixture(autouse=True)
    async def _empty_afterwards(self, subject: Subject) -> AsyncIterator[None]:
        yield
        if isinstance(subject.store, PruneStore):
            for location in subject.put_locations:
                await subject.store.delete(location)
            assert await subject.leftovers() == set()

    async def test_stat(self, subject: Subject) -> None:
        location = await subject.place(pattern(PIECE + 1))
        expected = PIECE + 1 if subject.tells_size else None
        assert (await subject.store.stat(location)).size == expected

    @pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 5 * PIECE + 7])
    async def test_whole(self, subject: Subject, size: int) -> None:
        content = pattern(size)
        location = await subject.place(content)
        assert await read(subject.store, location) == content

    @pytest.mark.parametrize("size", [0, 1, 2 * PIECE, 2 * PIECE + 1])
    async def test_a_range_at_every_border(self, subject: Subject, size: int) -> None:
        content = pattern(size)
        location = await subject.place(content)
        for start, stop in product(borders(size), repeat=2):
            if start <= stop:
                span = Span(start, stop)
                assert await read(subject.store, location, span) == content[start:stop], span

    async def test_a_range_to_the_end(self, subject: Subject) -> None:
        content = pattern(2 * PIECE)
        location = await subject.place(content)
        for start in borders(len(content)):
            assert await read(subject.store, location, Span.since(start)) == content[start:]

    async def test_a_stream_tells_the_size(self, subject: Subject) -> None:
        location = await subject.place(pattern(PIECE + 1))
        for span in (None, Span(0, 1), Span(PIECE, PIECE + 1), Span(PIECE + 1, PIECE + 2)):
            async with subject.store.read(location, span) as stream:
                if subject.tells_size:
                    assert stream.size == PIECE + 1
                else:
                    assert stream.size in (None, PIECE + 1)

    async def test_a_stream_is_read_once(self, subject: Subject) -> None:
        location = await subject.place(pattern(PIECE + 1))
        async with subject.store.read(location) as stream:
            assert len(b"".join([piece async for piece in stream])) == PIECE + 1
            assert [piece async for piece in stream] == []

    @pytest.mark.parametrize("span", [None, Span(0, 1), Span(0, 0), Span(5, 10)])
    async def test_missing(self, subject: Subject, span: Span | None) -> None:
        with pytest.raises(MissingError):
            await subject.store.stat(subject.missing)
        with pytest.raises(MissingError):
            await read(subject.store, subject.missing, span)

    async def test_a_foreign_location(self, subject: Subject) -> None:
        for uri in ("rbd://pool/image", "elsewhere", ""):
            with pytest.raises(InvalidError):
                await subject.store.stat(Location(uri))
            with pytest.raises(InvalidError):
                await read(subject.store, Location(uri))

    async def test_leaving_in_the_middle(self, subject: Subject) -> None:
        content = pattern(64 * PIECE)
        location = await subject.place(content)
        async with subject.store.read(location) as stream:
            first = await anext(aiter(stream))
            assert content.startswith(first)
        async with subject.store.read(location):
            pass
        assert await read(subject.store, location) == content

    async def test_concurrent_reads(self, subject: Subject) -> None:
        content = pattern(16 * PIECE)
        location = await subject.place(content)
        all_open = asyncio.Barrier(READERS)

        async def reader(number: int) -> bytes:
            span = Span(number * PIECE, (number + 4) * PIECE)
            async with subject.store.read(location, span) as stream:
                await all_open.wait()
                return b"".join([piece async for piece in stream])

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(reader(number)) for number in range(READERS)]
        for number, task in enumerate(tasks):
            assert task.result() == content[number * PIECE : (number + 4) * PIECE]

    async def test_read_cancelled_anywhere(self, subject: Subject) -> None:
        content = pattern(3 * PIECE)
        location = await subject.place(content)

        async def reading() -> None:
            assert await read(subject.store, location, Span(1, 3 * PIECE)) == content[1:]

        async def check() -> None:
            assert await read(subject.store, location, Span(0, PIECE)) == content[:PIECE]

        await cancelled_everywhere(reading, check)

    async def test_stat_cancelled_anywhere(self, subject: Subject) -> None:
        location = await subject.place(pattern(1))

        async def check() -> None:
            assert await read(subject.store, location) == pattern(1)

        await cancelled_everywhere(lambda: self._stat(subject.store, location), check)

    async def _stat(self, store: ReadStore, location: Location) -> None:
        await store.stat(location)

    async def test_secrets_are_not_shown(self, subject: Subject) -> None:
        location = await subject.place(b"x")
        shown = [repr(subject.store), repr(location), str(location)]
        with pytest.raises(MissingError) as missing:
            await subject.store.stat(subject.missing)
        shown += [repr(missing.value), str(missing.value)]
        for secret in subject.secrets:
            assert secret in location.uri
            assert not [text for text in shown if secret in text]


class PruneContract(ReadContract):
    """What a `PruneStore` must do."""

    @pytest.fixture
    def store(self, subject: Subject) -> PruneStore:
        assert isinstance(subject.store, PruneStore)
        return subject.store

    @pytest.mark.parametrize("known", [True, False])
    @pytest.mark.parametrize("size", [0, 1, PIECE, 2 * PIECE + 1])
    async def test_write(self, subject: Subject, store: PruneStore, size: int, known: bool) -> None:
        content = pattern(size)
        async with store.create("image", size if known else None) as writer:
            for start in range(0, size, 1000):
                await writer.write(content[start : start + 1000])
            result = await writer.commit()
        subject.put_locations.append(result.location)
        assert result == WriteResult(result.location, size, result.metadata)
        assert (await store.stat(result.location)).size == size
        assert await read(store, result.location) == content

    async def test_what_was_written_may_be_changed_afterwards(
        self, subject: Subject, store: PruneStore
    ) -> None:
        buffer = bytearray(pattern(PIECE))
        async with store.create("image") as writer:
            await writer.write(buffer)
            buffer[:] = bytes(PIECE)
            await writer.write(memoryview(buffer)[1:])
            await writer.write(b"")
            result = await writer.commit()
        subject.put_locations.append(result.location)
        assert await read(store, result.location) == pattern(PIECE) + bytes(PIECE - 1)

    async def test_nothing_is_readable_before_the_commit(
        self, subject: Subject, store: PruneStore
    ) -> None:
        location = await subject.place(b"x")
        await store.delete(location)
        async with store.create("image") as writer:
            await writer.write(pattern(PIECE))
            with pytest.raises(MissingError):
                await store.stat(location)
            assert (await writer.commit()).location == location
            assert await read(store, location) == pattern(PIECE)

    @pytest.mark.parametrize("wrong", [0, PIECE - 1])
    async def test_fewer_bytes_than_promised(
        self, subject: Subject, store: PruneStore, wrong: int
    ) -> None:
        async with store.create("image", PIECE) as writer:
            await writer.write(pattern(wrong))
            with pytest.raises(InvalidError):
                await writer.commit()
        assert await subject.leftovers() == set()

    async def test_more_bytes_than_promised(self, subject: Subject, store: PruneStore) -> None:
        async with store.create("image", PIECE) as writer:
            await writer.write(pattern(PIECE))
            with pytest.raises(InvalidError):
                await writer.write(b"x")
            with pytest.raises(InvalidError):
                await writer.commit()
        assert await subject.leftovers() == set()

    async def test_an_abandoned_writer_leaves_nothing(
        self, subject: Subject, store: PruneStore
    ) -> None:
        async with store.create("image"):
            pass
        async with store.create("image", PIECE) as writer:
            await writer.write(pattern(PIECE))

        async def failing() -> None:
            async with store.create("image", PIECE) as writer:
                await writer.write(pattern(PIECE))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await failing()
        assert await subject.leftovers() == set()

    @pytest.mark.parametrize("known", [True, False])
    async def test_what_is_published_and_not_kept_is_taken_away(
        self, subject: Subject, store: PruneStore, known: bool
    ) -> None:
        size = 2 * PIECE
        async with store.create("image", size if known else None) as writer:
            await writer.write(pattern(size))
            result = await writer.publish()
            assert await read(store, result.location) == pattern(size)
        assert await subject.leftovers() == set()

    @pytest.mark.parametrize("kept", [True, False])
    async def test_what_has_the_name_by_then_stays(
        self, subject: Subject, store: PruneStore, kept: bool
    ) -> None:
        async with store.create("image") as writer:
            await writer.write(b"late")
            location = (await writer.publish()).location
            await store.clear("image")
            subject.put_locations.append(await write(store, "image", b"the next one's"))
            if kept:
                writer.keep()
        assert await read(store, location) == b"the next one's"

    async def test_nothing_after_the_commit(self, subject: Subject, store: PruneStore) -> None:
        async with store.create("image") as writer:
            await writer.write(b"x")
            result = await writer.commit()
            subject.put_locations.append(result.location)
            with pytest.raises(RuntimeError):
                await writer.write(b"y")
            with pytest.raises(RuntimeError):
                await writer.commit()
        assert await read(store, result.location) == b"x"

    async def test_duplicate(self, subject: Subject, store: PruneStore) -> None:
        location = await subject.place(b"first")
        before = await subject.leftovers()
        with pytest.raises(DuplicateError):
            await write(store, "image", b"second")
        assert await read(store, location) == b"first"
        assert await subject.leftovers() == before != set()

    async def test_one_of_two_writers_wins(self, subject: Subject, store: PruneStore) -> None:
        both_written = asyncio.Barrier(2)

        async def writing(content: bytes) -> Location | None:
            try:
                async with store.create("image", len(content)) as writer:
                    await writer.write(content)
                    await both_written.wait()
                    return (await writer.commit()).location
            except DuplicateError:
                return None

        contents = (b"a" * PIECE, b"b" * PIECE)
        results = await asyncio.gather(*map(writing, contents))
        winners = [
            (content, location)
            for content, location in zip(contents, results, strict=True)
            if location is not None
        ]
        assert len(winners) == 1
        subject.put_locations.append(winners[0][1])
        assert await read(store, winners[0][1]) == winners[0][0]

    async def test_concurrent_writes(self, subject: Subject, store: PruneStore) -> None:
        contents = {f"image-{number}": pattern(PIECE + number, number) for number in range(8)}
        locations = await asyncio.gather(
            *(subject.place(content, name) for name, content in contents.items())
        )
        for location, content in zip(locations, contents.values(), strict=True):
            assert await read(store, location) == content

    async def test_delete(self, subject: Subject, store: PruneStore) -> None:
        location = await write(store, "image", b"x")
        async with store.read(location):
            await store.require_unused(location)
        assert await read(store, location) == b"x"
        await store.delete(location)
        assert await subject.leftovers() == set()
        with pytest.raises(MissingError):
            await store.delete(location)
        with pytest.raises(MissingError):
            await store.stat(location)
        assert await subject.place(b"again") == location
        assert await read(store, location) == b"again"

    async def test_a_reader_outlives_the_object(self, subject: Subject, store: PruneStore) -> None:
        content = pattern(4 * PIECE)
        location = await write(store, "image", content)
        async with store.read(location) as stream:
            pieces = aiter(stream)
            first = await anext(pieces)
            await store.delete(location)
            assert first + b"".join([piece async for piece in pieces]) == content
        assert await subject.leftovers() == set()

    @pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a\0b", "a\nb", "x" * 256])
    async def test_names_that_are_refused(
        self, subject: Subject, store: PruneStore, name: str
    ) -> None:
        with pytest.raises(InvalidError):
            await write(store, name, b"x")
        assert await subject.leftovers() == set()

    @pytest.mark.parametrize("name", ["a b", "50%25", "Ünïcödé", "x" * 255, "a?b#c", "-rf"])
    async def test_names_that_are_kept(
        self, subject: Subject, store: PruneStore, name: str
    ) -> None:
        location = await subject.place(b"x", name)
        assert await read(store, location) == b"x"

    @pytest.mark.parametrize("known", [True, False])
    async def test_write_cancelled_anywhere(
        self, subject: Subject, store: PruneStore, known: bool
    ) -> None:
        committed: list[Location] = []

        async def writing() -> None:
            async with store.create("image", 2 * PIECE if known else None) as writer:
                await writer.write(pattern(PIECE))
                await writer.write(pattern(PIECE))
                committed.append((await writer.commit()).location)

        async def check() -> None:
            for location in committed:
                assert await read(store, location) == 2 * pattern(PIECE)
                await store.delete(location)
            committed.clear()
            assert await subject.leftovers() == set()

        await cancelled_everywhere(writing, check)

    async def test_delete_cancelled_anywhere(self, subject: Subject, store: PruneStore) -> None:
        location = await subject.place(b"x")

        async def check() -> None:
            try:
                assert await read(store, location) == b"x"
            except MissingError:
                assert await write(store, "image", b"x") == location

        await cancelled_everywhere(lambda: self._delete(store, location), check)

    async def _delete(self, store: PruneStore, location: Location) -> None:
        await store.delete(location)

    async def test_clear(self, subject: Subject, store: PruneStore) -> None:
        assert await store.clear("image") == 0
        await write(store, "image", b"x")
        others = ["image-00001", "image.1", "images", "imag", "Image"]
        for name in others:
            await subject.place(b"x", name)
        assert await store.clear("image") == 1
        assert await store.clear("image") == 0
        for location in subject.put_locations:
            assert await read(store, location) == b"x"
        assert await read(store, await subject.place(b"again")) == b"again"
        with pytest.raises(InvalidError):
            await store.clear("../image")

    async def test_every_error_is_a_store_error(self, store: PruneStore) -> None:
        with pytest.raises(StoreError):
            await store.delete(Location("memory://elsewhere/image"))
        with pytest.raises(StoreError):
            await store.delete(Location("nothing"))
