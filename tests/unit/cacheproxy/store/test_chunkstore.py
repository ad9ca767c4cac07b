"""The chunk store: put once, open proven, remember, and leave nothing behind."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from cacheproxy.core.records import ContentRecord
from cacheproxy.errors import (
    DiskFullError,
    InvalidChunkError,
    NoRoomError,
    StorageError,
)
from cacheproxy.metrics import CHUNKS_STORED, RESERVED_BYTES, VERIFY_FAILURES
from cacheproxy.store.digest import digest_of, zero_digest
from cacheproxy.store.index import IndexFile
from cacheproxy.store.layout import STATE, Changes, State
from contracts.cancelling import cancelled_everywhere
from harness.store_case import CHUNK, StoreCase, chunk, opened

DATA = chunk(1)
DIGEST = digest_of(DATA)


async def test_a_chunk_is_put_and_read(case: StoreCase) -> None:
    assert not case.store.has(DIGEST)
    stored = await case.put(DATA)
    assert (stored.digest, stored.size, stored.new, stored.zero) == (DIGEST, CHUNK, True, False)
    assert case.store.has(DIGEST)
    assert await case.read(DIGEST) == DATA
    assert case.path(DIGEST).read_bytes() == DATA
    assert case.total(CHUNKS_STORED) == 1


async def test_a_chunk_is_stored_once(case: StoreCase) -> None:
    await case.put(DATA)
    reservation = await case.store.reserve(CHUNK)
    stored = await case.store.put(DATA, reservation=reservation)
    assert not stored.new
    assert reservation.remaining == CHUNK, "what was not needed stays reserved"
    assert case.total(RESERVED_BYTES) == CHUNK
    reservation.close()
    assert case.total(CHUNKS_STORED) == 1


async def test_many_put_the_same_chunk_at_once(case: StoreCase) -> None:
    reservation = await case.store.reserve(8 * CHUNK)
    outcomes = await asyncio.gather(
        *(case.store.put(DATA, reservation=reservation) for _ in range(8))
    )
    assert sorted(stored.new for stored in outcomes) == [False] * 7 + [True]
    assert reservation.remaining == 7 * CHUNK
    reservation.close()
    assert case.files() == {DIGEST}


async def test_chunks_of_any_size(case: StoreCase) -> None:
    for size in (1, 4095, 4097, 4 << 20):
        data = chunk(size, size)
        stored = await case.put(data)
        assert await case.read(stored.digest, size) == data
    for size in (0, (4 << 20) + 1):
        with pytest.raises(ValueError, match="a chunk of"):
            await case.put(bytes(size))


@pytest.mark.parametrize("size", [CHUNK, 1 << 20, 4 << 20, 5, 1000])
async def test_zeros_are_not_stored(case: StoreCase, size: int) -> None:
    reservation = await case.store.reserve(size)
    stored = await case.store.put(bytes(size), reservation=reservation)
    reservation.close()
    assert (stored.digest, stored.new, stored.zero) == (zero_digest(size), False, True)
    assert case.store.has(stored.digest)
    assert await case.read(stored.digest, size) == bytes(size)
    assert case.files() == set()
    case.store.hold(stored.digest, "worker")
    await case.store.drop([stored.digest])
    await case.store.prove(stored.digest, size)
    assert case.store.has(stored.digest)
    assert case.dying == []


async def test_zeros_of_any_size_are_known_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as case:
        assert not case.store.has(zero_digest(777))
        await case.put(bytes(777))
    async with opened(tmp_path) as case:
        assert case.store.has(zero_digest(777))
        assert case.store.has(zero_digest(1 << 20))


async def test_the_file_of_zeros_is_open_to_the_caller(case: StoreCase) -> None:
    zeros = await case.store.open_proven(zero_digest(4 << 20), 4 << 20)
    try:
        assert os.pread(zeros.fd, 5 << 20, 0) == bytes(4 << 20)
        assert os.fstat(zeros.fd).st_blocks == 0
    finally:
        os.close(zeros.fd)


async def test_bytes_that_are_not_what_they_should_be_are_refused(case: StoreCase) -> None:
    reservation = await case.store.reserve(2 * CHUNK)
    with pytest.raises(InvalidChunkError):
        await case.store.put(DATA, reservation=reservation, sealed_by=digest_of(b"other"))
    assert case.total(VERIFY_FAILURES) == 1
    assert reservation.remaining == 2 * CHUNK
    await case.store.put(DATA, reservation=reservation, sealed_by=DIGEST)
    reservation.close()
    assert case.files() == {DIGEST}


async def test_no_more_is_stored_than_reserved(case: StoreCase) -> None:
    reservation = await case.store.reserve(CHUNK)
    with pytest.raises(NoRoomError):
        await case.store.put(chunk(2, CHUNK + 1), reservation=reservation)
    await case.store.put(DATA, reservation=reservation)
    with pytest.raises(NoRoomError):
        await case.store.put(chunk(2), reservation=reservation)
    reservation.close()
    with pytest.raises(NoRoomError):
        await case.store.put(chunk(3), reservation=reservation)
    assert case.files() == {DIGEST}


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, DiskFullError), (errno.EIO, StorageError)]
)
async def test_a_failing_disk_leaves_nothing(
    case: StoreCase, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[StorageError]
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    reservation = await case.store.reserve(CHUNK)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fchmod", fail)
        with pytest.raises(kind):
            await case.store.put(DATA, reservation=reservation)
    assert not case.store.has(DIGEST)
    assert case.files() == set()
    assert reservation.remaining == CHUNK
    await case.becomes()
    await case.store.put(DATA, reservation=reservation)
    reservation.close()
    assert await case.read(DIGEST) == DATA


async def test_an_index_that_takes_nothing_refuses_chunks(
    case: StoreCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cacheproxy.store.writer.PENDING_BYTES_MAX", -1)
    with pytest.raises(StorageError, match="does not take changes"):
        await case.put(DATA)
    with pytest.raises(StorageError, match="does not take changes"):
        case.store.put_content("c", ContentRecord(1, 1, proven=True, published=False))
    assert case.files() == set()


async def test_no_file_is_made_before_its_promise_is_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a crash right after could start from too small a count."""
    entered, go_on = threading.Event(), threading.Event()
    apply = IndexFile.apply

    def held(self: IndexFile, changes: Changes) -> int:
        entered.set()
        assert go_on.wait(10)
        return apply(self, changes)

    async with opened(tmp_path):
        pass
    monkeypatch.setattr(IndexFile, "apply", held)
    async with opened(tmp_path) as case:
        reservation = await case.store.reserve(CHUNK)
        put = asyncio.create_task(case.store.put(DATA, reservation=reservation))
        await asyncio.to_thread(entered.wait)
        for _ in range(4):  # the hashing, then whatever it would write
            await asyncio.sleep(0)
            await case.store._threads.idle()
        assert case.store._ledger.claimed == CHUNK
        assert not case.path(DIGEST).exists()
        go_on.set()
        await put
        reservation.close()
        state = State.unpack(case.store._writer.read(STATE))
        assert state is not None
        assert state.promised >= CHUNK
        assert not state.clean


