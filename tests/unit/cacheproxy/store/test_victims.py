"""Chunks that somebody has open go last; chunks that have just landed do not go in their place."""

from __future__ import annotations

import asyncio

import pytest

from cacheproxy.store import departures, room
from harness.store_case import CHUNK, StoreCase


async def filled(case: StoreCase) -> list[bytes]:
    digests = await case.fill(range(case.store._ledger.free // CHUNK))
    await case.store.sync()
    return digests


async def test_a_slow_readers_chunks_are_passed_over(case: StoreCase) -> None:
    digests = await filled(case)
    for digest in digests[:4]:
        case.store.hold(digest, "slow")
    await case.fill(range(1000, 1010))
    assert case.dying == [], "nobody was asked to let go"
    assert all(map(case.store.has, digests[:4]))
    assert not any(map(case.store.has, digests[4:14]))
    case.store.forget_holder("slow")


async def test_with_all_of_the_old_end_open_the_oldest_is_asked_for(
    case: StoreCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(departures, "PATIENCE_SECONDS", 60.0)
    digests = await filled(case)
    old = len(digests) // 4
    for digest in digests[:old]:
        case.store.hold(digest, "w1")
    waiting = asyncio.create_task(case.store.reserve(CHUNK))
    await case.until(lambda: bool(case.dying))
    assert case.dying == [(digests[0], "w1")]
    assert all(map(case.store.has, digests[1:])), "none that landed since goes in its place"
    case.store.release(digests[0], "w1")
    (await waiting).close()
    case.store.forget_holder("w1")


async def test_a_hundred_fills_race_for_the_last_bytes(
    case: StoreCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that keeps every chunk open lets go when asked, as it does; nobody is left waiting."""
    monkeypatch.setattr(room, "WAIT_SECONDS", 30.0)
    await filled(case)
    loop = asyncio.get_running_loop()

    async def fill(seed: int) -> None:
        (digest,) = await case.fill(range(seed, seed + 1))
        if case.store.has(digest):
            case.store.hold(digest, "w1")

    def let_go() -> None:
        for digest, holder in case.dying:
            case.store.release(digest, holder)
        case.dying.clear()
        loop.call_later(0, let_go) if not done else None

    done = False
    loop.call_soon(let_go)
    try:
        await asyncio.gather(*(fill(2000 + number) for number in range(100)))
    finally:
        done = True
    assert case.store._ledger.used <= case.store._ledger.limit
    case.store.forget_holder("w1")
    await case.settled()
