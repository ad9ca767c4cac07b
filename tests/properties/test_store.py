"""The chunk store against a naive model: a dictionary of bytes, and the order of their use."""

from __future__ import annotations

import asyncio
import os
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

from cacheproxy.core.records import ImageRecord
from cacheproxy.errors import ChunkLostError, NeverFitsError
from cacheproxy.metrics import EVICTED_BYTES, VERIFY_FAILURES
from cacheproxy.store import departures, room
from cacheproxy.store.digest import digest_of
from harness.store_case import CHUNK, StoreCase, chunk, open_case, planted

T = TypeVar("T")

LIMIT = 9 << 20  # room for about a dozen chunks beside the overhead
CHUNKS = [chunk(seed) for seed in range(24)]
DIGESTS = [digest_of(data) for data in CHUNKS]
KEPT_MAX = 4  # chunks held or protected at once: the others have to make room

numbers = st.integers(0, len(CHUNKS) - 1)
holders = st.sampled_from(["w1", "w2"])


class StoreMachine(RuleBasedStateMachine):
    """Every rule does something to the store, then says what has to be true of it."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="store-"))
        self.runner = asyncio.Runner()
        self.case: StoreCase
        # The model.
        self.order: list[int] = []  # present chunks, the least recently used first
        self.dying: set[int] = set()  # their files exist, but nobody may find them
        self.damaged: set[int] = set()
        self.deleted: set[int] = set()  # their files were removed behind the store's back
        self.held: dict[tuple[int, str], int] = {}
        self.protected: dict[int, int] = {}
        self.images: dict[str, ImageRecord] = {}
        self.asked = 0
        self.failures = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something on the store's loop."""
        return self.runner.run(work)

    def call(self, function: Callable[..., T], *args: object) -> T:
        """Call a plain function of the store on its loop."""

        async def calling() -> T:
            return function(*args)

        return self.run(calling())

    def kept(self, number: int) -> bool:
        """Whether somebody holds or protects a chunk."""
        return number in self.protected or any(held == number for held, _ in self.held)

    def asked_since(self) -> set[tuple[int, object]]:
        """Return whom the store has asked since the last look, each once."""
        new = self.case.dying[self.asked :]
        self.asked = len(self.case.dying)
        assert len(set(new)) == len(new), "a holder was asked twice"
        return {(DIGESTS.index(digest), holder) for digest, holder in new}

    @initialize()
    def start(self) -> None:
        self.case = self.run(open_case(self.directory, limit=LIMIT))
        self.run(self.case.reconciled())

    # --- chunks -----------------------------------------------------------------------------------

    @rule(number=numbers)
    def put(self, number: int) -> None:
        stored = self.run(self.case.put(CHUNKS[number]))
        self.run(self.case.settled())
        assert stored.digest == DIGESTS[number]
        if number not in self.order and number not in self.dying:
            assert stored.new
        if number in self.order:
            # New all the same, if it was the oldest and went to make room for itself.
            assert not stored.new or not self.kept(number)
            self.order.remove(number)
        self.dying.discard(number)
        self.order.append(number)
        if stored.new:
            self.damaged.discard(number)
            self.deleted.discard(number)
        self.see_evictions()

    def see_evictions(self) -> None:
        """What went to make room was older than all that stayed and could have gone."""
        gone = [n for n in self.order if not self.case.store.has(DIGESTS[n])]
        stayed = [n for n in self.order if n not in gone and n not in self.protected]
        asked = self.asked_since()
        for number in gone:
            assert number not in self.protected
            older = [n for n in stayed if self.order.index(n) < self.order.index(number)]
            # Who is held open goes after those who are not, but for those of the old end.
            assert not older or not self.kept(number)
            assert all(self.kept(other) for other in older)
            holding = {(number, who) for held, who in self.held if held == number}
            assert holding <= asked
            if holding:
                self.dying.add(number)
        self.order = [n for n in self.order if n not in gone]

    @rule()
    def put_zeros(self) -> None:
        stored = self.run(self.case.put(bytes(CHUNK)))
        assert stored.zero
        assert not stored.new
        assert self.run(self.case.read(stored.digest)) == bytes(CHUNK)
        self.run(self.case.settled())
        self.see_evictions()  # room was reserved for it all the same

    @rule(number=numbers)
    def read(self, number: int) -> None:
        digest = DIGESTS[number]
        if number in self.order and number not in self.damaged | self.deleted:
            assert self.run(self.case.read(digest)) == CHUNKS[number]
            return
        with pytest.raises(ChunkLostError):
            self.run(self.case.read(digest))
        self.run(self.case.settled())
        if number not in self.order:
            return
        self.order.remove(number)
        assert not self.case.store.has(digest)
        asked = self.asked_since()
        if number in self.damaged and number not in self.deleted:
            assert asked == {(number, who) for held, who in self.held if held == number}
            self.failures += 1
            assert self.case.total(VERIFY_FAILURES) == self.failures
        self.damaged.discard(number)
        self.deleted.discard(number)

    @rule(chosen=st.lists(numbers, max_size=4))
    def touch(self, chosen: list[int]) -> None:
        self.call(self.case.store.touch, [DIGESTS[n] for n in chosen])
        for number in chosen:
            if number in self.order:
                self.order.remove(number)
                self.order.append(number)

    @rule(chosen=st.sets(numbers, max_size=4))
    def drop(self, chosen: set[int]) -> None:
        evicted = self.case.total(EVICTED_BYTES)
        self.run(self.case.store.drop([DIGESTS[n] for n in chosen]))
        going = [n for n in self.order if n in chosen]
        self.order = [n for n in self.order if n not in chosen]
        kept = {n for n in going if self.kept(n)}
        asked = {(n, who) for n, who in self.held if n in kept}
        assert self.asked_since() == asked
        self.dying |= kept
        freed = self.case.total(EVICTED_BYTES) - evicted
        whole = [n for n in going if n not in kept | self.damaged | self.deleted]
        assert freed >= CHUNK * len(whole)

    # --- who needs them ---------------------------------------------------------------------------

    @precondition(lambda self: self.order and len(self.held) + len(self.protected) < KEPT_MAX)
    @rule(data=st.data(), holder=holders)
    def hold(self, data: st.DataObject, holder: str) -> None:
        number = data.draw(st.sampled_from(self.order))
        self.call(self.case.store.hold, DIGESTS[number], holder)
        self.held[number, holder] = self.held.get((number, holder), 0) + 1

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        number, holder = data.draw(st.sampled_from(sorted(self.held)))
        self.call(self.case.store.release, DIGESTS[number], holder)
        self.held[number, holder] -= 1
        if not self.held[number, holder]:
            del self.held[number, holder]
        self.see_departures()

    @rule(holder=holders)
    def forget_holder(self, holder: str) -> None:
        self.call(self.case.store.forget_holder, holder)
        self.held = {key: count for key, count in self.held.items() if key[1] != holder}
        self.see_departures()

    @precondition(lambda self: self.order and len(self.held) + len(self.protected) < KEPT_MAX)
    @rule(data=st.data())
    def protect(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.order))
        self.call(self.case.store.protect, DIGESTS[number])
        self.protected[number] = self.protected.get(number, 0) + 1

    @precondition(lambda self: self.protected)
    @rule(data=st.data())
    def unprotect(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.protected)))
        self.call(self.case.store.unprotect, DIGESTS[number])
        self.protected[number] -= 1
        if not self.protected[number]:
            del self.protected[number]
        self.see_departures()

    def see_departures(self) -> None:
        self.run(self.case.settled())
        for number in [n for n in self.dying if not self.kept(n)]:
            assert not self.case.path(DIGESTS[number]).exists()
            self.dying.discard(number)

    # --- faults -----------------------------------------------------------------------------------

    @precondition(lambda self: self.order)
    @rule(data=st.data(), at=st.integers(0, CHUNK - 1), cut=st.booleans())
    def damage(self, data: st.DataObject, at: int, cut: bool) -> None:
        number = data.draw(st.sampled_from(self.order))
        path = self.case.path(DIGESTS[number])
        if number in self.damaged | self.deleted:
            return
        path.chmod(0o600)
        if cut:
            os.truncate(path, at)
        else:
            with path.open("r+b") as file:
                file.seek(at)
                file.write(bytes([CHUNKS[number][at] ^ 0x10]))
        os.utime(path, ns=(1, 1))  # the kernel's clock may not have ticked since it was proven
        self.damaged.add(number)

    @precondition(lambda self: self.order)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.order))
        self.case.path(DIGESTS[number]).unlink(missing_ok=True)
        self.deleted.add(number)

    @rule(
        crash=st.booleans(),
        lost_index=st.booleans(),
        resurrected=st.sets(numbers, max_size=2),
    )
    def restart(self, crash: bool, lost_index: bool, resurrected: set[int]) -> None:
        self.run(self.case.crash() if crash else self.case.store.close())
        if lost_index:
            (self.directory / "index" / "data.mdb").unlink()
            self.images.clear()
        elif crash:
            self.images.clear()  # checked below to be either there or not
        for number in resurrected - set(self.order) - self.dying:
            planted(self.directory, DIGESTS[number]).write_bytes(CHUNKS[number])
        failures = self.case.quarantined()
        self.case = self.run(open_case(self.directory, limit=LIMIT))
        self.run(self.case.reconciled())
        self.run(self.case.settled())
        assert self.case.quarantined() == failures
        self.asked = self.failures = 0
        self.held.clear()
        self.protected.clear()
        files = self.case.files()
        assert {digest for digest in DIGESTS if self.case.store.has(digest)} == files
        if not (crash or lost_index or resurrected):
            clean = [n for n in self.order if n not in self.deleted]
            assert {DIGESTS[n] for n in (*clean, *self.dying)} == files
        self.damaged = {n for n in self.damaged if DIGESTS[n] in files}
        self.dying.clear()
        self.deleted.clear()
        before = [n for n in self.order if DIGESTS[n] in files]
        candidates = self.case.store._entries.oldest()
        self.order = [DIGESTS.index(candidate.digest) for candidate in candidates]
        if not (crash or lost_index):
            assert [n for n in self.order if n in before] == before, "the order was lost"

    # --- records and bounds -----------------------------------------------------------------------

    @rule(name=st.sampled_from("abc"), size=st.integers(0, 1 << 60))
    def put_image(self, name: str, size: int) -> None:
        record = ImageRecord(size, None, None, None, "content")
        self.call(self.case.store.put_image, name, record)
        self.images[name] = record

    @rule(name=st.sampled_from("abc"))
    def forget_image(self, name: str) -> None:
        self.call(self.case.store.forget_image, name)
        self.images.pop(name, None)

    @rule()
    def reserve_too_much(self) -> None:
        with pytest.raises(NeverFitsError):
            self.run(self.case.store.reserve(LIMIT))

    @invariant()
    def what_is_there_is_found(self) -> None:
        if not hasattr(self, "case"):
            return
        for number, digest in enumerate(DIGESTS):
            assert self.case.store.has(digest) == (number in self.order)
        for name, record in self.images.items():
            assert self.case.store.image(name) == record

    @invariant()
    def the_ledger_is_right(self) -> None:
        if not hasattr(self, "case") or self.damaged or self.deleted:
            return  # behind the store's back: it learns of it when it looks
        self.run(self.case.check())
        expected = {DIGESTS[n] for n in (*self.order, *self.dying)}
        assert self.case.files() == expected

    def teardown(self) -> None:
        if hasattr(self, "case"):
            self.run(self.case.store.close())
        self.runner.close()
        shutil.rmtree(self.directory)


def test_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    # Holders here do not answer by themselves: do not wait for them.
    monkeypatch.setattr(departures, "PATIENCE_SECONDS", 0)
    monkeypatch.setattr(room, "PATIENCE_SECONDS", 0.001)
    run_state_machine_as_test(
        StoreMachine,
        settings=settings(
            max_examples=12,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