@pytest.mark.parametrize("sealed", [False, True])
async def test_a_put_cancelled_anywhere_leaves_nothing_reserved(
    case: StoreCase, *, sealed: bool
) -> None:
    seeds = iter(range(100, 1000))
    sizes: list[int] = []

    async def put() -> None:
        sizes.append(len(case.files()))
        data = chunk(next(seeds), 5000)
        reservation = await case.store.reserve(len(data))
        try:
            seal = digest_of(data) if sealed else None
            await case.store.put(data, reservation=reservation, sealed_by=seal)
        finally:
            reservation.close()

    async def check() -> None:
        await case.check()
        assert len(case.files()) <= sizes[-1] + 1

    await cancelled_everywhere(put, check)


@dataclass
class Gate:
    """Once shut, holds the thread that writes a chunk, before it looks whether it is wanted."""

    reached: threading.Event
    go_on: threading.Event

    def shut(self) -> None:
        """Hold the next thread that comes."""
        self.reached.clear()
        self.go_on.clear()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    made = Gate(threading.Event(), threading.Event())
    made.go_on.set()
    fchmod = os.fchmod

    def held(fd: int, mode: int) -> None:
        made.reached.set()
        assert made.go_on.wait(10)
        fchmod(fd, mode)

    monkeypatch.setattr(os, "fchmod", held)
    return made


