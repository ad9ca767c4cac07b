"""A file that is kept open: what memory has of it, as long as its name leads to it."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from backends.base import FileStream
from backends.file.store import FilesystemStore
from backends.keptfile import SENDABLE_BYTES, KeptFile
from backends.options import DataDirectory, FilesystemOptions
from backends.residency import is_local
from backends.spans import Span
from backends.watching import Watched
from backends.wrapping import Limited, Retrying, wrap
from contracts.subject import pattern, write
from harness.damage import make_cold
from harness.waiting import until_async

CONTENT = pattern(3 * SENDABLE_BYTES + 5)


class Told:
    """Hears of a store's operations."""

    def __init__(self) -> None:
        self.moves: list[tuple[str, int]] = []
        self.ends: list[tuple[str, int]] = []

    def moved(self, operation: str, count: int) -> None:
        self.moves.append((operation, count))

    def ended(self, operation: str, seconds: float, moved: int, error: object) -> None:
        assert seconds >= 0
        assert error is None
        self.ends.append((operation, moved))


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def kept(tmp_path: Path, told: Told) -> AsyncIterator[KeptFile]:
    """Read a file through all that is around stores, and keep it."""
    plain = FilesystemStore(FilesystemOptions((DataDirectory(tmp_path),)))
    store = wrap(plain, Watched(told), Limited(1, 1.0), Retrying(2, 1.0, 1.0))
    location = await write(store, "image", CONTENT)
    async with store.read(location, Span(0, 1)) as stream:
        assert isinstance(stream, FileStream)
        if not is_local(stream.file()[0]):
            pytest.skip("this file system may ask a server: use one on a disk for /tmp")
        file = stream.keep()
    assert file is not None
    told.moves.clear()
    told.ends.clear()
    yield file
    await file.aclose()
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        os.fstat(file.descriptor)
    await store.aclose()


async def test_it_outlives_its_read(kept: KeptFile, told: Told) -> None:
    assert kept.is_there()
    assert kept.size == len(CONTENT)
    part = bytearray(100)
    assert kept.read_into(memoryview(part), 4000)
    assert part == CONTENT[4000:4100]
    kept.on_read(100)
    assert (told.moves, told.ends) == ([("read", 100)], [("read", 100)])


@pytest.mark.parametrize(
    ("span", "near"),
    [
        (Span(3, 10), Span(3, 10)),
        (Span(5, len(CONTENT)), Span(5, 5 + SENDABLE_BYTES)),
        (Span(7, 7), Span(7, 7)),
    ],
)
async def test_what_is_near(kept: KeptFile, span: Span, near: Span) -> None:
    assert kept.near(span) == near


async def test_what_memory_has_not(kept: KeptFile, tmp_path: Path) -> None:
    await asyncio.to_thread(make_cold, tmp_path / "image")
    assert not len(kept.near(Span(0, 100)))


async def test_what_comes_from_the_disk(kept: KeptFile, tmp_path: Path) -> None:
    """A read of what is absent starts the disk; one that is quick has it there for the same read."""
    await asyncio.to_thread(make_cold, tmp_path / "image")
    part = bytearray(100)
    await until_async("what is read ahead", lambda: kept.read_into(memoryview(part), 0))
    assert part == CONTENT[:100]


async def test_what_is_not_in_the_file(kept: KeptFile) -> None:
    assert not kept.read_into(memoryview(bytearray(100)), len(CONTENT) - 99)


def _replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(CONTENT)
    other.rename(path)


@pytest.mark.parametrize(
    "act", [Path.unlink, _replace, lambda path: os.truncate(path, 5)], ids=["gone", "other", "cut"]
)
async def test_it_is_not_there_any_more(
    kept: KeptFile, tmp_path: Path, act: Callable[[Path], None]
) -> None:
    await asyncio.to_thread(act, tmp_path / "image")
    assert not kept.is_there()
