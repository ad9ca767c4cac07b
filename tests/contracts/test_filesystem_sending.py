"""What of a file goes out without passing through this process."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from backends.base import FileStream
from backends.errors import InvalidError
from backends.keptfile import SENDABLE_BYTES
from backends.residency import is_local
from backends.spans import Span
from contracts.subject import PIECE, pattern, write
from contracts.test_filesystem import opened
from harness.damage import make_cold


async def test_what_is_in_memory(tmp_path: Path) -> None:
    content = pattern(3 * SENDABLE_BYTES + 5)
    async with opened(tmp_path / "images") as store:
        location = await write(store, "image", content)
        async with store.read(location, Span.since(7)) as stream:
            assert isinstance(stream, FileStream)
            descriptor, part = stream.file()
            assert part == Span(7, 7 + SENDABLE_BYTES)
            assert os.pread(descriptor, len(part), 7) == content[7 : 7 + SENDABLE_BYTES]
            stream.sent(SENDABLE_BYTES)
            assert await anext(stream) == content[part.stop : part.stop + PIECE]
            stream.sent(stream.file()[1].stop - part.stop - PIECE)
            _, part = stream.file()
            stream.sent(len(part))
            assert part.stop == len(content)
            assert not len(stream.file()[1])
            with pytest.raises(StopAsyncIteration):
                await anext(stream)


async def test_what_is_on_the_disk_is_read_in_a_thread(tmp_path: Path) -> None:
    content = pattern(4 << 20)
    async with opened(tmp_path / "images") as store:
        location = await write(store, "image", content)
        make_cold(tmp_path / "images/image")
        async with store.read(location) as stream:
            assert not len(stream.file()[1])
            assert await anext(stream) == content[:PIECE]


async def test_where_others_are_asked_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backends.file.openfile.is_local", lambda _: False)
    async with opened(tmp_path / "images") as store:
        location = await write(store, "image", b"x")
        async with store.read(location) as stream:
            assert not len(stream.file()[1])
            assert await anext(stream) == b"x"


async def test_files_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel does not tell what is in memory of them, nor may they be read unnoticed."""
    real_open = os.open

    def not_the_owner(path: str, flags: int, *rest: Any, **options: Any) -> int:
        if flags & os.O_NOATIME:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        return real_open(path, flags, *rest, **options)

    async with opened(tmp_path / "images") as store:
        location = await write(store, "image", b"x")
        monkeypatch.setattr(os, "open", not_the_owner)
        async with store.read(location) as stream:
            assert not len(stream.file()[1])
            assert await anext(stream) == b"x"


async def test_a_file_that_became_shorter(tmp_path: Path) -> None:
    async with opened(tmp_path / "images") as store:
        location = await write(store, "image", pattern(3 * PIECE))
        async with store.read(location) as stream:
            os.truncate(tmp_path / "images/image", PIECE)
            assert not len(stream.file()[1])
            assert await anext(stream) == pattern(3 * PIECE)[:PIECE]
            with pytest.raises(InvalidError):
                await anext(stream)


def test_file_systems_of_this_machine(tmp_path: Path) -> None:
    for path, local in ((tmp_path, True), (Path("/proc/self/status"), False)):
        descriptor = os.open(path, os.O_RDONLY)
        assert is_local(descriptor) == local
        os.close(descriptor)
    reader, writer = os.pipe()
    assert not is_local(reader)
    os.close(reader)
    os.close(writer)
