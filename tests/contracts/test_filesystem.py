from __future__ import annotations

import errno
import os
import resource
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from backends.errors import (
    DeniedError,
    DuplicateError,
    InvalidError,
    MissingError,
    NoSpaceError,
    StoreError,
    UnavailableError,
)
from backends.file.store import FilesystemStore
from backends.location import Location
from backends.options import DataDirectory, FilesystemOptions
from contracts.store import PruneContract
from contracts.subject import PIECE, Subject, pattern, read, write


@asynccontextmanager
async def opened(*directories: Path, **options: Any) -> AsyncIterator[FilesystemStore]:
    places = tuple(map(DataDirectory, directories))
    store = FilesystemStore(FilesystemOptions(places, piece_bytes=PIECE, **options))
    try:
        yield store
    finally:
        await store.aclose()


def listing(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


def filesystem_subject(store: FilesystemStore, directory: Path) -> Subject:
    async def leftovers() -> set[str]:
        return set(listing(directory))

    missing = Location(f"file://{directory}/absent")
    return Subject(store, partial(write, store), leftovers, missing)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FilesystemStore]:
    async with opened(tmp_path / "images") as store:
        yield store


def _without_nameless_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make os.open behave as on NFS."""
    real_open = os.open

    def without(path: str, flags: int, *rest: Any, **options: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return real_open(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", without)


class TestFilesystem(PruneContract):
    @pytest.fixture(params=["nameless", "named"])
    async def subject(
        self, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> AsyncIterator[Subject]:
        if request.param == "named":
            _without_nameless_files(monkeypatch)
        async with opened(tmp_path / "images", sync_bytes=PIECE) as store:
            yield filesystem_subject(store, tmp_path / "images")


async def test_glances_layout(store: FilesystemStore, tmp_path: Path) -> None:
    location = await write(store, "image", b"content")
    assert location.uri == f"file://{tmp_path}/images/image"
    assert (tmp_path / "images/image").read_bytes() == b"content"
    for spelling in (
        f"filesystem://{tmp_path}/images/image",
        f"FILE://{tmp_path}/images/image",
        f"file://{tmp_path}/images//image",
        f"file://{tmp_path}/./images/image",
    ):
        assert await read(store, Location(spelling)) == b"content"


async def test_a_data_directory_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "images").symlink_to("disk")
    async with opened(tmp_path / "images") as store:
        location = await write(store, "image", b"content")
        assert location.uri == f"file://{tmp_path}/images/image"
        assert await read(store, location) == b"content"
        assert await read(store, Location(f"file://{tmp_path}/disk/image")) == b"content"


@pytest.fixture
def traps(tmp_path: Path) -> Path:
    """Fill a data directory with ways out of it."""
    images = tmp_path / "images"
    (images / "folder").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/secret").write_text("secret")
    (images / "link").symlink_to(tmp_path / "secret")
    (images / "dangling").symlink_to(tmp_path / "nothing")
    (images / "inside").symlink_to("folder")
    (images / "out").symlink_to(tmp_path / "other")
    (images / "folder/deep").write_text("secret")
    os.mkfifo(images / "pipe")
    return tmp_path


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("secret", DeniedError),
        ("other/secret", DeniedError),
        ("images/../secret", DeniedError),
        ("images/../other/secret", DeniedError),
        ("images/out/secret", DeniedError),
        ("images/folder/deep", DeniedError),
        ("images/inside/deep", DeniedError),
        ("images/folder/../../secret", DeniedError),
        ("images/link", DeniedError),
        ("images/dangling", DeniedError),
        ("images/folder", DeniedError),
        ("images/pipe", DeniedError),
        ("images/..", InvalidError),
        ("images/.", InvalidError),
        ("images/", InvalidError),
        ("images/.image.0123.part", InvalidError),
        ("images/absent", MissingError),
        ("images/" + "x" * 256, InvalidError),
        ("images/a\0b", InvalidError),
        ("ima\0ges/b", InvalidError),
    ],
)
async def test_no_way_out(traps: Path, path: str, error: type[StoreError]) -> None:
    def tree() -> list[str]:
        return sorted(str(found) for found in traps.rglob("*"))

    before = tree()
    location = Location(f"file://{traps}/{path}")
    async with opened(traps / "images") as store:
        with pytest.raises(error):
            await store.stat(location)
        with pytest.raises(error):
            await read(store, location)
        with pytest.raises(error):
            await store.delete(location)
    assert tree() == before


@pytest.mark.parametrize(
    "uri", ["file:///etc/passwd", "file://etc/passwd", "file:/etc/passwd", "/etc/passwd", "file://"]
)
async def test_not_in_the_store(store: FilesystemStore, uri: str) -> None:
    with pytest.raises((DeniedError, InvalidError)):
        await store.stat(Location(uri))


async def test_a_name_that_is_a_link_is_taken(traps: Path) -> None:
    async with opened(traps / "images") as store:
        for name in ("link", "dangling", "pipe", "folder"):
            with pytest.raises(DuplicateError):
                await write(store, name, b"x")
    assert (traps / "secret").read_text() == "secret"
    assert not (traps / "nothing").exists()


@pytest.mark.parametrize(("permissions", "expected"), [(None, 0o640), (0o604, 0o604)])
async def test_permissions(tmp_path: Path, permissions: int | None, expected: int) -> None:
    before = os.umask(0o027)
    try:
        async with opened(tmp_path / "images", permissions=permissions) as store:
            await write(store, "image", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "images/image").stat().st_mode) == expected


async def test_large_pieces(tmp_path: Path) -> None:
    options = FilesystemOptions((DataDirectory(tmp_path / "images"),))
    store = FilesystemStore(options)
    content = pattern(2 * options.piece_bytes + 1)
    location = await write(store, "image", content)
    async with store.read(location) as stream:
        lengths = [len(piece) async for piece in stream]
    assert lengths == [1 << 20, 1 << 20, 1]
    await store.aclose()


class Calls:
    """The calls of the file system, in order, by what they were called on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[str] = []
        self.failing: dict[str, int] = {}
        for name in ("pwrite", "fsync", "fdatasync", "link", "unlink"):
            monkeypatch.setattr(os, name, partial(self._call, name, getattr(os, name)))

    def _call(self, name: str, real: Callable[..., Any], *args: Any, **options: Any) -> Any:
        what = name
        if name == "fsync":
            what = "fsync " + ("dir" if stat.S_ISDIR(os.fstat(args[0]).st_mode) else "file")
        self.made.append(what)
        if code := self.failing.get(what):
            raise OSError(code, os.strerror(code))
        return real(*args, **options)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(monkeypatch)


