"""The promise: durable before any file exists, and not much more than there is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cacheproxy.core.ledger import Claim, Ledger
from cacheproxy.errors import DiskFullError
from cacheproxy.store.index import IndexFile
from cacheproxy.store.layout import STATE, Changes, State
from cacheproxy.store.promise import SMALL_SHARE, Promise
from cacheproxy.store.writer import Writer

LIMIT = 64 << 20
STEP = LIMIT // SMALL_SHARE
MARGIN = 1 << 20


class FullIndex(IndexFile):
    """An index on a disk that may be full."""

    full = False

    def apply(self, changes: Changes) -> int:
        """Commit, or fail."""
        if self.full:
            raise DiskFullError("writing the index: no space")
        return super().apply(changes)


class Bench:
    """A promise, and what it is made of."""

    def __init__(self, index: FullIndex) -> None:
        self.index = index
        self.writer = Writer(index, lambda _: None)
        self.ledger = Ledger(LIMIT, MARGIN, lambda: None)
        self.promise = Promise(self.ledger, self.writer)

    @property
    def durable(self) -> State | None:
        """What a crash would start from."""
        return State.unpack(self.index.get(STATE))

    def claim(self, size: int) -> Claim:
        """Be about to write so much."""
        claim = self.ledger.reserve(size).claim(size)
        assert claim is not None
        return claim

    def write(self, size: int) -> None:
        """Have written so much."""
        self.claim(size).settle(size)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(await asyncio.to_thread(FullIndex, tmp_path))
    yield made
    await made.writer.close()


async def test_what_is_claimed_is_covered_durably(bench: Bench) -> None:
    bench.claim(4096)
    await bench.promise.cover()
    assert bench.durable == State(4096 + STEP, clean=False)
    assert bench.ledger.promised == 4096 + STEP


async def test_many_are_covered_by_one_commit(bench: Bench) -> None:
    bench.claim(3 * STEP)
    await asyncio.gather(*(bench.promise.cover() for _ in range(8)))
    assert bench.durable == State(4 * STEP, clean=False)


async def test_what_comes_while_a_promise_is_committed_is_covered_too(bench: Bench) -> None:
    bench.claim(4096)
    first = asyncio.create_task(bench.promise.cover())
    await asyncio.sleep(0)
    bench.claim(2 * STEP)
    second = asyncio.create_task(bench.promise.cover())
    await first
    await second
    assert bench.ledger.covered
    assert bench.durable == State(bench.ledger.promised, clean=False)


async def test_it_is_raised_ahead_of_need(bench: Bench) -> None:
    bench.claim(4096).settle(4096)
    await bench.writer.sync()
    bench.promise.follow()
    await bench.promise.cover()
    bench.write(STEP // 2 + 4096)
    bench.promise.follow()
    await bench.writer.sync()
    assert bench.durable == State(STEP // 2 + 8192 + STEP, clean=False)


async def test_no_more_is_promised_than_can_exist(bench: Bench) -> None:
    bench.write(bench.ledger.files_max)
    await bench.promise.cover()
    assert bench.durable == State(LIMIT - MARGIN, clean=False)


async def test_it_is_lowered_when_much_less_is_left(bench: Bench) -> None:
    bench.write(6 * STEP)
    await bench.promise.cover()
    bench.ledger.adjust(chunks=-5 * STEP)
    bench.promise.follow()
    assert bench.ledger.promised == 2 * STEP, "at once: nothing above it is written any more"
    await bench.writer.sync()
    assert bench.durable == State(2 * STEP, clean=False)


async def test_a_full_disk_covers_nothing(bench: Bench) -> None:
    bench.index.full = True
    bench.claim(4096)
    with pytest.raises(DiskFullError):
        await bench.promise.cover()
    assert bench.ledger.promised == 0
    bench.index.full = False
    await bench.promise.cover()
    assert bench.durable == State(4096 + STEP, clean=False)


async def test_closed_in_order(bench: Bench) -> None:
    bench.write(8192)
    await bench.promise.cover()
    bench.promise.settle()
    await bench.writer.sync()
    assert bench.durable == State(8192, clean=True)
