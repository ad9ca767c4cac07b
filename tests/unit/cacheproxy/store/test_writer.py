"""The writer: changes are seen at once, committed in batches, and never lost to a failed commit."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cacheproxy.errors import DiskFullError
from cacheproxy.store import writer as module
from cacheproxy.store.index import IndexFile
from cacheproxy.store.layout import Changes, Key, Table
from cacheproxy.store.writer import BATCH_CHANGES_MAX, Writer


class ScriptedIndex(IndexFile):
    """An index whose commits fail or wait as a test says."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.full = False
        self.gate = threading.Event()
        self.gate.set()
        self.batches: list[int] = []

    def apply(self, changes: Changes) -> int:
        """Commit, or fail."""
        assert self.gate.wait(10)
        self.batches.append(len(changes))
        if self.full:
            raise DiskFullError("writing the index: no space")
        return super().apply(changes)


class Bench:
    """A writer, its index, and what it reported."""

    def __init__(self, index: ScriptedIndex) -> None:
        self.index = index
        self.costs: list[int] = []
        self.committed = asyncio.Event()
        self.writer = Writer(self.index, self._committed)

    def _committed(self, cost: int) -> None:
        self.costs.append(cost)
        self.committed.set()

    def stored(self, name: str) -> bytes | None:
        """Return what is committed."""
        return self.index.get(image(name))


def image(name: str) -> Key:
    return Key(Table.IMAGES, name.encode())


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(await asyncio.to_thread(ScriptedIndex, tmp_path))
    yield made
    made.index.gate.set()
    await made.writer.close()


async def test_a_change_is_seen_at_once_and_committed_on_demand(bench: Bench) -> None:
    bench.writer.write(image("a"), b"1")
    assert bench.writer.read(image("a")) == b"1"
    assert bench.stored("a") is None
    await bench.writer.sync()
    assert bench.stored("a") == b"1"
    assert bench.writer.read(image("a")) == b"1"
    assert bench.costs == [bench.index._data.stat().st_blocks * 512]


async def test_nothing_to_sync(bench: Bench) -> None:
    await bench.writer.sync()
    assert bench.index.batches == []


