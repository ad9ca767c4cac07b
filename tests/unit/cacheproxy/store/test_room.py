"""Room: the limit holds, the oldest go first, and who holds a chunk open is asked."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cacheproxy.errors import ChunkLostError, ConfigError, NeverFitsError, NoRoomError
from cacheproxy.metrics import EVICTED_BYTES, RESERVED_BYTES
from cacheproxy.store import departures, entries, room
from harness.store_case import CHUNK, LIMIT, StoreCase, allocated_by_us, chunk, opened


def capacity(case: StoreCase) -> int:
    """Return how many chunks have room beside what is stored."""
    return case.store._ledger.free // CHUNK


async def filled(case: StoreCase) -> list[bytes]:
    """Fill the store to its limit; the oldest chunk comes first."""
    digests = await case.fill(range(capacity(case)))
    assert capacity(case) == 0
    await case.store.sync()
    return digests


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let waits that nothing can end early be short."""
    monkeypatch.setattr(room, "WAIT_SECONDS", 0.05)
    monkeypatch.setattr(room, "PAUSE_SECONDS", 0)


async def test_the_least_recently_used_goes(case: StoreCase) -> None:
    digests = await filled(case)
    case.store.touch([digests[0], digests[2]])
    await case.fill(range(1000, 1002))
    gone = [digest for digest in digests if not case.store.has(digest)]
    assert gone == [digests[1], digests[3]]
    assert case.total(EVICTED_BYTES) == 2 * CHUNK


async def test_the_order_survives_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as case:
        digests = await filled(case)
        case.store.touch([digests[0]])
    async with opened(tmp_path) as case:
        await case.reconciled()
        await case.fill(range(1000, 1001 + capacity(case)))
        gone = [digest for digest in digests if not case.store.has(digest)]
        assert gone == [digests[1]]
        await case.check()


async def test_a_use_that_is_told_late_does_not_age_what_has_come_again(case: StoreCase) -> None:
    first, *others = await case.fill(range(6))
    await case.store.drop([first])
    case.store.touch([first, others[0]])  # a worker has sent it meanwhile, from its open file
    assert await case.fill(range(1)) == [first]
    await case.store._entries.flush()
    await case.store.sync()
    order = [candidate.digest for candidate in case.store._entries.oldest()]
    assert order == [*others[1:], others[0], first]


