"""Starts after anything: what is there is served, what is not is forgotten, the ledger is right."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cacheproxy.errors import ChunkLostError, ConfigError, NoRoomError
from cacheproxy.metrics import CACHE_BYTES
from cacheproxy.store import room
from cacheproxy.store.digest import digest_of
from cacheproxy.store.layout import Table
from cacheproxy.store.reconcile import Reconciler
from contracts.cancelling import cancelled_everywhere
from harness.store_case import (
    CHUNK,
    StoreCase,
    allocated_by_us,
    chunk,
    chunk_path,
    open_case,
    open_descriptors,
    opened,
    planted,
)

SMALL = 9 << 20


async def test_a_clean_start_knows_everything_at_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as case:
        digests = await case.fill(range(5))
    async with opened(tmp_path) as case:
        ledger = case.store._ledger
        assert ledger.unknown == 0
        assert ledger.chunks == 5 * CHUNK
        assert all(case.store.has(digest) for digest in digests)
        await case.reconciled()
        assert [await case.read(digest) for digest in digests] == [chunk(i) for i in range(5)]
        await case.check()


async def test_after_a_crash_nothing_is_counted_too_little(tmp_path: Path) -> None:
    case = await open_case(tmp_path)
    await case.reconciled()
    early = await case.fill(range(3))
    await case.store.sync()
    late = await case.fill(range(3, 8))  # files without entries
    await case.crash()
    async with opened(tmp_path) as case:
        ledger = case.store._ledger
        assert ledger.unknown > 0
        assert ledger.used >= allocated_by_us(tmp_path)
        assert ledger.excess == 0, "but it is no reason to evict"
        await case.reconciled()
        assert ledger.unknown == 0
        for seed, digest in enumerate(early + late):
            assert await case.read(digest) == chunk(seed)
        await case.check()


async def test_crashes_in_a_row_lose_nothing(tmp_path: Path) -> None:
    digests: list[bytes] = []
    for i in range(4):
        case = await open_case(tmp_path)
        digests += await case.fill(range(i, i + 1))
        await case.crash()
    async with opened(tmp_path) as case:
        await case.reconciled()
        assert all(case.store.has(digest) for digest in digests)
        await case.check()


async def test_a_file_that_the_index_has_lost_is_not_replaced(tmp_path: Path) -> None:
    """A worker of the keeper that crashed sends from it: its room would be counted nowhere."""
    case = await open_case(tmp_path)
    (digest,) = await case.fill(range(1))
    path, inode = case.path(digest), case.path(digest).stat().st_ino
    await case.crash()  # before its entry was committed
    async with opened(tmp_path) as case:
        assert not case.store.has(digest)
        assert (await case.put(chunk(0))).digest == digest
        assert path.stat().st_ino == inode
        assert await case.read(digest) == chunk(0)
        await case.reconciled()
        await case.check()


async def test_a_wrong_file_that_the_index_does_not_know_is_replaced(tmp_path: Path) -> None:
    async with opened(tmp_path) as case:
        await case.reconciled()
        for seed, wrong in enumerate((chunk(9), b"", chunk(1)[:-1])):
            planted(tmp_path, digest_of(chunk(seed))).write_bytes(wrong)
            digest = (await case.put(chunk(seed))).digest
            assert case.path(digest).read_bytes() == await case.read(digest) == chunk(seed)
        await case.check()


async def test_entries_without_files_do_not_make_room_for_files_that_nobody_has_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index rolled back lists what was evicted, and not what came instead."""
    async with opened(tmp_path, limit=SMALL) as case:
        await case.reconciled()
        while case.store._ledger.fits(CHUNK):
            await case.put(chunk(len(case.files())))
        listed = await asyncio.to_thread(case.files)
    for number, digest in enumerate(listed):
        chunk_path(tmp_path, digest).unlink()
        data = chunk(1000 + number)
        planted(tmp_path, digest_of(data)).write_bytes(data)
    looked, plain = asyncio.Event(), Reconciler._directory

    async def later(self: Reconciler, prefix: int) -> None:
        await looked.wait()
        await plain(self, prefix)

    monkeypatch.setattr(Reconciler, "_directory", later)
    monkeypatch.setattr(room, "WAIT_SECONDS", 0.05)
    async with opened(tmp_path, limit=SMALL) as case:
        for number in range(3):
            with pytest.raises(NoRoomError):
                await case.put(chunk(2000 + number))
        assert await asyncio.to_thread(allocated_by_us, tmp_path) <= SMALL
        looked.set()
        await case.reconciled()
        for number in range(3):
            await case.put(chunk(2000 + number))
        await case.check()


async def test_a_crash_in_the_middle_of_an_eviction(tmp_path: Path) -> None:
    """The file goes first: a crash behind it leaves an entry without a file."""
    case = await open_case(tmp_path)
    kept, gone = await case.fill(range(2))
    await case.store.sync()
    case.path(gone).unlink()
    await case.crash()
    async with opened(tmp_path) as case:
        with pytest.raises(ChunkLostError):
            await case.store.open_proven(gone, CHUNK)
        await case.reconciled()
        assert not case.store.has(gone)
        assert await case.read(kept) == chunk(0)
        await case.check()


async def test_reconciling_drops_entries_without_files(tmp_path: Path) -> None:
    async with opened(tmp_path) as case:
        digests = await case.fill(range(4))
    for digest in digests[:2]:
        chunk_path(tmp_path, digest).unlink()
    async with opened(tmp_path) as case:
        await case.reconciled()
        assert [case.store.has(digest) for digest in digests] == [False, False, True, True]
        await case.check()


