"""The index file: tables that agree with one another, and damage that is noticed."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import pytest

from cacheproxy.core.eviction import Place
from cacheproxy.errors import ConfigError
from cacheproxy.store.index import IndexFile
from cacheproxy.store.layout import (
    STATE,
    Changes,
    ChunkEntry,
    IndexDamagedError,
    Key,
    State,
    Sum,
    Table,
    owner_name,
    page_name,
)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[IndexFile]:
    made = IndexFile(tmp_path)
    yield made
    made.close()


def name(number: int) -> bytes:
    return bytes([number]) * 32


def chunks(places: dict[int, Place], cost: int = 4096, owner: int = 0) -> Changes:
    return {
        Key(Table.CHUNKS, name(number)): ChunkEntry(100, cost, place, owner).pack()
        for number, place in places.items()
    }


def test_order_and_totals_follow_the_chunks(index: IndexFile) -> None:
    index.apply(chunks({1: Place(0, 10), 2: Place(0, 20), 3: Place(0, 5)}))
    assert index.oldest(0, -1, 10) == [(5, name(3)), (10, name(1)), (20, name(2))]
    assert index.census().total == Sum(3, 3 * 4096)
    index.apply(chunks({3: Place(0, 30)}, cost=8192))
    assert index.oldest(0, -1, 10) == [(10, name(1)), (20, name(2)), (30, name(3))]
    assert index.census().total == Sum(3, 4 * 4096)
    index.apply({Key(Table.CHUNKS, name(1)): None, Key(Table.CHUNKS, name(9)): None})
    assert index.oldest(0, -1, 10) == [(20, name(2)), (30, name(3))]
    assert index.census().total == Sum(2, 3 * 4096)


def test_the_old_end_is_read_in_pieces_and_by_queue(index: IndexFile) -> None:
    index.apply(chunks({i: Place(i % 2, i) for i in range(6)}))
    assert index.oldest(0, -1, 2) == [(0, name(0)), (2, name(2))]
    assert index.oldest(0, 2, 2) == [(4, name(4))]
    assert index.oldest(0, 4, 2) == []
    assert index.oldest(1, 1, 9) == [(3, name(3)), (5, name(5))]
    assert index.oldest(2, -1, 9) == []


def test_sums_follow_by_queue_and_by_owner(index: IndexFile) -> None:
    index.apply(chunks({1: Place(0, 1), 2: Place(1, 2)}, owner=5))
    index.apply(chunks({3: Place(1, 3)}, owner=6))
    index.apply(chunks({4: Place(1, 4)}))
    census = index.census()
    assert census.queues == {0: Sum(1, 4096), 1: Sum(3, 3 * 4096)}
    assert census.owners == {5: Sum(2, 2 * 4096), 6: Sum(1, 4096)}
    index.apply(chunks({2: Place(0, 9)}, cost=8192, owner=5))
    index.apply({Key(Table.CHUNKS, name(3)): None, Key(Table.CHUNKS, name(4)): None})
    census = index.census()
    assert census.queues == {0: Sum(2, 3 * 4096)}, "and an empty queue is not kept"
    assert census.owners == {5: Sum(2, 3 * 4096)}
    assert (census.queue(1), census.owner(6)) == (Sum(), Sum())


def test_the_oldest_of_one_owner(index: IndexFile) -> None:
    index.apply(chunks({1: Place(0, 1), 3: Place(0, 3), 5: Place(1, 5)}, owner=5))
    index.apply(chunks({2: Place(0, 2)}, owner=6))
    index.apply(chunks({4: Place(0, 4)}))
    assert index.oldest(0, -1, 9, owner=5) == [(1, name(1)), (3, name(3))]
    assert index.oldest(0, -1, 1, owner=5) == [(1, name(1))]
    assert index.oldest(0, 1, 9, owner=5) == [(3, name(3))]
    assert index.oldest(0, 2, 9, owner=6) == []
    assert index.oldest(1, -1, 9, owner=6) == []
    assert index.oldest(0, -1, 9, owner=7) == []
    index.apply(chunks({1: Place(1, 6)}, owner=5))
    index.apply({Key(Table.CHUNKS, name(3)): None})
    assert index.oldest(0, -1, 9, owner=5) == []
    assert index.oldest(1, -1, 9, owner=5) == [(5, name(5)), (6, name(1))]


def test_every_project_is_known(index: IndexFile) -> None:
    assert index.projects() == {}
    index.apply({Key(Table.PROJECTS, b"p"): owner_name(9)})
    assert index.projects() == {b"p": 9}


def test_what_a_table_takes(index: IndexFile) -> None:
    assert index.size(Table.PAGES) == 0
    pages = {Key(Table.PAGES, page_name(b"a", number)): bytes(32768) for number in range(10)}
    index.apply(pages)
    assert 10 * 32768 < index.size(Table.PAGES) < 12 * 32768
    index.apply(dict.fromkeys(pages))
    assert index.size(Table.PAGES) == 0


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
        assert ChunkEntry.unpack(packed) == ChunkEntry(100, 4096, Place(0, 1, 2), 0)
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


@pytest.mark.parametrize("schema", [b"", b"x", b"-1", b"1.0"])
def test_a_schema_that_is_no_number_is_damaged(tmp_path: Path, schema: bytes) -> None:
    index = IndexFile(tmp_path)
    index.apply({Key(Table.META, b"schema"): schema})
    index.close()
    with pytest.raises(IndexDamagedError, match="no known version"):
        IndexFile(tmp_path)


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    index = IndexFile(tmp_path)
    index.apply({Key(Table.META, b"schema"): b"999", **chunks({1: Place(0, 1)})})
    index.close()
    for _ in range(2):
        with pytest.raises(
            ConfigError, match=r"schema 999, this program knows 2: run .* or remove"
        ):
            IndexFile(tmp_path)


def schema_1(directory: Path, places: dict[int, Place]) -> None:
    """Write an index as the first version did."""
    entry, order = struct.Struct("<BIIBBQ"), struct.Struct(">BQ")
    environment = lmdb.open(str(directory), max_dbs=16, map_size=1 << 24)
    tables = {
        table: environment.open_db(table)
        for table in (b"meta", b"chunks", b"order", b"zeros", b"images", b"contents", b"pages")
    }
    with environment.begin(write=True) as txn:
        txn.put(b"schema", b"1", db=tables[b"meta"])
        txn.put(b"state", State(1 << 20, clean=True).pack(), db=tables[b"meta"])
        for number, (queue, stamp, hits) in places.items():
            row = entry.pack(1, 100, 8, queue, hits, stamp)
            txn.put(name(number), row, db=tables[b"chunks"])
            txn.put(order.pack(queue, stamp), name(number), db=tables[b"order"])
        if places:
            totals = struct.pack("<BQQ", 1, len(places), len(places) * 4096)
            txn.put(b"totals", totals, db=tables[b"meta"])
        txn.put(b"image", b"x", db=tables[b"images"])
    environment.close()


def test_schema_1_is_migrated_in_place(tmp_path: Path) -> None:
    schema_1(tmp_path, {number: Place(0, 100 - number) for number in range(100)})
    for changed in range(3):  # the first opening migrates, the others find it done
        index = IndexFile(tmp_path)
        try:
            census = index.census()
            assert census.queues == {0: Sum(100, 100 * 4096)}
            assert sum(sum_.chunks for sum_ in census.owners.values()) == changed
            assert State.unpack(index.get(STATE)) == State(1 << 20, clean=True)
            assert index.get(Key(Table.IMAGES, b"image")) == b"x"
            assert index.get(Key(Table.META, b"schema")) == b"2"
            assert index.get(Key(Table.META, b"totals")) is None
            assert index.oldest(0, -1, 1) == [(1, name(99))]
            packed = index.get(Key(Table.CHUNKS, name(50)))
            assert packed is not None
            assert ChunkEntry.unpack(packed) == ChunkEntry(100, 4096, Place(0, 50))
            index.apply(chunks({changed: Place(0, 1000 + changed)}, owner=3))
        finally:
            index.close()


def test_an_empty_index_of_schema_1_is_migrated(tmp_path: Path) -> None:
    schema_1(tmp_path, {})
    index = IndexFile(tmp_path)
    assert index.census().queues == {}
    index.close()


def test_a_migration_that_is_killed_begins_afresh(tmp_path: Path) -> None:
    schema_1(tmp_path, {1: Place(0, 1)})
    if not (child := os.fork()):
        with pytest.MonkeyPatch.context() as patch:
            done = IndexFile._migrate_from_1

            def killed(self: IndexFile, txn: lmdb.Transaction[bytes]) -> None:
                done(self, txn)
                os._exit(9)

            patch.setattr(IndexFile, "_migrate_from_1", killed)
            IndexFile(tmp_path)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 9
    index = IndexFile(tmp_path)
    assert index.census().queues == {0: Sum(1, 4096)}
    index.close()


def test_a_failed_opening_lets_the_file_go(tmp_path: Path) -> None:
    data = fill(tmp_path)
    whole = data.read_bytes()
    os.truncate(data, len(whole) - 4096)
    with pytest.raises(IndexDamagedError):
        IndexFile(tmp_path)
    data.write_bytes(whole)
    index = IndexFile(tmp_path)  # LMDB refuses a file that is still open in this process
    assert index.census().total == Sum(200, 200 * 4096)
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
