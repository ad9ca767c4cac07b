"""Reading chunk files: from memory or the disk under the lock, and round the page cache."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.residency import resident
from cacheproxy.store import proving
from cacheproxy.store.digest import digest_of
from cacheproxy.store.proving import disk_holds, prove, read_proven
from harness.damage import make_cold

DATA = os.urandom(5 * 4096 + 321)
DIGEST = digest_of(DATA)
SIZE = len(DATA)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "chunk"
    made.write_bytes(DATA)
    return made


@pytest.fixture
def fd(path: Path) -> Iterator[int]:
    opened = os.open(path, os.O_RDONLY)
    yield opened
    os.close(opened)


def test_the_bytes_and_nothing_else(fd: int) -> None:
    assert read_proven(fd, DIGEST, SIZE) == bytearray(DATA)
    assert read_proven(fd, digest_of(b"other"), SIZE) is None
    assert read_proven(fd, DIGEST, SIZE + 1) is None


@pytest.mark.parametrize("size", [1, 4095, 4096, 4097, 3 * 4096])
def test_any_size(tmp_path: Path, size: int) -> None:
    (tmp_path / "any").write_bytes(DATA[:size])
    fd = os.open(tmp_path / "any", os.O_RDONLY)
    try:
        assert read_proven(fd, digest_of(DATA[:size]), size) == bytearray(DATA[:size])
        assert disk_holds(fd, digest_of(DATA[:size]), size)
        assert not disk_holds(fd, digest_of(DATA[: size - 1]), size - 1), "it is too long"
        assert not disk_holds(fd, digest_of(DATA[: size + 1]), size + 1), "it is too short"
    finally:
        os.close(fd)


def test_damaged_pages_do_not_stay_in_memory(path: Path, fd: int) -> None:
    make_cold(path)
    assert read_proven(fd, digest_of(b"other"), SIZE) is None
    assert not resident(fd, 0, 4096)
    assert read_proven(fd, DIGEST, SIZE) == bytearray(DATA)
    assert resident(fd, 0, SIZE)


def test_what_is_hashed_only_leaves_nothing_that_the_next_could_be_taken_for(
    tmp_path: Path, fd: int
) -> None:
    assert prove(fd, DIGEST, SIZE)
    shorter = tmp_path / "shorter"
    shorter.write_bytes(DATA[:-1])  # a thread's memory has all of `DATA` from the last time
    make_cold(shorter)
    cut = os.open(shorter, os.O_RDONLY)
    try:
        assert not prove(cut, DIGEST, SIZE)
        assert not resident(cut, 0, SIZE - 1)
        assert prove(cut, digest_of(DATA[:-1]), SIZE - 1)
    finally:
        os.close(cut)
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        assert not prove(directory, DIGEST, SIZE), "nor what the disk does not give"
    finally:
        os.close(directory)


def test_the_lock_is_held_while_it_is_hashed(
    path: Path, fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[bool] = []

    def looking(data: bytearray) -> bytes:
        other = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            held.append(True)
        finally:
            os.close(other)
        return digest_of(data)

    with monkeypatch.context() as patch:
        patch.setattr(proving, "digest_of", looking)
        for digest in (DIGEST, digest_of(b"other")):
            _ = read_proven(fd, digest, SIZE)
    assert held == [True, True]
    other = os.open(path, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)  # free again
    os.close(other)


def test_what_cannot_be_read_is_damaged() -> None:
    directory = os.open("/", os.O_RDONLY)
    try:
        assert read_proven(directory, DIGEST, SIZE) is None
        assert not disk_holds(directory, DIGEST, SIZE)
    finally:
        os.close(directory)


def test_the_disk_is_asked_and_the_page_cache_let_be(path: Path, fd: int) -> None:
    make_cold(path)
    assert disk_holds(fd, DIGEST, SIZE)
    assert not resident(fd, 0, 4096), "nothing came into memory"
    assert read_proven(fd, DIGEST, SIZE) == bytearray(DATA)
    assert disk_holds(fd, DIGEST, SIZE)
    assert resident(fd, 0, SIZE), "nothing went out of it"


def test_a_file_system_that_knows_no_direct_reads(
    path: Path, fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = os.open

    def refusing(name: str, flags: int) -> int:
        if flags & os.O_DIRECT:
            raise OSError(22, "Invalid argument")
        return plain(name, flags)

    make_cold(path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refusing)
        assert disk_holds(fd, DIGEST, SIZE)
        assert not disk_holds(fd, digest_of(b"other"), SIZE)
    assert not resident(fd, 0, 4096)
    assert read_proven(fd, DIGEST, SIZE) == bytearray(DATA)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refusing)
        assert disk_holds(fd, DIGEST, SIZE)
    assert resident(fd, 0, SIZE), "what was there stays"
