"""What a worker knows of keys and renewals when its disk is quick, slow, or gone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from cacheproxy import grantbook
from cacheproxy.config import SignedUrlSettings
from cacheproxy.core.grant import Keys
from cacheproxy.errors import StorageError
from cacheproxy.grantbook import GrantBook
from cacheproxy.grantfiles import GrantFiles

SETTINGS = SignedUrlSettings(lifetime_seconds_max=100, key_days=1)
NAME = "a" * 64
T = TypeVar("T")


class Disk(GrantFiles):
    """Counts its reads, fails while `broken`, and hangs while `open` is not set."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.reads = 0
        self.broken = False
        self.open = threading.Event()
        self.open.set()

    def _look(self, read: Callable[[], T]) -> T:
        self.reads += 1
        assert self.open.wait(30)
        if self.broken:
            raise StorageError("broken")
        return read()

    def keys(self) -> Keys:
        return self._look(super().keys)

    def renewed(self, name: str) -> int | None:
        return self._look(lambda: GrantFiles.renewed(self, name))


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def book(disk: Disk, clock: Clock) -> AsyncIterator[GrantBook]:
    made = GrantBook(disk, SETTINGS, clock)
    yield made
    disk.open.set()
    made.close()


async def test_keys_are_believed_for_a_while(
    book: GrantBook, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await book.signing_key()
    reads = disk.reads
    assert await book.verifying_key(key.name) == key
    assert disk.reads == reads
    assert await book.verifying_key("0" * 16) is None  # looked for at once
    assert disk.reads == reads + 1
    monkeypatch.setattr(grantbook, "KEYS_SECONDS", 0.0)
    (disk._directory / "keys").unlink()
    assert await book.verifying_key(key.name) is None


async def test_a_key_of_another_worker_is_found(
    book: GrantBook, tmp_path: Path, clock: Clock
) -> None:
    other = GrantBook(GrantFiles(tmp_path), SETTINGS, clock)
    assert await book.verifying_key("0" * 16) is None
    key = await other.signing_key()
    assert await book.verifying_key(key.name) == key
    other.close()


async def test_what_is_known_outlives_the_disk(
    book: GrantBook, disk: Disk, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await book.signing_key()
    await book.renew(NAME, int(clock.now) + 50)
    monkeypatch.setattr(grantbook, "KEYS_SECONDS", 0.0)
    disk.broken = True
    assert await book.verifying_key(key.name) == key
    assert book.remembered(NAME)
    for unknown in (book.verifying_key("0" * 16), book.ends("b" * 64), book.signing_key()):
        with pytest.raises(StorageError, match="broken"):
            await unknown


async def test_a_disk_that_hangs_is_waited_for_once(
    book: GrantBook, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await book.signing_key()
    monkeypatch.setattr(grantbook, "KEYS_SECONDS", 0.0)
    monkeypatch.setattr(grantbook, "FILE_SECONDS_MAX", 0.01)
    disk.open.clear()
    reads = disk.reads
    for _ in range(3):
        assert await book.verifying_key(key.name) == key
        with pytest.raises(StorageError, match="hangs"):
            await book.ends(NAME)
    assert disk.reads == reads + 1
    late = book._late
    assert late is not None
    disk.open.set()
    await asyncio.wait([late])
    monkeypatch.setattr(grantbook, "FILE_SECONDS_MAX", 5.0)
    assert await book.ends(NAME) is None


async def test_who_gives_up_waiting_leaves_nothing(book: GrantBook, disk: Disk) -> None:
    disk.open.clear()
    disk.broken = True  # its error is nobody's
    asking = asyncio.create_task(book.ends(NAME))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking])
    disk.open.set()
    disk.broken = False
    assert await book.ends("b" * 64) is None


async def test_a_renewal_of_another_worker_is_found_when_it_counts(
    book: GrantBook, tmp_path: Path, clock: Clock
) -> None:
    now = int(clock.now)
    assert await book.ends(NAME) is None
    other = GrantBook(GrantFiles(tmp_path), SETTINGS, clock)
    assert await other.renew(NAME, now + 10) == now + 10
    assert await book.ends(NAME) == now + 10
    assert book.remembered(NAME)
    await other.renew(NAME, now + 20)
    clock.now += 15
    assert not book.remembered(NAME)
    assert await book.ends(NAME) == now + 20
    assert book.remembered(NAME)
    other.close()


async def test_what_is_remembered_is_bounded(
    book: GrantBook, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grantbook, "RENEWALS_MAX", 2)
    for name in "abc":
        await book.renew(name, int(clock.now) + 10)
    assert [book.remembered(name) for name in "abc"] == [False, True, True]
    assert await book.ends("a") is not None  # the disk has it
