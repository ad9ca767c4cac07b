"""Pinned chunks stay, whatever has to go; there is a bound on them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cacheproxy.core.eviction import PINNED
from cacheproxy.errors import NeverFitsError, NoRoomError, PinsFullError
from cacheproxy.metrics import PINNED_BYTES
from cacheproxy.store import room
from harness.store_case import CHUNK, StoreCase, chunk, opened


async def told(case: StoreCase) -> set[bytes]:
    return {digest async for block in case.store.all_pinned() for digest in block}


async def test_pinned_chunks_stay(case: StoreCase) -> None:
    digests = await case.fill(range(6))
    await case.store.pin([*digests[:2], b"\1" * 32])
    assert case.store.pinned_bytes == case.total(PINNED_BYTES) == 2 * CHUNK
    await case.fill(range(100, 160))
    assert [case.store.has(digest) for digest in digests] == [True, True] + [False] * 4
    case.store.touch(digests[:2])
    await case.store._entries.flush()
    assert await told(case) == set(digests[:2])
    await case.store.unpin(digests)
    assert case.total(PINNED_BYTES) == 0
    assert case.store.has(digests[0])
    await case.fill(range(200, 260))
    assert not case.store.has(digests[0])
    assert await told(case) == set()


async def test_what_comes_in_pinned_stays(case: StoreCase) -> None:
    await case.fill(range(1))
    digests = []
    for seed in range(3):  # the first is there already
        reservation = await case.store.reserve(CHUNK)
        stored = await case.store.put(chunk(seed), reservation=reservation, pinned=True)
        reservation.close()
        digests.append(stored.digest)
    assert await told(case) == set(digests)
    await case.fill(range(100, 160))
    assert all(map(case.store.has, digests))


async def test_a_dying_chunk_that_is_pinned_stays(case: StoreCase) -> None:
    (digest,) = await case.fill(range(1))
    case.store.hold(digest, "w1")
    await case.store.drop([digest])
    await case.store.pin([digest])
    case.store.release(digest, "w1")
    assert case.store.has(digest)
    await case.store.drop([digest])
    assert not case.store.has(digest), "who drops it means it"
    assert case.total(PINNED_BYTES) == 0


async def test_pins_survive_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as case:
        digests = await case.fill(range(3))
        await case.store.pin(digests[:1])
    async with opened(tmp_path) as case:
        await case.reconciled()
        assert case.store.pinned_bytes == CHUNK
        await case.fill(range(100, 160))
        assert [case.store.has(digest) for digest in digests] == [True, False, False]
        await case.check()


async def test_there_is_a_bound(case: StoreCase, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = await case.fill(range(case.store._ledger.free // CHUNK))
    most = case.store.pinned_bytes_max // CHUNK
    assert most < len(digests)
    with pytest.raises(PinsFullError, match=r"\d+ of \d+ bytes are pinned: unpin another image"):
        await case.store.pin(digests)
    assert await told(case) == set(digests[:most])
    # What comes in later is stored all the same, as any other chunk.
    reservation = await case.store.reserve(CHUNK)
    stored = await case.store.put(chunk(1000), reservation=reservation, pinned=True)
    reservation.close()
    assert stored.new
    assert await told(case) == set(digests[:most])
    # Room that only pinned chunks could make is refused at once, and no chunk goes for it.
    left = case.files()
    with pytest.raises(NeverFitsError, match="beside what is pinned"):
        await case.store.reserve(case.store._ledger.files_max - CHUNK)
    assert case.files() == left
    # Room that is just taken is waited for.
    for digest in case.files():
        case.store.protect(digest)
    monkeypatch.setattr(room, "WAIT_SECONDS", 0.05)
    with pytest.raises(NoRoomError):
        await case.store.reserve(2 * CHUNK)
    for digest in case.files():
        case.store.unprotect(digest)


async def test_who_waits_is_told_when_pins_take_his_room(case: StoreCase) -> None:
    digests = await case.fill(range(case.store._ledger.free // CHUNK))
    for digest in digests:
        case.store.protect(digest)
    waiting = asyncio.create_task(case.store.reserve(len(digests) * CHUNK))
    await asyncio.sleep(0)
    await case.store.pin(digests[:1])
    with pytest.raises(NeverFitsError):
        await waiting
    for digest in digests:
        case.store.unprotect(digest)


async def test_no_policy_is_asked_about_them(case: StoreCase) -> None:
    assert PINNED not in case.store._entries._policy.queues
