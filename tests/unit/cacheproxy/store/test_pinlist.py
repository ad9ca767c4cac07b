"""Pinned images in an open store: durable before they are told, one change after the other, counted."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from cacheproxy.core.health import Fault, State
from cacheproxy.errors import DiskFullError, StorageError
from cacheproxy.store import pinlist
from cacheproxy.store.pinfile import PinFile
from cacheproxy.store.pintext import unpack
from contracts.cancelling import cancelled_everywhere
from harness.smalldisk import small_disk
from harness.store_case import StoreCase, allocated_by_us, opened


def on_disk(case: StoreCase) -> dict[str, int]:
    return unpack((case.directory / "pins").read_bytes()).images


class Held:
    """Holds every write of the file until it is let go, and may have it fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)
        self.at_once = self.most = 0
        real = PinFile.replace

        def replace(file: PinFile, images: Mapping[str, int], before: Mapping[str, int]) -> None:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            self.begun.release()
            self.go_on.acquire()
            try:
                real(file, images, before)
            finally:
                self.at_once -= 1

        monkeypatch.setattr(PinFile, "replace", replace)


async def test_a_pin_is_told_once_it_is_on_the_disk(
    case: StoreCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    pins = case.store.pin_list
    pinning = asyncio.create_task(pins.add("one", 1))
    await asyncio.to_thread(held.begun.acquire)
    assert not pinning.done()
    assert not pins.images
    assert case.store._ledger.used > await asyncio.to_thread(allocated_by_us, case.directory)
    held.go_on.release()
    await pinning
    assert pins.images == on_disk(case) == {"one": 1}


async def test_the_ledger_counts_what_the_file_takes(case: StoreCase) -> None:
    pins = case.store.pin_list
    for number in range(100):
        await pins.add(str(number).rjust(255, "x"), number)
        if number % 10 == 0:
            await case.check()
    assert (case.directory / "pins").stat().st_blocks * 512 > 4096
    for image_id in list(pins.images)[1:]:
        await pins.remove(image_id)
    assert len(on_disk(case)) == 1
    await case.check()


async def test_two_at_once_are_made_one_after_the_other(
    case: StoreCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    pins = case.store.pin_list
    changes = [asyncio.create_task(pins.add(str(number), number)) for number in range(5)]
    changes += [asyncio.create_task(pins.remove(str(number))) for number in range(3)]
    for _ in changes:
        held.go_on.release()
    await asyncio.gather(*changes)
    assert held.most == 1
    assert pins.images == on_disk(case) == {"3": 3, "4": 4}


async def test_a_change_nobody_waits_for_comes_to_its_end(
    case: StoreCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    pins = case.store.pin_list
    given_up = asyncio.create_task(pins.add("one", 1))
    await asyncio.to_thread(held.begun.acquire)
    given_up.cancel()
    await asyncio.wait([given_up])
    assert given_up.cancelled()
    second = asyncio.create_task(pins.add("two", 2))
    held.go_on.release()
    held.go_on.release()
    await second
    assert held.most == 1
    assert pins.images == on_disk(case) == {"one": 1, "two": 2}


async def test_cancelled_anywhere_memory_and_disk_say_the_same(case: StoreCase) -> None:
    pins = case.store.pin_list
    await pins.add("first", 1)
    numbers = iter(range(1000))

    async def check() -> None:
        await pins.settled()
        assert dict(pins.images) == on_disk(case)
        await case.check()

    await cancelled_everywhere(lambda: pins.add(str(next(numbers)), 2), check)
    await cancelled_everywhere(lambda: pins.remove("first"), check)


async def test_a_failure_is_told_and_changes_nothing(
    case: StoreCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    pins = case.store.pin_list
    await pins.add("one", 1)
    used = case.store._ledger.used

    def fail(*_: object) -> None:
        raise DiskFullError("no space")

    with monkeypatch.context() as patch:
        patch.setattr(PinFile, "replace", fail)
        with pytest.raises(DiskFullError):
            await pins.add("two", 2)
        with pytest.raises(DiskFullError):
            await pins.remove("one")
    assert pins.images == on_disk(case) == {"one": 1}
    assert case.store._ledger.used == used
    assert case.store.disk.state is State.DEGRADED, "the disk's state hears of it"


async def test_a_disk_that_is_not_used_is_not_touched(case: StoreCase) -> None:
    case.store.disk.failed(Fault.GONE)
    assert case.store.disk.state is State.BYPASS
    with pytest.raises(StorageError, match="not used at present"):
        await case.store.pin_list.add("one", 1)
    assert not (case.directory / "pins").exists()


async def test_a_disk_that_hangs_is_not_waited_for(
    case: StoreCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pinlist, "WRITE_SECONDS", 0.0)
    held = Held(monkeypatch)
    pins = case.store.pin_list
    for change in (pins.add("one", 1), pins.add("two", 2), pins.remove("one")):
        with pytest.raises(StorageError, match="hangs"):
            await change
    held.go_on.release()
    monkeypatch.undo()
    await pins.settled()
    assert pins.images == on_disk(case) == {"one": 1}


async def test_a_full_disk_still_tells_what_is_pinned(tmp_path: Path) -> None:
    with small_disk(tmp_path, "tmpfs") as disk:
        directory = disk.path / "cache"
        async with opened(directory) as case:
            await case.reconciled()
            await case.store.pin_list.add("one", 1)
            await case.store.sync()
            await asyncio.to_thread(disk.fill)
            with pytest.raises(DiskFullError):
                await case.store.pin_list.add("two", 2)
            assert case.store.pin_list.images == on_disk(case) == {"one": 1}
            assert not list((directory / "staging").iterdir())
            await asyncio.to_thread(disk.free)
            await case.store.pin_list.add("two", 2)
            await case.settled()
            assert case.store._ledger.used == await asyncio.to_thread(allocated_by_us, directory)


async def test_a_read_only_disk_still_tells_what_is_pinned(tmp_path: Path) -> None:
    with small_disk(tmp_path, "ext4") as disk:
        async with opened(disk.path / "cache") as case:
            await case.reconciled()
            await case.store.pin_list.add("one", 1)
            await case.store.sync()
            await asyncio.to_thread(disk.turn_read_only)
            for change in (case.store.pin_list.add("two", 2), case.store.pin_list.remove("one")):
                with pytest.raises(StorageError):
                    await change
            assert case.store.pin_list.images == on_disk(case) == {"one": 1}


async def test_a_damaged_file_is_counted_where_it_is_now(tmp_path: Path) -> None:
    async with opened(tmp_path) as case:
        await case.store.pin_list.add("one", 1)
    (tmp_path / "pins").write_bytes(b"\xff" * 5000)
    async with opened(tmp_path) as case:
        await case.reconciled()
        assert not case.store.pin_list.images
        assert case.quarantined() == ["pins.1"]
        await case.check()
        await case.store.pin_list.add("one", 1)
        await case.check()
