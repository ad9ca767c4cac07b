"""Chunk files: whole or not at all, and only ours."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from cacheproxy.core.proof import Identity
from cacheproxy.errors import ChunkLostError, DiskFullError, ReadOnlyDiskError, StorageError
from cacheproxy.store.digest import digest_of
from cacheproxy.store.files import CHUNK_BYTES_MAX, ChunkFiles, Written
from cacheproxy.store.quarantine import Quarantine
from harness.store_case import chunk, chunk_path, planted

DATA = chunk(1)
DIGEST = digest_of(DATA)


def never() -> bool:
    return False


def write(files: ChunkFiles, digest: bytes = DIGEST, data: bytes = DATA) -> Written:
    """Write a chunk; its open file is what was written, and can only be read."""
    written = files.write(digest, data, never)
    assert written is not None
    assert written.fd is not None
    try:
        assert os.pread(written.fd, len(data) + 1, 0) == data
        assert fcntl.fcntl(written.fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
        assert Identity.of(os.fstat(written.fd)) == written.identity
    finally:
        os.close(written.fd)
    return written


@pytest.fixture(params=["unnamed", "named"])
def files(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ChunkFiles]:
    """Both ways of writing: temporary files without a name, and with one."""
    made = ChunkFiles.open(tmp_path)
    assert made._unnamed, "the test's own file system has O_TMPFILE"
    made._unnamed = request.param == "unnamed"
    yield made
    made.close()
    assert not list((tmp_path / "staging").iterdir())


def test_a_chunk_is_whole_and_read_only_under_its_digest(files: ChunkFiles, tmp_path: Path) -> None:
    written = write(files)
    path = chunk_path(tmp_path, DIGEST)
    assert path.read_bytes() == DATA
    status = path.stat()
    assert stat.S_IMODE(status.st_mode) == 0o440
    assert written.cost == status.st_blocks * 512
    fd, identity = files.open_chunk(DIGEST)
    try:
        assert identity == written.identity
    finally:
        os.close(fd)


def test_an_abandoned_chunk_leaves_nothing(files: ChunkFiles, tmp_path: Path) -> None:
    assert files.write(DIGEST, DATA, lambda: True) is None
    assert not chunk_path(tmp_path, DIGEST).exists()


def test_an_unknown_file_of_the_same_name_gives_way(files: ChunkFiles, tmp_path: Path) -> None:
    path = planted(tmp_path, DIGEST)
    path.write_bytes(b"left by a crash")
    write(files)
    assert path.read_bytes() == DATA


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, DiskFullError),
        (errno.EDQUOT, DiskFullError),
        (errno.EIO, StorageError),
        (errno.EROFS, ReadOnlyDiskError),
    ],
)
def test_a_failure_leaves_nothing(
    files: ChunkFiles,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    kind: type[StorageError],
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fchmod", fail)  # after the data, before the name
    with pytest.raises(StorageError) as raised:
        files.write(DIGEST, DATA, never)
    assert type(raised.value) is kind
    assert str(tmp_path) not in str(raised.value)
    assert not chunk_path(tmp_path, DIGEST).exists()


def test_a_directory_that_vanished_is_made_again(files: ChunkFiles, tmp_path: Path) -> None:
    planted(tmp_path, DIGEST).parent.rmdir()
    write(files)
    assert chunk_path(tmp_path, DIGEST).read_bytes() == DATA


def test_short_writes_are_continued(
    files: ChunkFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: plain(fd, data[:1000]))
    write(files)
    monkeypatch.undo()
    assert chunk_path(tmp_path, DIGEST).read_bytes() == DATA


def test_what_is_no_regular_file_is_lost(files: ChunkFiles, tmp_path: Path) -> None:
    path = planted(tmp_path, DIGEST)
    with pytest.raises(ChunkLostError):
        files.open_chunk(DIGEST)
    path.symlink_to("/etc/hostname")
    with pytest.raises(ChunkLostError):
        files.open_chunk(DIGEST)
    assert files.look(DIGEST) is None
    path.unlink()
    path.mkdir()
    with pytest.raises(ChunkLostError):
        files.open_chunk(DIGEST)
    assert files.found(DIGEST[0]) == []


def test_only_chunks_are_found(files: ChunkFiles, tmp_path: Path) -> None:
    write(files)
    folder = chunk_path(tmp_path, DIGEST).parent
    for name in ("notes", DIGEST.hex() + "x", DIGEST.hex().upper(), "0" * 64):
        (folder / name).write_text("theirs")
    assert DIGEST[0] != 0
    (found,) = files.found(DIGEST[0])
    assert (found.digest, found.size) == (DIGEST, len(DATA))
    assert found.cost == chunk_path(tmp_path, DIGEST).stat().st_blocks * 512
    folder.rename(tmp_path / "elsewhere")
    assert files.found(DIGEST[0]) == []


def test_removing_tells_what_stayed(files: ChunkFiles, tmp_path: Path) -> None:
    other = digest_of(b"other")
    write(files)
    planted(tmp_path, other).mkdir()
    cost = chunk_path(tmp_path, DIGEST).stat().st_blocks * 512
    gone, never_was, stuck = files.unlink([DIGEST, digest_of(b"third"), other])
    assert (gone, never_was) == (cost, 0)
    assert isinstance(stuck, StorageError)
    assert not chunk_path(tmp_path, DIGEST).exists()


def test_quarantine_keeps_the_latest_within_its_bounds(files: ChunkFiles, tmp_path: Path) -> None:
    digests = []
    for seed in range(4):
        data = chunk(seed, 4096)
        digests.append(digest_of(data))
        write(files, digests[-1], data)
    costs = [files.set_aside(digest, bytes_max=3 * 4096) for digest in digests]
    assert costs == [4096, 8192, 12288, 12288]
    kept = sorted(path.name for path in (tmp_path / "quarantine").iterdir())
    assert kept == sorted(f"{digest.hex()}.{i}" for i, digest in enumerate(digests, 1) if i > 1)
    assert files.set_aside(digests[0], bytes_max=3 * 4096) == 12288  # gone already
    assert Quarantine(tmp_path / "quarantine").cost == 12288, "as the next keeper finds it"


@pytest.mark.parametrize("full", [False, True])
def test_zeros_take_no_space_and_need_none(
    files: ChunkFiles, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    plain = os.open

    def fail(path: str, flags: int, *args: int) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return plain(path, flags, *args)

    with monkeypatch.context() as patch:
        if full:
            patch.setattr(os, "open", fail)
        fd, identity = files.make_zeros()
    try:
        assert Identity.of(os.fstat(fd)) == identity
        assert identity.size == CHUNK_BYTES_MAX
        assert os.fstat(fd).st_blocks == 0
        assert os.pread(fd, CHUNK_BYTES_MAX, 0) == bytes(CHUNK_BYTES_MAX)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.pwrite(fd, b"x", 0)
    finally:
        os.close(fd)