async def test_the_order_of_durability(store: FilesystemStore, calls: Calls) -> None:
    location = await write(store, "image", b"x")
    assert calls.made == ["pwrite", "fsync file", "link", "fsync dir"]
    calls.made.clear()
    await store.delete(location)
    assert calls.made == ["unlink", "fsync dir"]


async def test_dirty_pages_are_bounded(tmp_path: Path, calls: Calls) -> None:
    async with (
        opened(tmp_path / "images", sync_bytes=PIECE) as store,
        store.create("image") as writer,
    ):
        for _ in range(4):
            await writer.write(pattern(PIECE // 2))
        assert calls.made == ["pwrite", "pwrite", "fdatasync"] * 2


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (errno.ENOSPC, NoSpaceError),
        (errno.EDQUOT, NoSpaceError),
        (errno.EROFS, DeniedError),
        (errno.EACCES, DeniedError),
        (errno.EIO, UnavailableError),
        (errno.ESTALE, UnavailableError),
        (errno.ETIMEDOUT, UnavailableError),
    ],
)
@pytest.mark.parametrize("call", ["pwrite", "fsync file", "link", "fsync dir"])
async def test_a_failing_write_leaves_nothing(
    *,
    store: FilesystemStore,
    tmp_path: Path,
    calls: Calls,
    call: str,
    code: int,
    expected: type[StoreError],
) -> None:
    calls.failing[call] = code
    with pytest.raises(expected) as caught:
        await write(store, "image", b"x")
    assert type(caught.value) is expected
    assert listing(tmp_path / "images") == []
    calls.failing.clear()
    await write(store, "image", b"x")
    assert listing(tmp_path / "images") == ["image"]


async def test_no_commit_after_a_failed_write(
    store: FilesystemStore, tmp_path: Path, calls: Calls
) -> None:
    async with store.create("image", 2) as writer:
        await writer.write(b"x")
        calls.failing["pwrite"] = errno.ENOSPC
        with pytest.raises(NoSpaceError):
            await writer.write(b"y")
        with pytest.raises(InvalidError):
            await writer.commit()
    assert listing(tmp_path / "images") == []


@pytest.fixture
def file_size_limit() -> Iterator[int]:
    """Let the kernel refuse to make files longer than that: a full disk without a file system."""
    limit = 16 << 20  # it also holds for the file that pytest's own output may go to
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_write_that_ends_in_the_middle(
    store: FilesystemStore, tmp_path: Path, file_size_limit: int
) -> None:
    async with store.create("image") as writer:
        with pytest.raises(NoSpaceError):
            await writer.write(pattern(file_size_limit + 1))
        with pytest.raises(InvalidError):
            await writer.commit()
    assert listing(tmp_path / "images") == []


async def test_a_file_that_becomes_shorter(store: FilesystemStore, tmp_path: Path) -> None:
    location = await write(store, "image", pattern(3 * PIECE))
    async with store.read(location) as stream:
        pieces = aiter(stream)
        await anext(pieces)
        os.truncate(tmp_path / "images/image", PIECE + 1)
        assert await anext(pieces) == pattern(3 * PIECE)[PIECE : PIECE + 1]
        with pytest.raises(InvalidError):
            await anext(pieces)


async def test_clearing_takes_unfinished_files(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    second.mkdir()
    (second / "image").write_bytes(b"x")
    unfinished = ".image.0123456789abcdef.part"
    others = {".images.0123456789abcdef.part", ".image.0123.part", "image.part", "folder"}
    for name in {unfinished, *others} - {"folder"}:
        (second / name).write_bytes(b"x")
    (second / "folder").mkdir()
    async with opened(first, second) as store:
        assert await store.clear("image") == 2
        assert await store.clear("folder") == 0
    assert set(listing(second)) == others
    assert not first.exists()
