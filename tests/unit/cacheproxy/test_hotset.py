"""Open chunk files in a worker: leases, the bound, dying chunks, and every descriptor returned."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from cacheproxy.core.proof import Identity
from cacheproxy.hotset import HotFile, HotSet
from cacheproxy.meter import Board
from cacheproxy.metrics import HOT_FILES, LEASES


class Case:
    """A hot set of two files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.closed: list[bytes] = []
        self.board = Board.create(1)
        self.hot = HotSet(2, self.board.meter(0), self.closed.append)

    def add(self, name: str) -> HotFile:
        path = self.path / name
        path.write_text(name)
        fd = os.open(path, os.O_RDONLY)
        return self.hot.add(name.encode(), fd, len(name), Identity.of(os.fstat(fd)), 0.0)

    def counts(self) -> tuple[float, float]:
        return self.board.total(HOT_FILES), self.board.total(LEASES)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_the_least_recently_used_idle_file_gives_way(case: Case) -> None:
    for name in "ab":
        case.hot.release(case.add(name))
    file = case.hot.lease(b"a")
    assert file is not None
    case.hot.release(file)
    case.hot.release(case.add("c"))
    assert case.closed == [b"b"]
    case.hot.clear()
    assert sorted(case.closed) == [b"a", b"b", b"c"]
    assert case.counts() == (0, 0)


def test_what_was_used_without_a_lease_is_closed_after_what_was_not(case: Case) -> None:
    for name in "ab":
        case.hot.release(case.add(name))
    assert case.hot.at_hand(b"a") is not None
    case.hot.release(case.add("c"))
    assert case.closed == [b"b"]
    case.hot.release(case.add("d"))  # `a` had its second chance, and came before `c`
    assert case.closed == [b"b", b"a"]
    assert case.hot.at_hand(b"a") is None
    case.hot.clear()
    assert case.counts() == (0, 0)


def test_leased_files_stay_over_the_bound_until_released(case: Case) -> None:
    files = [case.add(name) for name in "abc"]
    assert case.closed == []
    assert case.counts() == (3, 3)
    case.hot.release(files[1])
    assert case.closed == [b"b"]
    case.hot.clear()
    assert case.closed == [b"b"]
    assert sorted(case.hot.held()) == [b"a", b"c"]
    for file in (files[0], files[2]):
        assert os.read(file.fd, 1) == file.digest  # still open for its sender
        case.hot.release(file)
    assert sorted(case.closed) == [b"a", b"b", b"c"]
    assert case.counts() == (0, 0)


def test_a_dying_chunk_is_not_leased_again_and_closed_after_its_last_lease(case: Case) -> None:
    file = case.add("a")
    case.hot.expel(b"a")
    assert case.hot.lease(b"a") is None
    assert case.closed == []
    case.hot.release(file)
    assert case.closed == [b"a"]
    case.hot.expel(b"a")
    assert case.closed == [b"a"]


def test_a_file_of_the_same_digest_takes_the_place_and_both_are_returned(case: Case) -> None:
    first, second = case.add("a"), case.add("a")
    assert first is not second
    case.hot.release(first)
    assert case.closed == [b"a"]
    case.hot.release(second)
    case.hot.clear()
    assert case.closed == [b"a", b"a"]


def test_a_file_that_a_sick_disk_does_not_tell_of_is_not_intact(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = case.add("a")
    with monkeypatch.context() as sick:

        def fail(_: int) -> os.stat_result:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        sick.setattr("cacheproxy.hotset.os.fstat", fail)
        assert not file.intact()
    assert file.intact()
    case.hot.release(file)
    case.hot.clear()


def test_a_file_that_was_written_is_not_intact(case: Case) -> None:
    file = case.add("a")
    assert file.intact()
    (case.path / "a").write_text("longer")
    assert not file.intact()
    case.hot.release(file)
    case.hot.clear()
