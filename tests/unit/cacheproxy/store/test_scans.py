"""The store with its default policy: a scan of a large image does not flush what is used often."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from cacheproxy.store import entries
from harness.store_case import CHUNK, StoreCase, chunk, opened

HOT = 12
FIRST_SCANNED = 1000


async def use(case: StoreCase, seed: int, digests: dict[int, bytes]) -> bool:
    """Read a chunk as a reader does, bringing it in if it is not there; whether it was."""
    digest = digests.get(seed)
    there = digest is not None and case.store.has(digest)
    if not there:
        digests[seed] = (await case.put(chunk(seed))).digest
        await case.store.sync()  # what is not committed yet does not go
    case.store.touch([digests[seed]])  # as it is sent
    return there


async def boots_and_scans(case: StoreCase, rounds: int) -> float:
    """Use hot chunks, between scans longer than the cache; the hot hits' share at the end."""
    draw = random.Random(1)
    digests: dict[int, bytes] = {}
    scanned = FIRST_SCANNED
    hits = uses = 0
    for number in range(rounds):
        for _ in range(3 * HOT):
            there = await use(case, draw.randrange(HOT), digests)
            if number >= rounds // 2:
                uses += 1
                hits += there
        for seed in range(scanned, scanned + 45):
            await use(case, seed, digests)
            digests.pop(seed)  # never again
        scanned += 45
    return hits / uses


async def test_a_scan_does_not_flush_what_is_used_often(tmp_path: Path) -> None:
    async with opened(tmp_path, eviction="adaptive") as case:
        assert await boots_and_scans(case, 16) > 0.9
        await case.check()


async def test_lru_is_flushed_by_a_scan(tmp_path: Path) -> None:
    async with opened(tmp_path, eviction="lru") as case:
        assert await boots_and_scans(case, 6) < 0.8
        await case.check()


async def test_what_was_learned_survives_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entries, "FLUSH_SECONDS", 0)
    async with opened(tmp_path) as case:
        await boots_and_scans(case, 16)
        learned = case.store._entries._policy.pack()
    async with opened(tmp_path) as case:
        assert case.store._entries._policy.pack() == learned
        assert learned[1]
        await case.check()


async def test_what_was_read_from_beginning_to_end_goes_from_its_head(case: StoreCase) -> None:
    digests = await case.fill(range(case.store._ledger.free // CHUNK))
    await case.store.sync()
    for digest in reversed(digests):
        case.store.touch([digest])
    for digest in digests:
        case.store.touch([digest])
    await case.fill(range(1000, 1003))
    assert [digest for digest in digests if not case.store.has(digest)] == digests[:3]
    await case.check()