async def test_it_commits_by_itself_after_a_while(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINGER_SECONDS", 0)
    bench.writer.write(image("a"), b"1")
    await bench.committed.wait()
    assert bench.stored("a") == b"1"


async def test_later_changes_win_whatever_is_being_committed(bench: Bench) -> None:
    bench.index.gate.clear()
    bench.writer.write(image("a"), b"1")
    first = bench.writer.committed()
    bench.writer.write(image("a"), b"2")
    assert bench.writer.read(image("a")) == b"2"
    bench.writer.write(image("a"), None)
    assert bench.writer.read(image("a")) is None
    bench.index.gate.set()
    await first
    assert bench.writer.read(image("a")) is None
    await bench.writer.sync()
    assert bench.stored("a") is None
    assert bench.index.batches == [1, 1]


async def test_sync_waits_for_all_changes_before_it(bench: Bench) -> None:
    changes = 2 * BATCH_CHANGES_MAX + 5
    bench.index.gate.clear()
    for i in range(changes):
        bench.writer.write(image(str(i)), b"x")
    synced = bench.writer.committed()
    bench.index.gate.set()
    await synced
    assert sum(bench.index.batches) == changes
    assert max(bench.index.batches) == BATCH_CHANGES_MAX
    assert all(bench.stored(str(i)) == b"x" for i in range(changes))


async def test_batches_are_bounded_in_bytes(bench: Bench) -> None:
    value = bytes(module.BATCH_BYTES_MAX // 3)
    bench.index.gate.clear()
    for i in range(6):
        bench.writer.write(image(str(i)), value)
    synced = bench.writer.committed()
    bench.index.gate.set()
    await synced
    assert max(bench.index.batches) <= 3
    assert sum(bench.index.batches) == 6


async def test_a_failed_commit_is_told_and_tried_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0)
    bench.index.full = True
    bench.writer.write(image("a"), b"1")
    bench.writer.write(image("b"), b"1")
    failing = bench.writer.committed()
    bench.writer.write(image("a"), b"2")  # while the first is being committed
    with pytest.raises(DiskFullError):
        await failing
    assert bench.costs == []
    assert (bench.writer.read(image("a")), bench.writer.read(image("b"))) == (b"2", b"1")
    bench.index.full = False
    await bench.committed.wait()
    await bench.writer.sync()
    assert (bench.stored("a"), bench.stored("b")) == (b"2", b"1")
    assert "failing" not in repr(bench.writer)


async def test_it_says_when_too_much_waits(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PENDING_BYTES_MAX", 10_000)
    bench.index.gate.clear()
    while not bench.writer.full:
        bench.writer.write(image(str(len(bench.writer._waiting))), bytes(1000))
    assert 5 < len(bench.writer._waiting) < 12
    bench.index.gate.set()
    await bench.writer.sync()
    assert not bench.writer.full
    assert bench.writer._waiting_bytes == 0


async def test_rewriting_a_change_does_not_add_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PENDING_BYTES_MAX", 10_000)
    for _ in range(100):
        bench.writer.write(image("a"), bytes(1000))
    assert not bench.writer.full
    await bench.writer.sync()
    assert bench.index.batches == [1]


async def test_names_include_what_is_not_committed(bench: Bench) -> None:
    for name in ("xa", "xb", "y"):
        bench.writer.write(image(name), b"1")
    await bench.writer.sync()
    bench.index.gate.clear()
    bench.writer.write(image("xa"), None)
    bench.writer.write(image("xc"), b"1")
    synced = bench.writer.committed()
    bench.writer.write(image("xd"), b"1")
    bench.writer.write(image("xc"), None)
    assert bench.writer.names(Table.IMAGES, b"x") == {b"xb", b"xd"}
    bench.index.gate.set()
    await synced


async def test_a_cancelled_sync_harms_nobody(bench: Bench) -> None:
    bench.index.gate.clear()
    bench.writer.write(image("a"), b"1")
    impatient = asyncio.create_task(bench.writer.sync())
    patient = asyncio.create_task(bench.writer.sync())
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.wait([impatient])
    bench.index.gate.set()
    await patient
    assert bench.stored("a") == b"1"


async def test_names_are_walked_in_order_whatever_is_committed(bench: Bench) -> None:
    def names() -> list[bytes]:
        walked: list[bytes] = []
        while found := bench.writer.names_after(Table.IMAGES, walked[-1] if walked else b"", 2):
            walked += found
        return walked

    assert names() == []
    for name in "bdfhjl":
        bench.writer.write(image(name), b"1")
    assert names() == [b"b", b"d", b"f", b"h", b"j", b"l"]
    await bench.writer.sync()
    bench.index.gate.clear()
    bench.writer.write(image("c"), b"1")
    bench.writer.write(image("d"), None)
    bench.writer.write(image("f"), None)
    bench.writer.write(image("h"), None)  # so that a whole slice is gone
    flying = bench.writer.committed()
    bench.writer.write(image("a"), b"1")
    bench.writer.write(image("h"), b"1")
    bench.writer.write(image("l"), None)
    bench.writer.write(image("z"), b"1")
    bench.writer.write(Key(Table.CONTENTS, b"e"), b"1")
    assert names() == [b"a", b"b", b"c", b"h", b"j", b"z"]
    bench.index.gate.set()
    await flying
    await bench.writer.sync()
    assert names() == [b"a", b"b", b"c", b"h", b"j", b"z"]
    assert bench.writer.count(Table.IMAGES) == 6


async def test_a_walk_goes_on_behind_a_slice_of_nothing_but_removals(bench: Bench) -> None:
    for name in "abcd":
        bench.writer.write(image(name), b"1")
    await bench.writer.sync()
    bench.writer.write(image("a"), None)
    bench.writer.write(image("b"), None)
    assert bench.writer.names_after(Table.IMAGES, b"", 2) == [b"c", b"d"]
