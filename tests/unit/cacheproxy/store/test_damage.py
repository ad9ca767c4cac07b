"""Damage on the disk: found by the next reader, set aside, and stored anew."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cacheproxy.core.proof import Identity
from cacheproxy.errors import ChunkLostError
from cacheproxy.metrics import CHUNKS_MISSING, EVICTED_BYTES, VERIFY_FAILURES
from cacheproxy.store import provenchunks, quarantine
from cacheproxy.store.digest import digest_of
from cacheproxy.store.proving import read_proven
from harness.damage import rot
from harness.store_case import CHUNK, StoreCase, chunk, opened

DATA = chunk(1)
DIGEST = digest_of(DATA)


def flip(path: Path) -> None:
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(CHUNK // 2)
        (byte,) = file.read(1)
        file.seek(CHUNK // 2)
        file.write(bytes([byte ^ 1]))


def cut(path: Path) -> None:
    path.chmod(0o600)
    os.truncate(path, CHUNK - 1)


def empty(path: Path) -> None:
    path.chmod(0o600)
    os.truncate(path, 0)


def extend(path: Path) -> None:
    path.chmod(0o600)
    os.truncate(path, CHUNK + 1)


def zero(path: Path) -> None:
    path.chmod(0o600)
    path.write_bytes(bytes(CHUNK))


def replace(path: Path) -> None:
    path.unlink()
    path.write_bytes(chunk(2))


DAMAGES = (flip, cut, empty, extend, zero, replace)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("restarted", [False, True])
async def test_damage_is_found_set_aside_and_healed(
    tmp_path: Path, damage: Callable[[Path], None], restarted: bool
) -> None:
    async with opened(tmp_path) as case:
        await case.put(DATA)
        if not restarted:
            await lost_and_healed(case, damage)
    if restarted:
        async with opened(tmp_path) as case:
            await case.reconciled()
            await lost_and_healed(case, damage)


async def lost_and_healed(case: StoreCase, damage: Callable[[Path], None]) -> None:
    damage(case.path(DIGEST))
    with pytest.raises(ChunkLostError):
        await case.store.open_proven(DIGEST, CHUNK)
    assert not case.store.has(DIGEST)
    await case.settled()
    assert case.files() == set()
    assert case.quarantined() == [f"{DIGEST.hex()}.1"]
    assert case.total(VERIFY_FAILURES) == 1
    assert case.total(EVICTED_BYTES) == 0
    assert case.store._ledger.chunks == 0
    stored = await case.put(DATA)
    assert stored.new
    assert await case.read(DIGEST) == DATA
    await case.reconciled()
    await case.check()


async def test_a_file_that_is_gone_is_only_lost(case: StoreCase) -> None:
    await case.put(DATA)
    case.store.hold(DIGEST, "w1")
    case.path(DIGEST).unlink()
    with pytest.raises(ChunkLostError):
        await case.store.open_proven(DIGEST, CHUNK)
    assert not case.store.has(DIGEST)
    assert case.dying == [(DIGEST, "w1")], "who holds it open keeps its bytes on the disk"
    case.store.release(DIGEST, "w1")
    assert case.total(VERIFY_FAILURES) == 0
    assert case.total(CHUNKS_MISSING) == 1
    assert case.quarantined() == []
    assert (await case.put(DATA)).new


async def test_who_holds_a_file_that_somebody_removed_is_asked_to_close_it(
    case: StoreCase,
) -> None:
    await case.put(DATA)
    case.store.hold(DIGEST, "a worker")
    case.path(DIGEST).unlink()
    with pytest.raises(ChunkLostError):
        await case.store.open_proven(DIGEST, CHUNK)
    assert case.dying == [(DIGEST, "a worker")]
    case.store.release(DIGEST, "a worker")
    assert (await case.put(DATA)).new


async def test_proving_finds_damage_that_no_look_at_the_file_shows(case: StoreCase) -> None:
    await case.put(DATA)
    # As if the disk had changed the bytes below the file system: the proof still fits the file.
    rot(case.path(DIGEST))
    identity = Identity.of(case.path(DIGEST).stat())
    case.store._proofs.remember(DIGEST, identity, time.monotonic())
    assert await case.read(DIGEST) != DATA
    with pytest.raises(ChunkLostError):
        await case.store.prove(DIGEST, CHUNK)
    assert not case.store.has(DIGEST)
    assert case.total(VERIFY_FAILURES) == 1


async def test_a_file_longer_than_any_chunk_is_not_read(case: StoreCase) -> None:
    await case.put(DATA)
    os.truncate(case.path(DIGEST), 1 << 40)
    with pytest.raises(ChunkLostError):
        await case.store.open_proven(DIGEST, CHUNK)
    await case.settled()
    assert case.total(VERIFY_FAILURES) == 1


async def test_holders_of_a_damaged_chunk_are_asked_to_let_go(case: StoreCase) -> None:
    await case.put(DATA)
    case.store.hold(DIGEST, "w1")
    flip(case.path(DIGEST))
    with pytest.raises(ChunkLostError):
        await case.store.open_proven(DIGEST, CHUNK)
    assert case.dying == [(DIGEST, "w1")]
    await case.put(DATA)
    case.store.release(DIGEST, "w1")
    assert await case.read(DIGEST) == DATA


async def test_many_readers_of_a_damaged_chunk_set_it_aside_once(case: StoreCase) -> None:
    await case.put(DATA)
    flip(case.path(DIGEST))
    outcomes = await asyncio.gather(
        *(case.store.open_proven(DIGEST, CHUNK) for _ in range(8)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [ChunkLostError] * 8
    await case.settled()
    assert case.total(VERIFY_FAILURES) == 1
    assert case.quarantined() == [f"{DIGEST.hex()}.1"]


async def test_quarantine_is_bounded_and_within_the_limit(
    case: StoreCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine, "FILES_MAX", 3)
    for seed in range(5):
        data = chunk(seed, 4096)
        digest = (await case.put(data)).digest
        case.path(digest).chmod(0o600)
        case.path(digest).write_bytes(bytes(100))
        with pytest.raises(ChunkLostError):
            await case.store.open_proven(digest, 4096)
        await case.settled()
    assert len(case.quarantined()) == 3
    assert case.store._ledger.quarantine == 3 * 4096


async def test_a_damaged_chunk_that_cannot_be_set_aside_stays_refused(
    case: StoreCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    await case.put(DATA)
    flip(case.path(DIGEST))

    def fail(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fail)
        for _ in range(2):
            with pytest.raises(ChunkLostError):
                await case.store.open_proven(DIGEST, CHUNK)
            await case.settled()
    assert case.store.has(DIGEST), "the file is there, and its bytes count"
    with pytest.raises(ChunkLostError):
        await case.store.open_proven(DIGEST, CHUNK)
    await case.settled()
    assert case.files() == set()


async def test_who_looks_long_at_a_damaged_file_does_not_set_its_successor_aside(
    case: StoreCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    await case.put(DATA)
    rot(case.path(DIGEST))
    begun, woken = threading.Event(), threading.Event()

    def slow(
        fd: int, digest: bytes, size: int, on_error: Callable[[OSError], None]
    ) -> bytearray | None:
        if not begun.is_set():
            begun.set()
            woken.wait()
        return read_proven(fd, digest, size, on_error)

    monkeypatch.setattr(provenchunks, "read_proven", slow)
    first = asyncio.create_task(case.store.prove(DIGEST, CHUNK))
    await asyncio.to_thread(begun.wait)
    with pytest.raises(ChunkLostError):
        await case.store.prove(DIGEST, CHUNK)
    await case.put(DATA)
    woken.set()
    with pytest.raises(ChunkLostError):
        await first
    assert await case.read(DIGEST) == DATA
    await case.settled()
    assert case.total(VERIFY_FAILURES) == 1
    assert len(case.quarantined()) == 1
