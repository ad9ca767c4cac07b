"""The whole store against the plainest model: what a chunk's file should hold, and who keeps it.

Unlike test_store.py this knows no order of eviction.  It does what several workers and fills do,
crashes and cuts the power in between, and believes only the disk.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cacheproxy.core.ledger import Reservation, allocated
from cacheproxy.errors import ChunkLostError, NeverFitsError, NoRoomError, PinsFullError
from cacheproxy.store import departures, room
from cacheproxy.store.digest import digest_of
from harness.powercut import PowerCut
from harness.store_case import StoreCase, chunk, open_case
from harness.survey import held_bytes

T = TypeVar("T")

LIMITS = (9 << 20, 11 << 20, 14 << 20)
SIZES = (256 << 10, 256 << 10, 256 << 10, 100_000, 4096, 1)
CHUNKS = [chunk(100 + seed, SIZES[seed % len(SIZES)]) for seed in range(36)]
DIGESTS = [digest_of(data) for data in CHUNKS]
KEPT_MAX = 4  # holds, protections and reservations at once: the others have to make room
PINNED_MAX = 3

numbers = st.integers(0, len(CHUNKS) - 1)
some_numbers = st.lists(numbers, min_size=1, max_size=5)
holders = st.sampled_from(["w1", "w2"])
owners = st.sampled_from([None, "one", "two"])


class WholeStoreMachine(RuleBasedStateMachine):
    """Every rule does something; the invariants say what is true of the store after any of them."""

    def __init__(self) -> None:
        super().__init__()
        self.top = Path(tempfile.mkdtemp(prefix="whole-"))
        self.directory = self.top / "cache"
        self.runner = asyncio.Runner()
        self.case: StoreCase
        self.cut: PowerCut
        self.limit = self.ceiling = LIMITS[1]
        self.held: dict[tuple[int, str], list[int]] = {}  # open descriptors, as a worker has them
        self.protected: list[int] = []
        self.reservations: list[Reservation] = []
        self.pinned: set[int] = set()
        self.touched_by_us: set[int] = set()  # files changed behind the store's back
        self.there: set[int] = set()  # what was to be had after the last rule
        self.may_go = False  # whether chunks may have gone since

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something on the store's loop."""
        return self.runner.run(work)

    def call(self, function: Callable[..., T], *args: object) -> T:
        """Call a plain function of the store on its loop."""

        async def calling() -> T:
            return function(*args)

        return self.run(calling())

    @property
    def kept(self) -> int:
        """How much keeps chunks from going."""
        return len(self.held) + len(self.protected) + len(self.reservations)

    def has(self, number: int) -> bool:
        """Whether a chunk is to be had."""
        return self.case.store.has(DIGESTS[number])

    def right(self, number: int) -> bool:
        """Whether a chunk is to be had, and its file holds what it should."""
        path = self.case.path(DIGESTS[number])
        return self.has(number) and path.is_file() and path.read_bytes() == CHUNKS[number]

    @initialize(limit=st.sampled_from(LIMITS), seed=st.integers(0, 1 << 16))
    def start(self, limit: int, seed: int) -> None:
        self.limit = self.ceiling = limit
        self.case = self.run(open_case(self.directory, limit=limit))
        self.run(self.case.reconciled())
        self.cut = PowerCut(self.directory, self.top / "past", random.Random(seed))

    # --- putting ----------------------------------------------------------------------------------

    async def put_one(self, number: int, owner: str | None, *, pinned: bool) -> None:
        """Reserve and put; whatever goes wrong, nothing stays reserved."""
        store, data = self.case.store, CHUNKS[number]
        try:
            reservation = await store.reserve(len(data), owner)
        except (NoRoomError, NeverFitsError):
            return
        try:
            stored = await store.put(data, reservation=reservation, pinned=pinned)
            assert stored.digest == DIGESTS[number]
        finally:
            reservation.close()

    @rule(number=numbers, owner=owners)
    def put(self, number: int, owner: str | None) -> None:
        self.may_go = True
        self.run(self.put_one(number, owner, pinned=False))
        if not self.kept and not self.pinned:
            assert self.has(number)

    @precondition(lambda self: len(self.pinned) < PINNED_MAX)
    @rule(number=numbers)
    def put_pinned(self, number: int) -> None:
        self.may_go = True
        self.run(self.put_one(number, None, pinned=True))
        self.look_at_pins()

    @rule(chosen=some_numbers, turns=st.integers(0, 60), cancelled=st.sets(st.integers(0, 4)))
    def rush(self, chosen: list[int], turns: int, cancelled: set[int]) -> None:
        """Several at once, perhaps the same, of which some are given up midway."""

        async def rushing() -> None:
            tasks = [
                asyncio.create_task(self.put_one(number, "one", pinned=False)) for number in chosen
            ]
            for _ in range(turns):
                await asyncio.sleep(0)
            for place in cancelled & set(range(len(tasks))):
                tasks[place].cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, Exception):
                    raise result

        self.may_go = True
        self.run(rushing())

    @precondition(lambda self: self.kept < KEPT_MAX)
    @rule(size=st.integers(1, 1 << 20))
    def reserve(self, size: int) -> None:
        self.may_go = True
        try:
            self.reservations.append(self.run(self.case.store.reserve(size)))
        except (NoRoomError, NeverFitsError):
            assert self.kept or self.pinned

    @precondition(lambda self: self.reservations)
    @rule(chosen=some_numbers)
    def fill(self, chosen: list[int]) -> None:
        """Use a reservation that stays open, until it is used up."""
        reservation = self.reservations[0]
        for number in chosen:
            before = reservation.remaining
            try:
                stored = self.run(self.case.store.put(CHUNKS[number], reservation=reservation))
            except NoRoomError:
                assert allocated(len(CHUNKS[number])) > before
            else:
                assert stored.new == (reservation.remaining < before)

    @precondition(lambda self: self.reservations)
    @rule()
    def close_reservation(self) -> None:
        self.call(self.reservations.pop(0).close)

    # --- reading ----------------------------------------------------------------------------------

    @rule(number=numbers)
    def read(self, number: int) -> None:
        """Right bytes, or none: right ones are always given."""
        right = self.right(number)
        try:
            data = self.run(self.case.read(DIGESTS[number], len(CHUNKS[number])))
        except ChunkLostError:
            assert not right
            assert not self.has(number)
            self.there.discard(number)
            self.pinned.discard(number)
            self.run(self.case.settled())
            self.touched_by_us.discard(number)
        else:
            assert data == CHUNKS[number]

    @precondition(lambda self: self.kept < KEPT_MAX)
    @rule(number=numbers, holder=holders)
    def hold(self, number: int, holder: str) -> None:
        """A worker opens a chunk, and keeps it open."""

        async def holding() -> int:
            opened = await self.case.store.open_proven(DIGESTS[number], len(CHUNKS[number]))
            self.case.store.hold(DIGESTS[number], holder)
            return opened.fd

        if self.right(number):
            self.held.setdefault((number, holder), []).append(self.run(holding()))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        number, holder = data.draw(st.sampled_from(sorted(self.held)))
        fds = self.held[number, holder]
        fd = fds.pop()
        os.close(fd)
        if not fds:
            del self.held[number, holder]
        self.call(self.case.store.release, DIGESTS[number], holder)

    @rule(holder=holders)
    def lose_a_holder(self, holder: str) -> None:
        """A worker dies."""
        for key in [key for key in self.held if key[1] == holder]:
            for fd in self.held.pop(key):
                os.close(fd)
        self.call(self.case.store.forget_holder, holder)

    @precondition(lambda self: self.kept < KEPT_MAX)
    @rule(number=numbers)
    def protect(self, number: int) -> None:
        if self.has(number):
            self.call(self.case.store.protect, DIGESTS[number])
            self.protected.append(number)

    @precondition(lambda self: self.protected)
    @rule()
    def unprotect(self) -> None:
        self.call(self.case.store.unprotect, DIGESTS[self.protected.pop()])

    @rule(chosen=some_numbers)
    def touch(self, chosen: list[int]) -> None:
        self.call(self.case.store.touch, [DIGESTS[number] for number in chosen])

    # --- who stays --------------------------------------------------------------------------------

    @rule(chosen=some_numbers)
    def drop(self, chosen: list[int]) -> None:
        self.run(self.case.store.drop([DIGESTS[number] for number in chosen]))
        assert not any(self.has(number) for number in chosen)
        self.there -= set(chosen)
        self.pinned -= set(chosen)

    @rule(number=numbers)
    def pin(self, number: int) -> None:
        if len(self.pinned) < PINNED_MAX:
            try:
                self.run(self.case.store.pin([DIGESTS[number]]))
            except PinsFullError:
                assert self.limit == LIMITS[0]
        self.look_at_pins()

    @rule(number=numbers)
    def unpin(self, number: int) -> None:
        self.run(self.case.store.unpin([DIGESTS[number]]))
        self.look_at_pins()
        assert number not in self.pinned

    def look_at_pins(self) -> None:
        """Take what is pinned from the index."""

        async def pinned() -> set[bytes]:
            found: set[bytes] = set()
            async for block in self.case.store.all_pinned():
                found |= block
            return found

        self.pinned = {DIGESTS.index(digest) for digest in self.run(pinned())}

    @rule(limit=st.sampled_from(LIMITS))
    def relimit(self, limit: int) -> None:
        self.may_go = True
        self.limit = limit
        self.call(self.case.store.allowance.relimit, limit)
        self.shrunk()

    def shrunk(self) -> None:
        """Wait for what is too much to go, unless something keeps it."""
        ledger = self.case.store._ledger
        if not (self.kept or self.pinned or self.touched_by_us):
            self.run(self.case.until(lambda: ledger.excess == 0))
        self.ceiling = max(self.limit, min(self.ceiling, ledger.used))

    # --- behind its back --------------------------------------------------------------------------

    @rule(number=numbers, at=st.integers(0, (256 << 10) - 1), how=st.sampled_from("cfd"))
    def damage(self, number: int, at: int, how: str) -> None:
        """Cut, flip or delete a chunk's file."""
        path = self.case.path(DIGESTS[number])
        if not self.has(number) or number in self.touched_by_us:
            return
        self.touched_by_us.add(number)
        if how == "d":
            path.unlink()
            return
        path.chmod(0o600)
        at %= len(CHUNKS[number])
        with path.open("r+b") as file:
            if how == "c":
                file.truncate(at)
            else:
                file.seek(at)
                file.write(bytes([CHUNKS[number][at] ^ 1]))
        os.utime(path, ns=(1, 1))  # the kernel's clock may not have ticked since it was proven

    @rule()
    def note(self) -> None:
        """Remember what a power cut may bring back."""
        self.cut.note()
        self.cut.note_index(self.case.store._entries._file._env)

    # --- ends -------------------------------------------------------------------------------------

    @rule()
    def restart(self) -> None:
        self.run(self.case.store.close())
        self.cut.synced()
        pinned, files = self.pinned, self.there - self.touched_by_us
        self.reopen(hasty=[])
        assert self.pinned >= pinned & files
        assert files <= {number for number in range(len(CHUNKS)) if self.has(number)}

    @rule(hasty=st.lists(numbers, max_size=3))
    def crash(self, hasty: list[int]) -> None:
        self.run(self.case.crash())
        self.reopen(hasty)

    @rule(hasty=st.lists(numbers, max_size=3))
    def power_cut(self, hasty: list[int]) -> None:
        self.cut.note()
        self.run(self.case.crash())
        for fds in self.held.values():
            for fd in fds:
                os.close(fd)
        self.held.clear()
        self.cut.strike(self.limit)
        self.reopen(hasty)

    def reopen(self, hasty: list[int]) -> None:
        """Open it again; `hasty`: put before files and index were compared."""
        self.protected.clear()
        self.reservations.clear()
        self.case = self.run(open_case(self.directory, limit=self.limit))
        # Workers outlive their keeper, and say first what they still have open.
        for (number, holder), fds in self.held.items():
            for _ in fds:
                self.call(self.case.store.hold, DIGESTS[number], holder)
        for number in hasty:
            self.run(self.put_one(number, None, pinned=False))
            self.look_at_the_limit()
        self.run(self.case.reconciled())
        self.touched_by_us.clear()
        self.look_at_pins()
        self.shrunk()
        self.run(self.case.settled())
        self.there = {number for number in range(len(CHUNKS)) if self.has(number)}
        if not self.held:
            assert {DIGESTS[number] for number in self.there} == self.case.files()

    # --- what is always true ----------------------------------------------------------------------

    @invariant()
    def nothing_goes_without_a_reason(self) -> None:
        if not hasattr(self, "case"):
            return
        there = {number for number in range(len(CHUNKS)) if self.has(number)}
        assert self.may_go or self.there <= there
        assert self.pinned <= there, "a pinned chunk went"
        self.there, self.may_go = there, False

    @invariant()
    def the_ledger_is_right(self) -> None:
        if not hasattr(self, "case"):
            return
        self.run(self.case.settled())
        self.look_at_the_limit()
        if not self.touched_by_us:
            self.run(self.case.check(reserved=sum(each.remaining for each in self.reservations)))

    def look_at_the_limit(self) -> None:
        """Look at the disk, files without a name that are open included."""
        taken = held_bytes(self.directory, [os.getpid()])
        assert taken <= self.ceiling, (taken, self.case.store)
        self.ceiling = max(self.limit, min(self.ceiling, taken))

    def teardown(self) -> None:
        for fds in self.held.values():
            for fd in fds:
                os.close(fd)
        if hasattr(self, "case"):
            self.run(self.case.store.close())
        self.runner.close()
        shutil.rmtree(self.top)


def run_machine(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        WholeStoreMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.fixture(autouse=True)
def _impatient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Holders here do not answer by themselves: do not wait for them."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(departures, "PATIENCE_SECONDS", 0)
    monkeypatch.setattr(room, "PATIENCE_SECONDS", 0.001)
    monkeypatch.setattr(room, "PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(room, "WAIT_SECONDS", 0.3)


def test_whole_store() -> None:
    run_machine(examples=8, steps=40)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_whole_store_for_long() -> None:
    run_machine(examples=400, steps=60)
