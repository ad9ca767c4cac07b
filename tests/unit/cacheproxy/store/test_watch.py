"""The watch over a store's disk: what it finds, how it hears, and what it does about it."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from cacheproxy.core import health
from cacheproxy.core.health import Fault, State
from cacheproxy.errors import CacheRefusedError, StorageError
from cacheproxy.metrics import (
    CACHE_EFFECTIVE_LIMIT_BYTES,
    DISK_FREE_BYTES,
    DISK_PROBE_FAILURES,
    DISK_STATE,
    DISK_TRANSITIONS,
)
from cacheproxy.store import watch
from cacheproxy.store.disk import Loss, fault_of
from cacheproxy.store.files import translated
from cacheproxy.store.layout import IndexDamagedError, IndexLostError
from cacheproxy.store.place import Place, Sight
from harness.store_case import CHUNK, StoreCase, chunk, opened
from harness.waiting import until_async


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look without pauses, and believe what is better at once."""
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.005)
    monkeypatch.setattr(health, "HOLD_SECONDS", 0.0)


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[StoreCase]:
    async with opened(tmp_path / "cache") as case:
        await case.reconciled()
        yield case


class Sights:
    """Takes the place of the looks: whatever the test says is seen, perhaps never."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fault: Fault | None = None
        self.trials: list[bool] = []
        self._go_on = threading.Event()
        self._go_on.set()
        monkeypatch.setattr(Place, "look", lambda _, *, trial: self._look(trial))

    def _look(self, trial: bool) -> Sight:
        self._go_on.wait()
        self.trials.append(trial)
        return Sight(self.fault)

    def hang(self) -> None:
        self._go_on.clear()

    def go_on(self) -> None:
        self._go_on.set()


@pytest.fixture
def sights(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sights]:
    made = Sights(monkeypatch)
    yield made
    made.go_on()


def states(case: StoreCase) -> dict[str, float]:
    return {state.value: case.board.total(DISK_STATE, (state.value,)) for state in State}


async def failed_looks(case: StoreCase, more: int) -> None:
    goal = case.total(DISK_PROBE_FAILURES) + more
    await until_async("bad looks", lambda: case.total(DISK_PROBE_FAILURES) >= goal)


async def test_a_disk_in_order_is_normal(made: StoreCase) -> None:
    await until_async("a look", lambda: made.total(DISK_FREE_BYTES))
    assert states(made) == {"normal": 1, "degraded": 0, "bypass": 0}
    assert made.total(CACHE_EFFECTIVE_LIMIT_BYTES) == made.store._ledger.limit
    assert made.total(DISK_TRANSITIONS) == made.total(DISK_PROBE_FAILURES) == 0


async def test_degraded_serves_and_stores_nothing(sights: Sights, made: StoreCase) -> None:
    stored = await made.put(chunk(1))
    reservation = await made.store.reserve(CHUNK)
    sights.fault = Fault.FULL
    await made.becomes(State.DEGRADED)
    assert states(made) == {"normal": 0, "degraded": 1, "bypass": 0}
    assert await made.read(stored.digest) == chunk(1)
    with pytest.raises(CacheRefusedError):
        await made.store.reserve(CHUNK)
    with pytest.raises(CacheRefusedError):
        await made.store.put(chunk(2), reservation=reservation)
    assert not (await made.store.put(chunk(1), reservation=reservation)).new
    await failed_looks(made, 2)
    assert sights.trials[-1], "it is tried whether the disk takes something"
    sights.fault = None
    await made.becomes()
    assert (await made.store.put(chunk(2), reservation=reservation)).new
    reservation.close()
    assert made.total(DISK_TRANSITIONS) == 2
    await made.check()


async def test_bypass_touches_nothing(
    sights: Sights, made: StoreCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = await made.put(chunk(1))
    sights.fault = Fault.GONE
    await made.becomes(State.BYPASS)
    monkeypatch.setattr(made.store._threads, "start", None)  # whatever came here would fail
    with pytest.raises(StorageError, match="not used at present"):
        await made.store.open_proven(stored.digest, CHUNK)
    with pytest.raises(CacheRefusedError):
        await made.store.reserve(CHUNK)
    monkeypatch.undo()


async def test_a_look_that_hangs_is_bypassed_and_there_is_but_one(
    sights: Sights, tmp_path: Path
) -> None:
    async with opened(tmp_path / "cache", disk_hang_seconds=0.05) as case:
        await case.reconciled()
        await until_async("a look", lambda: sights.trials)
        sights.hang()
        before = threading.active_count()
        await case.becomes(State.BYPASS)
        await failed_looks(case, 5)
        assert threading.active_count() == before
        sights.go_on()
        await case.becomes()


async def test_work_that_hangs_is_seen_though_looks_are_good(
    sights: Sights, tmp_path: Path
) -> None:
    assert sights.fault is None
    async with opened(tmp_path / "cache", disk_hang_seconds=0.05) as case:
        await case.reconciled()
        go_on = threading.Event()
        job = case.store._threads.start(go_on.wait)
        await case.becomes(State.BYPASS)
        go_on.set()
        await job
        await case.becomes()


async def test_a_store_whose_disk_stays_bad_is_let_go_of(
    sights: Sights, made: StoreCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    sights.fault = Fault.FULL
    monkeypatch.setattr(watch, "LET_GO_SECONDS", 0.05)
    await made.becomes(State.DEGRADED)
    await failed_looks(made, 50)
    assert not made.store.disk.lost.done(), "what it has can be served"
    sights.fault = Fault.ERROR
    assert await made.store.disk.lost is Loss.REOPEN


def delete_all(cache: Path) -> None:
    for path in cache.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def make_another(cache: Path) -> None:
    cache.rename(cache.with_name("old"))
    cache.mkdir()


@pytest.mark.parametrize("harm", [delete_all, make_another])
async def test_another_directory_is_a_loss(made: StoreCase, harm: Callable[[Path], None]) -> None:
    await asyncio.to_thread(harm, made.directory)
    assert await made.store.disk.lost is Loss.REOPEN
    assert made.store.disk.state is State.BYPASS


async def test_a_directory_that_comes_back_is_none(made: StoreCase) -> None:
    away = made.directory.with_name("away")
    made.directory.rename(away)
    await made.becomes(State.BYPASS)
    away.rename(made.directory)
    await made.becomes()
    assert not made.store.disk.lost.done()


async def test_an_index_cut_short_is_a_loss_before_anybody_reads_it(
    sights: Sights, made: StoreCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sights.fault is None
    monkeypatch.setattr(Place, "look", lambda _, *, trial: Sight(None, cut=not trial))
    assert await made.store.disk.lost is Loss.REBUILD


@pytest.mark.parametrize(
    ("error", "loss"),
    [(IndexDamagedError("x"), Loss.REBUILD), (IndexLostError("x"), Loss.REOPEN)],
)
async def test_an_index_that_cannot_be_used_is_a_loss(
    made: StoreCase, error: StorageError, loss: Loss
) -> None:
    made.store.disk.heard(error)
    assert await made.store.disk.lost is loss


@pytest.mark.parametrize(
    ("call", "number", "fault"),
    [
        ("write", errno.ENOSPC, Fault.FULL),
        ("write", errno.EDQUOT, Fault.FULL),
        ("fsync", errno.EIO, Fault.ERROR),
        ("open", errno.EROFS, Fault.READ_ONLY),
        ("statvfs", errno.ESTALE, Fault.GONE),
    ],
)
async def test_a_trial_meets_what_is_wrong(
    made: StoreCase, monkeypatch: pytest.MonkeyPatch, call: str, number: int, fault: Fault
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    place = made.store._watch._place
    assert (await asyncio.to_thread(place.look, trial=True)).fault is None
    (watching,) = (task for task in made.store._tasks if task.get_name() == "watch")
    watching.cancel()
    await asyncio.wait([watching])
    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        assert (await asyncio.to_thread(place.look, trial=True)).fault is fault
    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", lambda *_: b"something else")
        assert (await asyncio.to_thread(place.look, trial=True)).fault is Fault.ERROR
    assert not list((made.directory / "staging").iterdir())


async def test_chunks_that_cannot_be_read_count(
    made: StoreCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = [await made.put(chunk(seed)) for seed in range(health.ERRORS_MAX)]
    for one in stored:
        made.store._proofs.forget(one.digest)

    def fail(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "preadv", fail)
        for one in stored:
            assert made.store.disk.state is State.NORMAL
            with pytest.raises(StorageError):
                await made.store.open_proven(one.digest, CHUNK)
        await made.becomes(State.BYPASS)
    await made.becomes()


@pytest.mark.parametrize(
    ("number", "fault"),
    [
        (errno.ENOSPC, Fault.FULL),
        (errno.EDQUOT, Fault.FULL),
        (errno.EROFS, Fault.READ_ONLY),
        (errno.EIO, Fault.ERROR),
        (errno.EMFILE, None),
        (errno.ENFILE, None),
    ],
)
def test_what_an_error_says_of_the_disk(number: int, fault: Fault | None) -> None:
    def fail() -> None:
        raise OSError(number, "x")

    with pytest.raises(StorageError) as raised, translated("trying"):
        fail()
    assert fault_of(raised.value) is fault
    assert fault_of(ValueError("x")) is None