async def test_a_chunk_that_came_back_is_adopted_and_checked(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass
    whole, torn = chunk(1), chunk(2)
    for data, written in ((whole, whole), (torn, torn[:1000]), (chunk(3), b"")):
        planted(tmp_path, digest_of(data)).write_bytes(written)
    too_long = planted(tmp_path, digest_of(b"long"))
    too_long.touch()
    os.truncate(too_long, (4 << 20) + 1)
    async with opened(tmp_path) as case:
        await case.reconciled()
        assert await case.read(digest_of(whole)) == whole
        assert case.store.has(digest_of(torn))
        with pytest.raises(ChunkLostError):
            await case.store.open_proven(digest_of(torn), CHUNK)
        await case.settled()
        assert case.files() == {digest_of(whole)}
        assert case.quarantined() == [f"{digest_of(torn).hex()}.1"]
        await case.check()


async def test_a_listed_file_that_changed_is_counted_as_it_is(tmp_path: Path) -> None:
    async with opened(tmp_path) as case:
        (digest,) = await case.fill(range(1))
    path = chunk_path(tmp_path, digest)
    path.chmod(0o600)
    os.truncate(path, 4096)
    async with opened(tmp_path) as case:
        await case.reconciled()
        assert case.store._ledger.chunks == 4096
        await case.check()
        with pytest.raises(ChunkLostError):
            await case.store.open_proven(digest, CHUNK)


def cut_short(index: Path) -> None:
    data = index / "data.mdb"
    os.truncate(data, data.stat().st_size - 4096)


def garble(index: Path) -> None:
    (index / "data.mdb").write_bytes(b"\xff" * 100_000)


def remove(index: Path) -> None:
    for path in index.iterdir():
        path.unlink()


@pytest.mark.parametrize("damage", [cut_short, garble, remove])
async def test_a_lost_index_is_made_again_from_the_files(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    async with opened(tmp_path) as case:
        digests = await case.fill(range(6))
    damage(tmp_path / "index")
    async with opened(tmp_path) as case:
        ledger = case.store._ledger
        assert ledger.used >= allocated_by_us(tmp_path)
        assert ledger.used <= ledger.limit
        await case.reconciled()
        assert [await case.read(digest) for digest in digests] == [chunk(i) for i in range(6)]
        kept = [] if damage is remove else ["index.1"]
        assert case.quarantined() == kept
        await case.check()


async def test_an_index_from_before_is_caught_up(tmp_path: Path) -> None:
    """After a power cut the index may be of an older commit, a clean one too."""
    async with opened(tmp_path) as case:
        await case.fill(range(2))
    old = (tmp_path / "index" / "data.mdb").read_bytes()
    async with opened(tmp_path) as case:
        digests = await case.fill(range(2, 6))
        await case.store.drop(await case.fill(range(1)))
    (tmp_path / "index" / "data.mdb").write_bytes(old)
    async with opened(tmp_path) as case:
        await case.reconciled()
        assert case.files() == {*digests, digest_of(chunk(1))}
        assert all(case.store.has(digest) for digest in digests)
        assert not case.store.has(digest_of(chunk(0)))
        await case.check()


async def test_files_of_others_are_never_touched(tmp_path: Path) -> None:
    async with opened(tmp_path) as case:
        (digest,) = await case.fill(range(1))
    theirs = {
        tmp_path / "1f0a9d0e-6d24-4a44-a7c3-5fb5cbcd3c2a": b"Glance's cached image",
        tmp_path / "queue" / "x": b"Glance's queue",
        tmp_path / "cache.db": b"Glance's database",
        tmp_path / "chunks" / "ab" / "README": b"somebody's note",
        tmp_path / "quarantine" / "README": b"somebody's note",
        tmp_path / "staging" / "README": b"somebody's note",
        chunk_path(tmp_path, digest).with_suffix(".bak"): b"somebody's copy",
    }
    for path, data in theirs.items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    async with opened(tmp_path) as case:
        await case.reconciled()
        await case.fill(range(100, 150))
        await case.store.drop(list(case.store._writer.names(Table.CHUNKS, b"")))
    assert {path: path.read_bytes() for path in theirs} == theirs


async def test_one_keeper_at_a_time(tmp_path: Path) -> None:
    async with opened(tmp_path) as case:
        with pytest.raises(ConfigError, match="in use by another"):
            await open_case(tmp_path)
        await case.fill(range(1))
    async with opened(tmp_path):
        pass


async def test_an_unreadable_directory_is_a_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="cannot be used"):
        await open_case(tmp_path / "file")


async def test_the_metrics_say_what_is_used_from_the_start(tmp_path: Path) -> None:
    async with opened(tmp_path) as case:
        await case.fill(range(3))
        used = case.total(CACHE_BYTES)
    async with opened(tmp_path) as case:
        assert case.total(CACHE_BYTES) >= used - 8192
        await reconciled_and_checked(case)


async def reconciled_and_checked(case: StoreCase) -> None:
    await case.reconciled()
    await case.check()


async def test_without_unnamed_files_it_works_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cacheproxy.store.tree._has_unnamed_files", lambda _: False)
    async with opened(tmp_path) as case:
        await case.reconciled()
        assert not case.store._files._unnamed
        (digest,) = await case.fill(range(1))
        assert await case.read(digest) == chunk(0)
        await case.check()


async def test_opening_cancelled_anywhere_leaves_nothing_open(tmp_path: Path) -> None:
    cases: list[StoreCase] = []
    before = open_descriptors()

    async def open_one() -> None:
        cases.append(await open_case(tmp_path))

    async def check() -> None:
        while cases:
            await cases.pop().store.close()
        assert open_descriptors() == before

    await cancelled_everywhere(open_one, check)
    async with opened(tmp_path) as case:
        await reconciled_and_checked(case)
