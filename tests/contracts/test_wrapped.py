"""A store inside wrappers is a store, also when what is inside fails now and then."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Self

import pytest

from backends.base import FileStream, PruneStore, ReadStore, ReadStream
from backends.errors import MissingError, ThrottledError, UnavailableError
from backends.faulty import Fail, Faulty
from backends.file.store import FilesystemStore
from backends.location import Location
from backends.memory import MemoryStore
from backends.options import DataDirectory, FilesystemOptions, MemoryOptions
from backends.spans import END, Span
from backends.wrapping import Behaviour, Limited, Retrying, wrap
from contracts.store import READERS, PruneContract
from contracts.subject import PIECE, Subject, pattern, write
from contracts.test_filesystem import filesystem_subject
from contracts.test_memory import memory_subject

OPERATIONS_MAX = 5000  # of one test


def around(subject: Subject, store: PruneStore) -> Subject:
    """Return the same subject, used through its wrapped store."""
    subject.store = store
    subject.put = partial(write, store)
    return subject


async def no_pause(_seconds: float) -> None:
    await asyncio.sleep(0)


def retrying() -> Retrying:
    return Retrying(4, 0.1, 1.0, sleep=no_pause)


class TestWrappedMemory(PruneContract):
    @pytest.fixture
    async def subject(self) -> AsyncIterator[Subject]:
        inner = MemoryStore(MemoryOptions(piece_bytes=PIECE))
        store = wrap(inner, Faulty(), Limited(READERS + 1, 10.0), retrying())
        yield around(memory_subject(inner), store)
        await store.aclose()


class TestWrappedFilesystem(PruneContract):
    @pytest.fixture
    async def subject(self, tmp_path: Path) -> AsyncIterator[Subject]:
        options = FilesystemOptions((DataDirectory(tmp_path / "images"),), piece_bytes=PIECE)
        inner = FilesystemStore(options)
        store = wrap(inner, Limited(READERS + 1, 10.0), retrying())
        yield around(filesystem_subject(inner, tmp_path / "images"), store)
        await store.aclose()


class Sending(Behaviour):
    """Takes from a file, as who has a socket does, whatever of it is in memory."""

    @asynccontextmanager
    async def read(
        self, inner: ReadStore, location: Location, span: Span | None
    ) -> AsyncIterator[ReadStream]:
        async with inner.read(location, span) as stream:
            assert isinstance(stream, FileStream)
            yield SentStream(stream)


class SentStream:
    version = None

    def __init__(self, inner: FileStream) -> None:
        self._inner = inner
        self._pieces = aiter(inner)

    @property
    def size(self) -> int | None:
        return self._inner.size

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        await asyncio.sleep(0)
        descriptor, part = self._inner.file()
        data = os.pread(descriptor, min(len(part), PIECE), part.start) if len(part) else b""
        if not data:
            return await anext(self._pieces)
        self._inner.sent(len(data))
        return data


class TestSentFiles(PruneContract):
    @pytest.fixture
    async def subject(self, tmp_path: Path) -> AsyncIterator[Subject]:
        options = FilesystemOptions((DataDirectory(tmp_path / "images"),), piece_bytes=PIECE)
        inner = FilesystemStore(options)
        store = wrap(inner, Limited(READERS + 1, 10.0), retrying(), Sending())
        yield around(filesystem_subject(inner, tmp_path / "images"), store)
        await store.aclose()


class TestFailingMemory(PruneContract):
    @pytest.fixture
    async def subject(self) -> AsyncIterator[Subject]:
        down = UnavailableError("down")
        once = [[Fail(down)], [Fail(ThrottledError("busy"))], []] * OPERATIONS_MAX
        cut = [[Fail(down)], [Fail(down, 1)], [Fail(down, PIECE + 1)], [Fail(down, END)], []]
        faulty = Faulty(stat=once, read=cut * OPERATIONS_MAX, create=once)
        inner = MemoryStore(MemoryOptions(piece_bytes=PIECE))
        store = wrap(inner, faulty, Retrying(READERS * 6, 0.1, 1.0, sleep=no_pause))
        yield around(memory_subject(inner), store)
        assert faulty.begun == faulty.ended
        assert sum(faulty.begun.values()) < OPERATIONS_MAX, "the script is too short"
        await store.aclose()

    async def test_a_reader_outlives_the_object(self, subject: Subject, store: PruneStore) -> None:
        """A read that breaks cannot be taken up again when the object is gone: it fails."""
        location = await write(store, "image", pattern(4 * PIECE))
        async with store.read(location) as stream:
            pieces = aiter(stream)
            await anext(pieces)
            await store.delete(location)
            with pytest.raises(MissingError):
                _ = [piece async for piece in pieces]
        assert await subject.leftovers() == set()
