"""The background check: finds what rots, goes on where it was, and stands back."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from cacheproxy.errors import ChunkLostError
from cacheproxy.metrics import (
    CHUNKS_MISSING,
    SCRUB_DAMAGED,
    SCRUB_FINISHED,
    SCRUB_PROGRESS,
    SCRUBBED_BYTES,
    SCRUBBED_CHUNKS,
    VERIFY_FAILURES,
)
from cacheproxy.store import scrub
from cacheproxy.store.priority import work_last
from cacheproxy.store.provenchunks import Checked, Verdict
from cacheproxy.store.scrub import Scrubber, ScrubStatus, _Round
from cacheproxy.store.threads import Threads
from harness.damage import rot
from harness.store_case import CHUNK, StoreCase, chunk, opened
from harness.waiting import until_async

FAST = 1 << 40
CHUNKS = 12


@pytest.fixture(autouse=True)
def restless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrub, "REST_SHARE", 0.0)


class Watch:
    """A scrubber of a case's store, whose checks are noted, and whose clock the test moves."""

    def __init__(self, case: StoreCase) -> None:
        store = case.store
        self.now = 1_000_000.0
        self.checked: list[bytes] = []
        self.held_at: int | None = None  # the check before which it waits
        self.held = asyncio.Event()
        self.scrubber = Scrubber(
            store._writer, store._threads, store._meter, self._check, lambda: self.now
        )
        self._store = store

    async def _check(self, digest: bytes, threads: Threads) -> Checked:
        if len(self.checked) == self.held_at:
            self.held.set()
            await asyncio.Event().wait()
        self.checked.append(digest)
        return await self._store.check(digest, threads)

    async def one_round(self, rate: int = FAST, interval_days: int = 1) -> ScrubStatus:
        """Run until a round is over."""
        before = self.scrubber.status().finished_at
        task = asyncio.create_task(self.scrubber.run(rate, interval_days))
        await until_async("a round", lambda: self.scrubber.status().finished_at != before)
        assert self.scrubber.status().state == "waiting"
        await stop(task)
        return self.scrubber.status()


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_a_round_checks_every_chunk_once_in_order(case: StoreCase) -> None:
    digests = await case.fill(range(CHUNKS))
    watch = Watch(case)
    status = await watch.one_round()
    assert watch.checked == sorted(digests)
    assert status == ScrubStatus(
        state="off",
        progress=1.0,
        chunks=CHUNKS,
        read_bytes=CHUNKS * CHUNK,
        damaged=0,
        begun_at=watch.now,
        finished_at=watch.now,
    )
    assert case.total(SCRUBBED_CHUNKS) == CHUNKS
    assert case.total(SCRUBBED_BYTES) == CHUNKS * CHUNK
    assert case.total(SCRUB_PROGRESS) == 0
    assert case.total(SCRUB_FINISHED) == watch.now
    assert case.total(VERIFY_FAILURES) == 0


async def test_what_rots_is_set_aside_before_anybody_asks(case: StoreCase) -> None:
    digests = await case.fill(range(CHUNKS))
    rot(case.path(digests[3]))
    os.truncate(case.path(digests[5]), 100)
    case.path(digests[7]).unlink()
    status = await Watch(case).one_round()
    assert status.damaged == 3
    await case.settled()
    for number, digest in enumerate(digests):
        assert case.store.has(digest) == (number not in (3, 5, 7))
    assert len(case.quarantined()) == 2
    assert case.total(VERIFY_FAILURES) == 2
    assert case.total(CHUNKS_MISSING) == 1
    assert case.total(SCRUB_DAMAGED) == 3
    assert (await case.put(chunk(3))).new
    assert await case.read(digests[3]) == chunk(3)


async def test_a_round_goes_on_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as case:
        digests = sorted(await case.fill(range(CHUNKS)))
        watch = Watch(case)
        watch.held_at = 5
        task = asyncio.create_task(watch.scrubber.run(FAST, 1))
        await watch.held.wait()
        assert watch.scrubber.status().state == "running"
        assert watch.scrubber.status().progress == int.from_bytes(digests[4][:4]) / 2**32
        assert case.total(SCRUB_PROGRESS) == watch.scrubber.status().progress
        await stop(task)
    async with opened(tmp_path) as case:
        again = Watch(case)
        status = await again.one_round()
        assert watch.checked + again.checked == digests
        assert status.chunks == CHUNKS
        assert status.begun_at == watch.now