async def test_a_cancelled_put_waits_for_its_thread_which_names_no_file(
    case: StoreCase, gate: Gate
) -> None:
    gate.shut()
    reservation = await case.store.reserve(CHUNK)
    put = asyncio.create_task(case.store.put(DATA, reservation=reservation))
    await asyncio.to_thread(gate.reached.wait)
    put.cancel()
    await asyncio.sleep(0)
    assert not put.done(), "the thread still reads the buffer"
    gate.go_on.set()
    await asyncio.wait([put])
    assert put.cancelled()
    assert reservation.remaining == CHUNK
    reservation.close()
    assert case.files() == set()


async def test_who_waits_for_a_cancelled_put_stores_the_chunk_itself(
    case: StoreCase, gate: Gate
) -> None:
    gate.shut()
    first = asyncio.create_task(case.put(DATA))
    await asyncio.to_thread(gate.reached.wait)
    second = asyncio.create_task(case.put(DATA))
    first.cancel()
    await asyncio.sleep(0)  # the cancellation arrives
    gate.go_on.set()
    stored = await second
    assert stored.new
    await asyncio.wait([first])
    assert first.cancelled()
    assert case.files() == {DIGEST}


async def test_a_reservation_closed_during_a_put_is_settled_by_it(
    case: StoreCase, gate: Gate
) -> None:
    gate.shut()
    reservation = await case.store.reserve(2 * CHUNK)
    put = asyncio.create_task(case.store.put(DATA, reservation=reservation))
    await asyncio.to_thread(gate.reached.wait)
    reservation.close()
    assert case.total(RESERVED_BYTES) == CHUNK
    gate.go_on.set()
    await put
    assert case.total(RESERVED_BYTES) == 0


async def test_closing_waits_for_what_is_being_written(tmp_path: Path, gate: Gate) -> None:
    async with opened(tmp_path) as case:
        gate.shut()
        reservation = await case.store.reserve(CHUNK)
        put = asyncio.create_task(case.store.put(DATA, reservation=reservation))
        await asyncio.to_thread(gate.reached.wait)
        closing = asyncio.create_task(case.store.close())
        await asyncio.sleep(0)
        assert not closing.done()
        gate.go_on.set()
        await closing
        await put
        reservation.close()
        for attempt in (case.put(chunk(2)), case.read(DIGEST)):
            with pytest.raises(StorageError):
                await attempt
    async with opened(tmp_path) as case:
        assert await case.read(DIGEST) == DATA


async def test_a_put_after_closing_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as case:
        reservation = await case.store.reserve(CHUNK)
        await case.store.close()
        with pytest.raises(StorageError, match="closed"):
            await case.store.put(DATA, reservation=reservation)


Using = Callable[[StoreCase], Awaitable[object]]


@pytest.mark.parametrize(
    "using",
    [lambda case: case.put(DATA), lambda case: case.store.sync(), lambda case: case.store.close()],
)
async def test_closing_twice_does_nothing(tmp_path: Path, using: Using) -> None:
    async with opened(tmp_path) as case:
        await using(case)
        await case.store.close()
        await case.store.close()
