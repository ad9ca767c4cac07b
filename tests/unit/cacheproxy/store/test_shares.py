"""A project above its share makes room from its own chunks, and waits behind those that keep to it."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from cacheproxy.core.ledger import Ledger
from cacheproxy.store import room
from cacheproxy.store.census import Census
from cacheproxy.store.layout import Sum
from cacheproxy.store.shares import Shares
from harness.store_case import CHUNK, LIMIT, StoreCase, chunk, opened


async def put(case: StoreCase, seeds: range, owner: str | None) -> list[bytes]:
    digests = []
    for seed in seeds:
        reservation = await case.store.reserve(CHUNK, owner)
        stored = await case.store.put(chunk(seed), reservation=reservation)
        reservation.close()
        digests.append(stored.digest)
    return digests


def count(case: StoreCase, digests: list[bytes]) -> int:
    return sum(map(case.store.has, digests))


def test_overruns_are_told_the_worst_first() -> None:
    ledger = Ledger(1000 * 4096, 0, lambda: None)
    shares = Shares(ledger, Census({}, {1: Sum(1, 200 * 4096), 2: Sum(1, 90 * 4096)}), 10)
    assert shares.overruns({}) == [(1, 100 * 4096)]
    assert shares.overruns({2: 20 * 4096, 3: 300 * 4096}) == [
        (3, 200 * 4096),
        (1, 100 * 4096),
        (2, 10 * 4096),
    ]
    reservation = ledger.reserve(50 * 4096, 2)
    assert shares.overrun(2) == 40 * 4096
    reservation.close()
    assert (shares.overrun(2), shares.overrun(2, 11 * 4096)) == (0, 4096)
    assert shares.overrun(0, 1 << 40) == 0, "nobody has no share"
    shares.percent = 100
    assert shares.overruns({3: 1 << 40}) == []
    assert ledger.reserved_for == {}


async def test_a_project_above_its_share_gives_up_its_own_first(case: StoreCase) -> None:
    case.store.shares.percent = 40
    old = await put(case, range(4), "b")
    own = await put(case, range(100, 160), "a")
    assert count(case, old) == 4, "the oldest of all, but of one who keeps to his share"
    share = LIMIT * 40 // 100
    # It filled what was free, and then turned over its own.
    assert count(case, own) * CHUNK > share
    assert case.store.has(own[-1])
    # Who comes now gets room from what is above the share, and no more than that.
    over = -(-(count(case, own) * CHUNK - share) // CHUNK)
    new = await put(case, range(200, 200 + over), "b")
    assert count(case, new) == over
    assert count(case, old) == 4
    assert share - CHUNK < count(case, own) * CHUNK <= share
    await put(case, range(300, 301), "b")
    assert count(case, old) == 3, "among those who keep to their share the oldest goes"


async def test_without_a_share_the_oldest_goes_whosever_it_is(case: StoreCase) -> None:
    old = await put(case, range(4), "b")
    await put(case, range(100, 160), "a")
    assert count(case, old) == 0


async def test_what_nobody_owns_has_no_share(case: StoreCase) -> None:
    case.store.shares.percent = 10
    old = await put(case, range(4), "b")
    await put(case, range(100, 160), None)
    assert count(case, old) == 0


async def test_a_shared_chunk_is_its_first_storers(case: StoreCase) -> None:
    case.store.shares.percent = 40
    shared = await put(case, range(4), "b")
    assert await put(case, range(4), "a") == shared
    await put(case, range(100, 160), "a")
    assert count(case, shared) == 4
    census = case.store._entries.census
    assert census.owner(case.store._owners.number("b")).chunks == 4


async def test_victims_of_an_owner_are_found_without_a_walk(
    case: StoreCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.store.shares.percent = 10
    await put(case, range(case.store._ledger.free // CHUNK - 6), None)
    own = await put(case, range(100, 106), "a")
    await case.store.sync()
    read: Counter[int] = Counter()
    real = case.store._entries._file.oldest

    def oldest(queue: int, after: int, rows: int, *, owner: int = 0) -> list[tuple[int, bytes]]:
        found = real(queue, after, rows, owner=owner)
        read[owner] += len(found)
        return found

    monkeypatch.setattr(case.store._entries._file, "oldest", oldest)
    await put(case, range(200, 201), "a")
    assert not case.store.has(own[0])
    assert count(case, own) == 5
    assert read[0] == 0
    assert 0 < read[1] <= 2 * 6


async def test_who_keeps_to_his_share_is_served_first(
    case: StoreCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one project's fills hold all the room, another's are next when some is given back."""
    monkeypatch.setattr(room, "WAIT_SECONDS", 20.0)
    case.store.shares.percent = 25
    part = case.store._ledger.free // 4 // 4096 * 4096
    held = [await case.store.reserve(part, "a") for _ in range(4)]
    order: list[str] = []

    async def wait(owner: str) -> None:
        (await case.store.reserve(part, owner)).close()
        order.append(owner)

    tasks = [asyncio.create_task(wait(owner)) for owner in ("a", "a", "b", "c")]
    await asyncio.sleep(0)
    for reservation in held:
        reservation.close()
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert order[:2] == ["b", "c"]
    assert sorted(order[2:]) == ["a", "a"]


async def test_many_projects_race_and_none_is_left_out(case: StoreCase) -> None:
    """Each of eight projects writes far more than the cache holds, one of them three times as fast."""
    case.store.shares.percent = 25
    stored: dict[str, list[bytes]] = {}

    async def fill(project: str, first: int, number: int) -> None:
        digests = await put(case, range(first, first + number), project)
        stored.setdefault(project, []).extend(digests)

    greedy = [fill("p0", 10_000 + 100 * n, 24) for n in range(3)]
    modest = [fill(f"p{n}", 1000 * n, 12) for n in range(1, 5)]
    await asyncio.gather(*greedy, *modest)
    kept = {project: count(case, digests) * CHUNK for project, digests in stored.items()}
    assert kept["p0"] <= LIMIT // 4 + 2 * CHUNK
    assert min(kept.values()) > 0
    await case.settled()


async def test_a_share_that_is_lowered_holds_at_the_next_need(tmp_path: Path) -> None:
    async with opened(tmp_path) as case:
        await case.reconciled()
        own = await put(case, range(case.store._ledger.free // CHUNK), "a")
        other = await put(case, range(1000, 1004), "b")
        assert count(case, own) == len(own) - 4
        case.store.shares.percent = 20
        other += await put(case, range(1004, 1012), "b")
        assert count(case, other) == 12
        assert len(own) - 14 <= count(case, own) <= len(own) - 12  # the index grows as well
        await case.check()