async def test_the_next_round_waits_for_its_time(case: StoreCase) -> None:
    await case.fill(range(3))
    watch = Watch(case)
    first = await watch.one_round(interval_days=7)
    watch.now += 6 * scrub.DAY_SECONDS
    task = asyncio.create_task(watch.scrubber.run(FAST, 7))
    await case.settled()
    assert watch.scrubber.status().begun_at == first.begun_at
    await stop(task)
    watch.now += scrub.DAY_SECONDS
    second = await watch.one_round(interval_days=7)
    assert second.begun_at == second.finished_at == watch.now
    assert len(watch.checked) == 6


async def test_an_empty_store_is_not_checked_without_a_pause(case: StoreCase) -> None:
    status = await Watch(case).one_round(interval_days=0)
    assert status.chunks == 0


async def test_the_store_scrubs_by_itself_unless_it_is_told_not_to(tmp_path: Path) -> None:
    async with opened(tmp_path) as case:
        (digest,) = await case.fill(range(1))
        assert case.store.scrub_status().state == "off"
    rot(case.path(digest))
    async with opened(tmp_path, scrub_rate=FAST) as case:
        await until_async("the damage to be found", lambda: case.total(SCRUB_DAMAGED))
        await until_async("the round", lambda: case.store.scrub_status().state == "waiting")
        await case.settled()
        assert case.quarantined() == [f"{digest.hex()}.1"]
    async with opened(tmp_path, scrub_rate=FAST) as case:
        with pytest.raises(ChunkLostError):
            await case.store.open_proven(digest, CHUNK)


async def test_it_stands_back_for_the_keepers_own_reads(
    case: StoreCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrub, "YIELD_SECONDS", 3600.0)
    await case.fill(range(2))
    busy = threading.Event()
    job = case.store._threads.start(busy.wait)
    watch = Watch(case)
    task = asyncio.create_task(watch.scrubber.run(FAST, 1))
    for _ in range(100):
        await asyncio.sleep(0)
    assert watch.checked == []
    busy.set()
    await job
    await until_async("both checks", lambda: len(watch.checked) == 2)
    await stop(task)


async def test_it_does_not_stand_back_for_ever(
    case: StoreCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrub, "YIELD_SECONDS", 0.001)
    await case.fill(range(2))
    busy = threading.Event()
    job = case.store._threads.start(busy.wait)
    try:
        assert (await Watch(case).one_round()).chunks == 2
    finally:
        busy.set()
        await job


async def test_what_is_evicted_meanwhile_is_no_damage(
    case: StoreCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    (digest,) = await case.fill(range(1))
    begun, woken = threading.Event(), threading.Event()
    check = case.store._files.check

    def slow(digest: bytes) -> tuple[int, bool]:
        begun.set()
        woken.wait()
        return check(digest)

    monkeypatch.setattr(case.store._files, "check", slow)
    checking = asyncio.create_task(case.store.check(digest, case.store._threads))
    await asyncio.to_thread(begun.wait)
    await case.store.drop([digest])
    woken.set()
    assert (await checking).verdict is Verdict.GONE
    assert (await case.store.check(digest, case.store._threads)).verdict is Verdict.GONE
    assert case.total(CHUNKS_MISSING) == 0


async def test_one_file_that_cannot_be_opened_does_not_stop_a_round(
    case: StoreCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = sorted(await case.fill(range(3)))
    monkeypatch.setattr(scrub, "RETRY_SECONDS", 0.0)
    case.path(digests[1]).unlink()
    case.path(digests[1]).symlink_to(case.path(digests[1]))
    plain = os.open

    def failing(path: str, flags: int, **more: int) -> int:
        if path.endswith(digests[1].hex()):
            raise OSError(117, "Structure needs cleaning")
        return plain(path, flags, **more)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", failing)
        watch = Watch(case)
        status = await watch.one_round()
    assert watch.checked == digests
    assert status.damaged == 0
    case.path(digests[1]).unlink()
    await case.store.drop([digests[1]])


def test_a_record_of_another_version_is_none() -> None:
    record = _Round(b"d" * 32, True, 1.0, 2.0, 3, 4, 5)
    assert _Round.unpack(record.pack()) == record
    for bad in (None, b"", b"\2" + record.pack()[1:], record.pack() + b"x"):
        assert _Round.unpack(bad) == _Round()


def test_a_thread_works_last() -> None:
    told: list[int] = []

    def look() -> None:
        before = os.getpriority(os.PRIO_PROCESS, 0)
        work_last()
        told.extend([before, os.getpriority(os.PRIO_PROCESS, threading.get_native_id())])

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert told[1] == 19
    assert os.getpriority(os.PRIO_PROCESS, 0) == told[0], "nobody else does"