async def test_uses_are_written_in_slices(case: StoreCase, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = await case.fill(range(6))
    await case.store.sync()
    monkeypatch.setattr(entries, "FLUSH_SECONDS", 0)
    monkeypatch.setattr(entries, "FLUSH_SLICE", 2)
    case.store.touch(reversed(digests))
    case.store.touch([b"\1" * 32])  # never was
    for _ in range(20):
        await asyncio.sleep(0)
    assert not case.store._entries._touched
    await case.store.sync()
    order = [candidate.digest for candidate in case.store._entries.oldest()]
    assert order == list(reversed(digests))


async def test_noted_uses_are_bounded(case: StoreCase, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = await case.fill(range(6))
    monkeypatch.setattr(entries, "TOUCHES_MAX", 2)
    case.store.touch(digests[:3])
    case.store.touch(digests[3:])
    assert len(case.store._entries._touched) == 2


async def test_protected_chunks_stay(case: StoreCase) -> None:
    digests = await filled(case)
    for digest in digests[:-1]:
        case.store.protect(digest)
    await case.fill(range(1000, 1001))
    assert [case.store.has(digest) for digest in digests] == [True] * (len(digests) - 1) + [False]
    for digest in digests[:-1]:
        case.store.unprotect(digest)


@pytest.mark.usefixtures("impatient")
async def test_no_room_while_everything_is_protected(case: StoreCase) -> None:
    digests = await filled(case)
    for digest in digests:
        case.store.protect(digest)
    with pytest.raises(NoRoomError):
        await case.store.reserve(CHUNK)
    assert case.total(RESERVED_BYTES) == 0
    waiting = asyncio.create_task(case.store.reserve(CHUNK))
    await asyncio.sleep(0)
    for digest in digests:
        case.store.unprotect(digest)
    (await waiting).close()


async def test_what_can_never_fit_is_told_at_once(case: StoreCase) -> None:
    await filled(case)
    with pytest.raises(NeverFitsError):
        await case.store.reserve(LIMIT)
    assert case.total(EVICTED_BYTES) == 0
    most = case.store._ledger.files_max
    (await case.store.reserve(most // 4096 * 4096)).close()


async def test_waiters_are_served_in_order(case: StoreCase) -> None:
    most = case.store._ledger.free // 4096 * 4096
    first = await case.store.reserve(most)
    order: list[int] = []

    async def wait(number: int, size: int) -> None:
        (await case.store.reserve(size)).close()
        order.append(number)

    sizes = [most, 4096, most // 2]
    tasks = [asyncio.create_task(wait(i, size)) for i, size in enumerate(sizes)]
    await asyncio.sleep(0)
    assert order == []
    first.close()
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2]


@pytest.mark.usefixtures("impatient")
async def test_a_waiter_that_gives_up_lets_the_next_one_in(case: StoreCase) -> None:
    most = case.store._ledger.free // 4096 * 4096
    held = await case.store.reserve(most - 4096)
    large = asyncio.create_task(case.store.reserve(most))
    small = asyncio.create_task(case.store.reserve(4096))
    with pytest.raises(NoRoomError):
        await large
    (await small).close()
    held.close()


async def test_cancelled_waiters_leave_nothing(case: StoreCase) -> None:
    most = case.store._ledger.free // 4096 * 4096
    held = await case.store.reserve(most)
    granted = asyncio.create_task(case.store.reserve(most))
    waiting = asyncio.create_task(case.store.reserve(most))
    await asyncio.sleep(0)
    held.close()  # grants the first, whose task has not run yet
    granted.cancel()
    waiting.cancel()
    await asyncio.wait([granted, waiting])
    assert granted.cancelled()
    assert waiting.cancelled()
    assert case.total(RESERVED_BYTES) == 0
    assert not case.store._room._waiters


async def test_many_race_for_the_last_bytes(case: StoreCase) -> None:
    await filled(case)
    seen: list[int] = []

    async def fill(seed: int) -> None:
        for i in range(4):
            await case.put(chunk(seed * 10 + i))
            seen.append(await asyncio.to_thread(allocated_by_us, case.directory))

    await asyncio.gather(*(fill(seed) for seed in range(100, 116)))
    assert max(seen) <= LIMIT
    assert len(seen) == 64


async def test_the_limit_may_be_lower_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as case:
        digests = await filled(case)
    async with opened(tmp_path, limit=LIMIT - 8 * CHUNK) as case:
        ledger = case.store._ledger
        await case.until(lambda: ledger.free >= 0)
        assert [case.store.has(digest) for digest in digests[:8]] == [False] * 8
        assert case.store.has(digests[-1])
        await case.reconciled()
        await case.check()


async def test_a_limit_too_small_names_the_smallest(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"image_cache_size = 1048576 is too small: at least \d+"
    ) as told:
        async with opened(tmp_path / "a", limit=1 << 20):
            pass
    smallest = int(str(told.value).rpartition(" ")[2])
    with pytest.raises(ConfigError):
        async with opened(tmp_path / "b", limit=smallest - 1):
            pass
    async with opened(tmp_path / "c", limit=smallest) as case:
        await case.reconciled()
        await case.fill(range(20))
        assert len(case.files()) >= 7
        await case.check()
    async with opened(tmp_path / "c", limit=smallest) as case:  # there are directories by now
        await case.reconciled()
        await case.check()


# --- holders -------------------------------------------------------------------------------------


async def test_a_held_chunk_goes_when_its_last_holder_lets_go(case: StoreCase) -> None:
    (digest,) = await case.fill(range(1))
    for holder in ("w1", "w1", "w2"):
        case.store.hold(digest, holder)
    await case.store.drop([digest])
    assert sorted(case.dying, key=str) == [(digest, "w1"), (digest, "w2")]
    assert not case.store.has(digest)
    with pytest.raises(ChunkLostError):
        await case.store.open_proven(digest, CHUNK)
    used = case.store._ledger.used
    await case.store.drop([digest])
    assert len(case.dying) == 2, "each holder is asked once"
    case.store.release(digest, "w1", 2)
    assert case.path(digest).exists()
    assert case.store._ledger.used == used, "its bytes count as long as it is open somewhere"
    assert case.total(EVICTED_BYTES) == 0
    case.store.release(digest, "w2")
    await case.settled()
    assert not case.path(digest).exists()
    assert case.store._ledger.used == used - CHUNK
    assert case.total(EVICTED_BYTES) == CHUNK


async def test_a_holder_that_dies_has_let_go(case: StoreCase) -> None:
    digests = await case.fill(range(3))
    for digest in digests:
        case.store.hold(digest, "w1")
    await case.store.drop(digests[:2])
    case.store.forget_holder("w1")
    case.store.forget_holder("w1")
    await case.settled()
    assert case.files() == {digests[2]}


async def test_who_comes_to_hold_a_dying_chunk_is_asked_too(case: StoreCase) -> None:
    (digest,) = await case.fill(range(1))
    case.store.hold(digest, "w1")
    await case.store.drop([digest])
    case.store.hold(digest, "w2")
    case.store.hold(digest, "w2")
    assert case.dying == [(digest, "w1"), (digest, "w2")]
    case.store.release(digest, "w2", 2)
    case.store.release(digest, "w1")
    await case.settled()
    assert case.files() == set()


async def test_a_protected_chunk_is_dropped_when_it_may_go(case: StoreCase) -> None:
    (digest,) = await case.fill(range(1))
    case.store.protect(digest)
    await case.store.drop([digest])
    assert not case.store.has(digest)
    assert case.path(digest).exists()
    case.store.unprotect(digest)
    await case.settled()
    assert case.files() == set()


async def test_a_dying_chunk_that_is_put_again_stays(case: StoreCase) -> None:
    (digest,) = await case.fill(range(1))
    case.store.hold(digest, "w1")
    await case.store.drop([digest])
    stored = await case.put(chunk(0))
    assert not stored.new
    assert case.store.has(digest)
    case.store.release(digest, "w1")
    await case.settled()
    assert await case.read(digest) == chunk(0)
    await case.store.drop([digest])
    assert case.files() == set()


async def test_a_chunk_that_is_leaving_is_put_again_afterwards(case: StoreCase) -> None:
    (digest,) = await case.fill(range(1))
    dropping = asyncio.create_task(case.store.drop([digest]))
    await asyncio.sleep(0)
    stored = await case.put(chunk(0))
    await dropping
    assert stored.new
    assert await case.read(digest) == chunk(0)


async def test_room_is_made_from_held_chunks_that_are_let_go(tmp_path: Path) -> None:
    async with opened(tmp_path) as case:
        await case.reconciled()
        digests = await filled(case)
        for digest in digests:
            case.store.hold(digest, "w1")
        waiting = asyncio.create_task(case.store.reserve(2 * CHUNK))
        await case.until(lambda: len(case.dying) == 2)
        assert case.dying == [(digests[0], "w1"), (digests[1], "w1")]
        assert not waiting.done()
        for digest, holder in case.dying:
            case.store.release(digest, holder)
        (await waiting).close()
        case.store.forget_holder("w1")
        await case.check()


async def test_a_holder_that_never_answers_costs_another_victim(
    case: StoreCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(departures, "PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr(room, "PATIENCE_SECONDS", 0.01)
    digests = await filled(case)
    old = digests[: len(digests) // 4]
    for digest in old:
        case.store.hold(digest, "stopped")
    before = case.store._ledger.used
    (await case.store.reserve(CHUNK)).close()
    assert case.dying == [(digests[0], "stopped")]
    assert case.path(digests[0]).exists()
    assert case.store._ledger.used == before - CHUNK, "the bytes of the other one are free"
    assert not case.path(digests[len(old)]).exists()
    case.store.forget_holder("stopped")


async def test_a_chunk_being_opened_is_not_removed_meanwhile(case: StoreCase) -> None:
    (digest,) = await case.fill(range(1))
    case.some_time_later()
    opening = asyncio.create_task(case.store.open_proven(digest, CHUNK))
    await asyncio.sleep(0)
    await case.store.drop([digest])
    with pytest.raises(ChunkLostError):
        await opening
    await case.settled()
    assert case.files() == set()


async def test_a_disk_that_does_not_remove_keeps_the_chunk(case: StoreCase) -> None:
    first, second = await case.fill(range(2))
    path = case.path(first)
    path.rename(path.with_suffix(".aside"))
    path.mkdir()
    await case.store.drop([first])
    assert case.store.has(first), "it is there, and its bytes still count"
    assert case.total(EVICTED_BYTES) == 0
    await case.store.sync()
    order = [candidate.digest for candidate in case.store._entries.oldest()]
    assert order == [second], "used just now, as far as eviction goes"
    path.rmdir()
    path.with_suffix(".aside").rename(path)
    assert await case.read(first) == chunk(0)
