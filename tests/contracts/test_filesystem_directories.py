"""Several data directories: where new files go, and that one which hangs stops no other."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from backends.errors import (
    DeniedError,
    DuplicateError,
    MissingError,
    NoSpaceError,
    UnavailableError,
)
from backends.file.store import FilesystemStore
from backends.location import Location
from backends.options import DataDirectory, FilesystemOptions
from contracts.subject import PIECE, pattern, read, write
from contracts.test_filesystem import listing, opened
from harness.waiting import until

WAIT_SECONDS = 10.0  # for what must happen


async def test_the_highest_priority_takes_new_files(tmp_path: Path) -> None:
    low, high = tmp_path / "low", tmp_path / "high"
    options = FilesystemOptions((DataDirectory(low, 1), DataDirectory(high, 2)))
    store = FilesystemStore(options)
    location = await write(store, "image", b"x")
    assert location.uri == f"file://{high}/image"
    (low / "old").write_bytes(b"y")
    assert await read(store, Location(f"file://{low}/old")) == b"y"
    with pytest.raises(DuplicateError):
        await write(store, "old", b"z")
    assert listing(high) == ["image"]
    assert repr(store) == f"FilesystemStore({low}, {high})"
    await store.aclose()


async def test_one_without_room_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    free = {small: 10, large: 1000}

    def statvfs(path: Path) -> os.statvfs_result:
        return os.statvfs_result((1, 1, free[path], free[path], free[path], 0, 0, 0, 0, 255))

    monkeypatch.setattr(os, "statvfs", statvfs)
    places = (DataDirectory(small, 9), DataDirectory(large, 1))
    store = FilesystemStore(FilesystemOptions(places))
    assert (await write(store, "fits", bytes(10))).uri == f"file://{small}/fits"
    assert (await write(store, "large", bytes(11))).uri == f"file://{large}/large"
    with pytest.raises(NoSpaceError):
        await write(store, "huge", bytes(1001))
    await store.aclose()


def test_options_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="needs a data directory"):
        FilesystemStore(FilesystemOptions(()))
    with pytest.raises(ValueError, match="absolute"):
        FilesystemStore(FilesystemOptions((DataDirectory(Path("images")),)))


async def test_a_hanging_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers, closed = threading.Event(), threading.Event()
    hanging: list[int] = []
    real_pread, real_close = os.pread, os.close

    def pread(descriptor: int, *rest: int) -> bytes:
        if not hanging:
            hanging.append(descriptor)
            answers.wait()
        return real_pread(descriptor, *rest)

    def close(descriptor: int) -> None:
        real_close(descriptor)
        if answers.is_set() and descriptor in hanging:
            closed.set()

    async with opened(tmp_path / "images", hang_seconds=0.2) as store:
        location = await write(store, "image", b"x")
        monkeypatch.setattr(os, "pread", pread)
        monkeypatch.setattr(os, "close", close)
        with pytest.raises(UnavailableError, match="has not answered"):
            await read(store, location)
        assert await read(store, location) == b"x"  # others are not held up
    answers.set()
    assert await asyncio.to_thread(closed.wait, 10)  # by the thread that came back


async def test_a_directory_that_fails_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    good = tmp_path / "good"
    places = (DataDirectory(tmp_path / "file", 9), DataDirectory(good, 1))
    async with aclosing(FilesystemStore(FilesystemOptions(places))) as store:
        assert (await write(store, "image", b"x")).uri == f"file://{good}/image"
        with pytest.raises(MissingError):
            await store.stat(Location(f"file://{tmp_path}/file/image"))
    places = (DataDirectory(tmp_path / "file", 9), DataDirectory(tmp_path / "file/sub", 1))
    async with aclosing(FilesystemStore(FilesystemOptions(places))) as store:
        with pytest.raises(MissingError):
            await write(store, "image", b"x")


async def test_a_read_only_directory_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed, good = tmp_path / "fixed", tmp_path / "good"
    real = os.statvfs

    def statvfs(path: Path) -> os.statvfs_result:
        status = list(real(path))
        status[8] |= os.ST_RDONLY if path == fixed else 0
        return os.statvfs_result(status)

    monkeypatch.setattr(os, "statvfs", statvfs)
    places = (DataDirectory(fixed, 9), DataDirectory(good, 1))
    async with aclosing(FilesystemStore(FilesystemOptions(places))) as store:
        assert (await write(store, "image", b"x")).uri == f"file://{good}/image"
    async with aclosing(FilesystemStore(FilesystemOptions(places[:1] * 2))) as store:
        with pytest.raises(DeniedError, match="read-only"):
            await write(store, "other", b"x")


class Hang:
    """Has calls of the file system hang in the threads of one data directory, until let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: str) -> None:
        self._monkeypatch = monkeypatch
        self._directory = directory
        self.answers = threading.Event()
        self.calls = 0

    def begin(self, name: str) -> None:
        real = getattr(os, name)

        def hanging(*args: Any, **options: Any) -> Any:
            if self._directory in threading.current_thread().name:
                self.calls += 1
                assert self.answers.wait(WAIT_SECONDS)
            return real(*args, **options)

        self.replace(name, hanging)

    def replace(self, name: str, hanging: Callable[..., Any]) -> None:
        self._monkeypatch.setattr(os, name, hanging)


