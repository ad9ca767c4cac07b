"""The limit changes while the store is in use."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from cacheproxy.errors import ConfigError, NeverFitsError
from cacheproxy.metrics import CACHE_LIMIT_BYTES
from cacheproxy.store import departures, room, victims
from cacheproxy.store.layout import STATE, State
from harness.store_case import CHUNK, LIMIT, StoreCase, allocated_by_us, chunk, opened


async def filled(case: StoreCase) -> list[bytes]:
    digests = await case.fill(range(case.store._ledger.free // CHUNK))
    await case.store.sync()
    return digests


@pytest.mark.parametrize("ahead", [CHUNK, 256 << 20])
async def test_a_lower_limit_shrinks_while_serving(
    case: StoreCase, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    monkeypatch.setattr(room, "AHEAD_BYTES", ahead)
    digests = await filled(case)
    opened_chunk = await case.store.open_proven(digests[0], CHUNK)
    case.store.hold(digests[0], "w1")
    case.store.allowance.relimit(LIMIT - 10 * CHUNK)
    assert case.total(CACHE_LIMIT_BYTES) == case.store.allowance.limit_bytes == LIMIT - 10 * CHUNK
    reading = asyncio.create_task(case.read(digests[-1]))
    ledger = case.store._ledger
    await case.until(lambda: ledger.free >= 0)
    assert os.pread(opened_chunk.fd, CHUNK, 0) == chunk(0), "who has it open reads on"
    os.close(opened_chunk.fd)
    case.store.release(digests[0], "w1")
    await case.settled()
    assert await reading == chunk(len(digests) - 1)
    assert await asyncio.to_thread(allocated_by_us, case.directory) <= LIMIT - 10 * CHUNK
    assert case.store.has(digests[0]), "somebody read it"
    assert not any(map(case.store.has, digests[1:10]))
    assert all(map(case.store.has, digests[12:])), "no more goes than has to"


async def test_a_higher_limit_holds_at_once(case: StoreCase) -> None:
    digests = await filled(case)
    with pytest.raises(NeverFitsError):
        await case.store.reserve(LIMIT)
    case.store.allowance.relimit(2 * LIMIT)
    (await case.store.reserve(LIMIT)).close()
    await case.fill(range(100, 110))
    assert all(map(case.store.has, digests))


async def test_a_limit_too_small_changes_nothing(case: StoreCase) -> None:
    digests = await filled(case)
    with pytest.raises(ConfigError, match=r"image_cache_size = 1000 is too small: at least \d+"):
        case.store.allowance.relimit(1000)
    assert case.store.allowance.limit_bytes == case.total(CACHE_LIMIT_BYTES) == LIMIT
    assert all(map(case.store.has, digests))


async def test_who_waits_for_more_than_the_new_limit_is_told(case: StoreCase) -> None:
    most = case.store._ledger.free // 4096 * 4096
    held = await case.store.reserve(most)
    waiting = asyncio.create_task(case.store.reserve(most))
    await asyncio.sleep(0)
    case.store.allowance.relimit(LIMIT - CHUNK)
    with pytest.raises(NeverFitsError):
        await waiting
    held.close()


async def test_a_limit_without_room_for_what_is_pinned_is_refused(case: StoreCase) -> None:
    digests = await filled(case)
    await case.store.pin(digests[:20])
    told = rf"is too small: {20 * CHUNK} bytes are pinned, and it has room for \d+ of them"
    with pytest.raises(ConfigError, match=told):
        case.store.allowance.relimit(LIMIT - 14 * CHUNK)
    assert case.store.allowance.limit_bytes == LIMIT
    assert all(map(case.store.has, digests))
    await case.store.unpin(digests[:20])
    case.store.allowance.relimit(LIMIT - 14 * CHUNK)
    await case.until(lambda: case.store._ledger.free >= 0)


async def test_after_a_crash_with_a_lower_limit_nothing_unlisted_is_forgotten(
    tmp_path: Path,
) -> None:
    """What the promise covers beside the list may exist, whatever the limit is now."""
    async with opened(tmp_path) as case:
        await case.reconciled()
        await filled(case)
        await case.store.sync()
        promised = State.unpack(case.store._writer.read(STATE))
        assert promised is not None
        await case.crash()
        listed = case.store._ledger.chunks
    async with opened(tmp_path, limit=LIMIT - 12 * CHUNK) as case:
        ledger = case.store._ledger
        assert ledger.chunks + ledger.unknown <= promised.promised
        assert ledger.unknown == promised.promised - listed
        await case.reconciled()
        await case.until(lambda: ledger.free >= 0)
        await case.check()


async def test_only_so_many_leave_at_once(case: StoreCase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departures, "LEAVING_MAX", 3)
    most = 0
    real = departures.Departures.retire

    def retire(self: departures.Departures, digest: bytes) -> None:
        nonlocal most
        real(self, digest)
        most = max(most, len(self.all_leaving()))

    monkeypatch.setattr(departures.Departures, "retire", retire)
    monkeypatch.setattr(victims, "SCAN_SLICE", 1)
    digests = await filled(case)
    case.store.allowance.relimit(LIMIT - 12 * CHUNK)
    await case.until(lambda: case.store._ledger.free >= 0)
    await case.settled()
    assert sum(map(case.store.has, digests)) <= len(digests) - 12
    assert most == 3
