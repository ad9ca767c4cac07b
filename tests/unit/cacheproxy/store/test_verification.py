"""Checking chunks on demand, of a store in use and of a directory that nobody uses."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from cacheproxy.errors import ConfigError
from cacheproxy.metrics import VERIFY_FAILURES
from cacheproxy.store import verification
from cacheproxy.store.digest import digest_of
from cacheproxy.store.verification import Verification
from cacheproxy.store.verify import DirectoryReport, verify_directory
from harness.damage import rot
from harness.store_case import CHUNK, StoreCase, chunk, chunk_path, opened, planted

CHUNKS = 9


async def test_everything_is_checked_and_the_damaged_set_aside(
    case: StoreCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "SLICE", 2)
    digests = await case.fill(range(CHUNKS))
    rot(case.path(digests[1]))
    case.path(digests[2]).unlink()
    told: list[int] = []
    found = await case.store.verify(progress=lambda so_far: told.append(so_far.chunks))
    assert told == list(range(1, CHUNKS + 1))
    assert found == Verification(
        total=found.total,
        chunks=CHUNKS,
        read_bytes=(CHUNKS - 1) * CHUNK,
        damaged=1,
        missing=1,
        bad=found.bad,
    )
    assert set(found.bad) == {digests[1], digests[2]}
    await case.settled()
    assert not case.store.has(digests[1])
    assert not case.store.has(digests[2])
    assert case.total(VERIFY_FAILURES) == 1


async def test_only_what_is_asked_for(case: StoreCase) -> None:
    digests = await case.fill(range(4))
    rot(case.path(digests[0]))
    asked = [digests[1], digests[3], digest_of(b"nowhere")]
    found = await case.store.verify(asked)
    assert (found.total, found.chunks, found.damaged, found.gone) == (3, 3, 0, 1)
    assert (await case.store.verify([])).chunks == 0


@pytest.fixture
async def left(tmp_path: Path) -> list[bytes]:
    """Leave a store of a few chunks; return their digests."""
    async with opened(tmp_path) as case:
        return await case.fill(range(CHUNKS))


def listing(directory: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.lstat().st_ino, path.lstat().st_mtime_ns)
        for path in [directory, *directory.rglob("*")]
    }


async def test_a_directory_that_nobody_uses_is_only_read(tmp_path: Path, left: list[bytes]) -> None:
    rot(chunk_path(tmp_path, left[0]))
    os.truncate(chunk_path(tmp_path, left[1]), 5 << 20)
    chunk_path(tmp_path, left[2]).unlink()
    orphan = chunk(100)
    planted(tmp_path, digest_of(orphan)).write_bytes(orphan)
    (tmp_path / "staging" / f"{'0' * 32}.part").write_bytes(b"left over")
    (tmp_path / "notes").write_text("of somebody else")
    before = listing(tmp_path)
    told: list[float] = []
    report = await asyncio.to_thread(
        verify_directory, tmp_path, lambda so_far: told.append(so_far.progress)
    )
    assert listing(tmp_path) == before
    assert told == sorted(told)
    assert report == DirectoryReport(
        total=CHUNKS,
        index="readable",
        chunks=CHUNKS,
        read_bytes=report.read_bytes,
        damaged=2,
        missing=1,
        orphans=1,
        progress=1.0,
        bad=report.bad,
    )
    assert set(report.bad) == set(left[:3])


async def test_repairing_sets_the_damaged_aside(tmp_path: Path, left: list[bytes]) -> None:
    rot(chunk_path(tmp_path, left[0]))
    report = await asyncio.to_thread(verify_directory, tmp_path, repair=True)
    assert (report.damaged, report.set_aside) == (1, 1)
    assert not chunk_path(tmp_path, left[0]).exists()
    again = await asyncio.to_thread(verify_directory, tmp_path)
    assert (again.damaged, again.missing) == (0, 1)
    async with opened(tmp_path) as case:
        await case.store.reconciled()
        assert not case.store.has(left[0])
        assert case.quarantined() == [f"{left[0].hex()}.1"]
        assert await case.read(left[1]) == chunk(1)
        await case.check()


async def test_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path):
        with pytest.raises(ConfigError, match="in use"):
            await asyncio.to_thread(verify_directory, tmp_path)


def test_what_holds_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no chunk store"):
        verify_directory(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["cut", "garbled", "absent"])
async def test_without_an_index_the_files_are_checked(
    tmp_path: Path, left: list[bytes], what: str
) -> None:
    index = tmp_path / "index" / "data.mdb"
    match what:
        case "cut":
            os.truncate(index, 3 * 4096)
        case "garbled":
            index.write_bytes(os.urandom(index.stat().st_size))
        case _:
            index.unlink()
    rot(chunk_path(tmp_path, left[0]))
    report = await asyncio.to_thread(verify_directory, tmp_path)
    assert report.index == ("absent" if what == "absent" else "damaged")
    assert (report.chunks, report.damaged, report.missing, report.orphans) == (CHUNKS, 1, 0, 0)


async def test_a_file_that_cannot_be_opened_is_told(
    tmp_path: Path, left: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = os.open

    def failing(path: str, flags: int, **more: int) -> int:
        if str(path).endswith(left[0].hex()):
            raise OSError(5, "Input/output error")
        return plain(path, flags, **more)

    monkeypatch.setattr(os, "open", failing)
    report = await asyncio.to_thread(verify_directory, tmp_path, repair=True)
    assert (report.unreadable, report.damaged, report.set_aside) == (1, 0, 0)
    assert report.bad == [left[0]]
