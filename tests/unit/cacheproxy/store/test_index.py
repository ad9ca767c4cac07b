"""The index file: tables that agree with one another, and damage that is noticed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import pytest

from cacheproxy.core.eviction import Place
from cacheproxy.store.index import (
    STATE,
    Changes,
    ChunkEntry,
    IndexDamagedError,
    IndexFile,
    Key,
    State,
    Table,
    Totals,
    page_name,
)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[IndexFile]:
    made = IndexFile(tmp_path)
    yield made
    made.close()


def name(number: int) -> bytes:
    return bytes([number]) * 32


def chunks(places: dict[int, Place], cost: int = 4096) -> Changes:
    return {
        Key(Table.CHUNKS, name(number)): ChunkEntry(100, cost, place).pack()
        for number, place in places.items()
    }


def test_order_and_totals_follow_the_chunks(index: IndexFile) -> None:
    index.apply(chunks({1: Place(0, 10), 2: Place(0, 20), 3: Place(0, 5)}))
    assert index.oldest(0, -1, 10) == [(5, name(3)), (10, name(1)), (20, name(2))]
    assert index.totals() == Totals(3, 3 * 4096)
    index.apply(chunks({3: Place(0, 30)}, cost=8192))
    assert index.oldest(0, -1, 10) == [(10, name(1)), (20, name(2)), (30, name(3))]
    assert index.totals() == Totals(3, 4 * 4096)
    index.apply({Key(Table.CHUNKS, name(1)): None, Key(Table.CHUNKS, name(9)): None})
    assert index.oldest(0, -1, 10) == [(20, name(2)), (30, name(3))]
    assert index.totals() == Totals(2, 3 * 4096)


def test_the_old_end_is_read_in_pieces_and_by_queue(index: IndexFile) -> None:
    index.apply(chunks({i: Place(i % 2, i) for i in range(6)}))
    assert index.oldest(0, -1, 2) == [(0, name(0)), (2, name(2))]
    assert index.oldest(0, 2, 2) == [(4, name(4))]
    assert index.oldest(0, 4, 2) == []
    assert index.oldest(1, 1, 9) == [(3, name(3)), (5, name(5))]
    assert index.oldest(2, -1, 9) == []


def test_the_youngest_stamp_of_all_queues(index: IndexFile) -> None:
    assert index.last_stamp() == 0
    index.apply(chunks({1: Place(0, 70), 2: Place(1, 300), 3: Place(2, 4)}))
    assert index.last_stamp() == 300
    index.apply(chunks({4: Place(0, 1 << 40)}))
    assert index.last_stamp() == 1 << 40


def test_names_by_prefix(index: IndexFile) -> None:
    pages = [page_name(b"a", 0), page_name(b"a", 300), page_name(b"ab", 0)]
    index.apply({Key(Table.PAGES, page): b"x" for page in pages})
    assert index.names(Table.PAGES, page_name(b"a", 0)[:-4]) == pages[:2]
    assert index.names(Table.PAGES, b"") == sorted(pages)
    assert index.names(Table.PAGES, b"b") == []


def test_all_or_nothing(index: IndexFile) -> None:
    good = Key(Table.IMAGES, b"good")
    with pytest.raises(IndexDamagedError):
        index.apply({good: b"x", Key(Table.CHUNKS, name(1)): b"no entry"})
    assert index.get(good) is None


class Watched:
    """An LMDB environment whose forced syncs are counted."""

    def __init__(self, environment: lmdb.Environment) -> None:
        self._environment = environment
        self.forced = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._environment, name)

    def sync(self, force: bool = False) -> None:
        """Count, and do it."""
        self.forced += force
        self._environment.sync(force)


def test_only_a_commit_of_the_state_has_to_survive_a_power_cut(index: IndexFile) -> None:
    watched = index._env = Watched(index._env)  # type: ignore[assignment]  # stands in for it
    index.apply(chunks({1: Place(0, 1)}))
    assert watched.forced == 0
    index.apply({STATE: State(5, clean=False).pack()})
    assert watched.forced == 1


def test_it_is_all_there_again(tmp_path: Path) -> None:
    index = IndexFile(tmp_path)
    cost = index.apply({STATE: State(5, clean=True).pack(), **chunks({1: Place(0, 1, 2)})})
    assert cost == (tmp_path / "data.mdb").stat().st_blocks * 512
    index.close()
    index = IndexFile(tmp_path)
    try:
        assert State.unpack(index.get(STATE)) == State(5, clean=True)
        packed = index.get(Key(Table.CHUNKS, name(1)))
        assert packed is not None
        assert ChunkEntry.unpack(packed) == ChunkEntry(100, 4096, Place(0, 1, 2))
    finally:
        index.close()


def fill(directory: Path) -> Path:
    index = IndexFile(directory)
    index.apply(chunks({i: Place(0, i) for i in range(200)}))
    index.close()
    return directory / "data.mdb"


def test_a_file_that_is_cut_short_is_damaged(tmp_path: Path) -> None:
    data = fill(tmp_path)
    os.truncate(data, data.stat().st_size - 4096)
    with pytest.raises(IndexDamagedError, match="cut short"):
        IndexFile(tmp_path)


@pytest.mark.parametrize("size", [1, 4096, 1 << 16])
def test_a_file_of_other_bytes_is_damaged(tmp_path: Path, size: int) -> None:
    fill(tmp_path).write_bytes(b"\xff" * size)
    with pytest.raises(IndexDamagedError):
        IndexFile(tmp_path)


def test_another_schema_is_damaged(tmp_path: Path) -> None:
    index = IndexFile(tmp_path)
    index.apply({Key(Table.META, b"schema"): b"999"})
    index.close()
    with pytest.raises(IndexDamagedError, match="another version"):
        IndexFile(tmp_path)


def test_a_failed_opening_lets_the_file_go(tmp_path: Path) -> None:
    data = fill(tmp_path)
    whole = data.read_bytes()
    os.truncate(data, len(whole) - 4096)
    with pytest.raises(IndexDamagedError):
        IndexFile(tmp_path)
    data.write_bytes(whole)
    index = IndexFile(tmp_path)  # LMDB refuses a file that is still open in this process
    assert index.totals() == Totals(200, 200 * 4096)
    index.close()


def test_a_reader_that_died_is_cleared(tmp_path: Path) -> None:
    index = IndexFile(tmp_path)
    index.close()
    if not (child := os.fork()):
        environment = lmdb.open(str(tmp_path), max_dbs=16)
        environment.begin()
        os._exit(0)  # as if killed: the transaction stays in the table of readers
    os.waitpid(child, 0)
    index = IndexFile(tmp_path)
    try:
        assert index._env.readers() == "(no active readers)\n"
    finally:
        index.close()


@pytest.mark.parametrize("packed", [b"", b"\x01", b"\x02" + bytes(18)])
def test_an_entry_that_cannot_be_read_is_damage(packed: bytes) -> None:
    with pytest.raises(IndexDamagedError):
        ChunkEntry.unpack(packed)


@pytest.mark.parametrize("packed", [None, b"", b"\x02" + bytes(9), bytes(30)])
def test_a_state_that_cannot_be_read_is_unknown(packed: bytes | None) -> None:
    assert State.unpack(packed) is None