@pytest.fixture
def hang(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hang]:
    hang = Hang(monkeypatch, "sick")
    yield hang
    hang.answers.set()


@asynccontextmanager
async def two_directories(tmp_path: Path, **more: Any) -> AsyncIterator[FilesystemStore]:
    places = (DataDirectory(tmp_path / "sick", 2), DataDirectory(tmp_path / "sound", 1))
    options = FilesystemOptions(places, piece_bytes=PIECE, threads=2, hang_seconds=1.0, **more)
    async with aclosing(FilesystemStore(options)) as store:
        yield store


async def settled(condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(until, "the threads that hung", condition)


def descriptors(directory: Path) -> list[str]:
    """Return what this process has open in a directory."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(link.readlink()))
        except FileNotFoundError:
            continue
    return [path for path in found if path.startswith(str(directory))]


@pytest.mark.parametrize("call", ["open", "fstat", "pread"])
async def test_reads_that_hang(tmp_path: Path, hang: Hang, call: str) -> None:
    content = pattern(2 * PIECE)
    async with two_directories(tmp_path) as store:
        sick = await write(store, "image", content)
        assert sick.uri == f"file://{tmp_path}/sick/image"
        sound = Location(f"file://{tmp_path}/sound/image")
        (tmp_path / "sound").mkdir(exist_ok=True)
        (tmp_path / "sound/image").write_bytes(content)
        hang.begin(call)
        for _ in range(2):  # as many as there are threads
            with pytest.raises(UnavailableError, match="has not answered"):
                await read(store, sick)
        with pytest.raises(UnavailableError, match="hangs"):
            await read(store, sick)
        for _ in range(3):
            assert await read(store, sound) == content
        hang.answers.set()
        await settled(lambda: not descriptors(tmp_path / "sick"))
        await settled(lambda: not store._directories._directories[0].threads.hangs)
        assert await read(store, sick) == content


async def test_a_close_that_hangs(tmp_path: Path, hang: Hang) -> None:
    """Nobody is told, for it is too late to matter, and the next ones find the threads taken."""
    async with two_directories(tmp_path) as store:
        location = await write(store, "image", b"x")
        real, hanging = os.close, threading.Event()

        def close(descriptor: int) -> None:
            name = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115  # a plain string
            if name.endswith("sick/image"):
                hanging.set()
                assert hang.answers.wait(WAIT_SECONDS)
            real(descriptor)

        hang.replace("close", close)
        for _ in range(2):
            assert await read(store, location) == b"x"
        assert hanging.is_set()
        with pytest.raises(UnavailableError, match="hangs"):
            await read(store, location)
        assert (await write(store, "other", b"x")).uri == f"file://{tmp_path}/sound/other"
        hang.answers.set()
        await settled(lambda: not descriptors(tmp_path / "sick"))


@pytest.mark.parametrize(
    "call", ["mkdir", "statvfs", "open", "pwrite", "fdatasync", "fsync", "link", "fchmod"]
)
async def test_writes_that_hang(tmp_path: Path, hang: Hang, call: str) -> None:
    """The first one fails, or goes elsewhere; further ones go elsewhere at once."""
    async with two_directories(tmp_path, permissions=0o644, sync_bytes=PIECE) as store:
        hang.begin(call)
        try:
            first = await write(store, "first", pattern(PIECE))
        except UnavailableError:
            pass
        else:
            assert first.uri == f"file://{tmp_path}/sound/first"
        calls = hang.calls
        for name in ("second", "third", "fourth"):
            location = await write(store, name, pattern(PIECE))
            assert location.uri == f"file://{tmp_path}/sound/{name}"
            assert await read(store, location) == pattern(PIECE)
            await store.delete(location)
        assert hang.calls == calls
        hang.answers.set()
        await settled(lambda: not descriptors(tmp_path / "sick"))
        assert listing(tmp_path / "sick") == []
        await settled(lambda: not store._directories._directories[0].threads.hangs)
        location = await write(store, "fifth", b"x")
        assert location.uri == f"file://{tmp_path}/sick/fifth"


async def test_all_directories_hang(tmp_path: Path, hang: Hang) -> None:
    places = (DataDirectory(tmp_path / "sick-1"), DataDirectory(tmp_path / "sick-2"))
    options = FilesystemOptions(places, hang_seconds=1.0)
    async with aclosing(FilesystemStore(options)) as store:
        hang.begin("statvfs")
        with pytest.raises(UnavailableError, match="has not answered"):
            await write(store, "image", b"x")
        with pytest.raises(UnavailableError, match="all data directories hang"):
            await write(store, "image", b"x")


async def test_another_directory_spelled_otherwise(tmp_path: Path, hang: Hang) -> None:
    (tmp_path / "link").symlink_to("sound")
    async with two_directories(tmp_path) as store:
        await write(store, "image", b"x")
        (tmp_path / "sound/image").write_bytes(b"y")
        hang.begin("lstat")
        assert await read(store, Location(f"file://{tmp_path}/link/image")) == b"y"
        with pytest.raises(UnavailableError):
            await read(store, Location(f"file://{tmp_path}/image"))


@pytest.mark.parametrize(
    ("permissions", "before", "after"),
    [
        (0o640, 0o700, 0o710),
        (0o644, 0o700, 0o711),
        (0o604, 0o700, 0o701),
        (0o600, 0o700, 0o700),
        (0o640, 0o2750, 0o2750),
        (None, 0o700, 0o700),
    ],
)
async def test_readers_of_files_may_pass_the_directory(
    tmp_path: Path, permissions: int | None, before: int, after: int
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    images.chmod(before)
    async with opened(images, permissions=permissions) as store:
        await write(store, "image", b"x")
    assert stat.S_IMODE(images.stat().st_mode) == after


async def test_a_directory_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(descriptor: int, mode: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        Path(f"/proc/self/fd/{descriptor}").chmod(mode)

    images = tmp_path / "images"
    images.mkdir(mode=0o700)
    monkeypatch.setattr(os, "fchmod", refused)
    async with opened(images, permissions=0o644) as store:
        await write(store, "image", b"x")
    assert stat.S_IMODE((images / "image").stat().st_mode) == 0o644
    assert "cannot be opened to readers" in caplog.text


async def test_the_metadata_of_mount_points(tmp_path: Path) -> None:
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    metadata = (
        {"id": "first", "mountpoint": str(one), "type": "nfs"},
        {"id": "second", "mountpoint": str(two)},
    )
    for directory, expected in ((one, metadata[0]), (two, metadata[1]), (three, {})):
        async with opened(directory, metadata=metadata) as store, store.create("image") as writer:
            result = await writer.commit()
        assert result.metadata == expected
