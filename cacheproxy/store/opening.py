"""Opens a cache directory: builds the store's parts and starts the ledger from what was promised."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from pathlib import Path

from cacheproxy.config import CacheSettings
from cacheproxy.core.adaptive import Adaptive
from cacheproxy.core.eviction import LeastRecentlyUsed, Policy
from cacheproxy.core.ledger import BLOCK_BYTES, Ledger
from cacheproxy.core.proof import Identity, Proofs
from cacheproxy.meter import Meter
from cacheproxy.store.allowance import Allowance
from cacheproxy.store.departures import Departures
from cacheproxy.store.digest import zero_digest
from cacheproxy.store.disk import Disk
from cacheproxy.store.entries import Entries
from cacheproxy.store.files import ChunkFiles, translated
from cacheproxy.store.holds import Holds
from cacheproxy.store.index import IndexFile
from cacheproxy.store.intake import Intake
from cacheproxy.store.layout import STATE, IndexDamagedError, State, Table
from cacheproxy.store.openfiles import OpenFiles
from cacheproxy.store.owners import Owners
from cacheproxy.store.pinfile import PinFile
from cacheproxy.store.pinlist import PinList
from cacheproxy.store.place import Place
from cacheproxy.store.promise import Promise
from cacheproxy.store.quarantine import LIMIT_SHARE
from cacheproxy.store.room import Room
from cacheproxy.store.shares import Shares
from cacheproxy.store.stock import Stock
from cacheproxy.store.threads import Threads
from cacheproxy.store.tree import PREFIXES
from cacheproxy.store.watch import Watch
from cacheproxy.store.writer import GROWTH_BYTES, Writer
from cacheproxy.store.zeros import USUAL_SIZES, Zeros

log = logging.getLogger(__name__)

DIRECTORY_GROWTH_BYTES = 1 << 20  # what chunk directories may grow by between two looks
MARGIN_BYTES = GROWTH_BYTES + DIRECTORY_GROWTH_BYTES


@dataclass(frozen=True, slots=True)
class Parts:
    """What a chunk store is made of."""

    stock: Stock
    zeros: Zeros
    watch: Watch
    departures: Departures
    promise: Promise
    intake: Intake
    room: Room
    owners: Owners
    allowance: Allowance
    shares: Shares
    pin_list: PinList
    on_change: list[Callable[[], None]]  # called after each change of the ledger


@dataclass(frozen=True, slots=True)
class _Opened:
    """What is open before anything runs."""

    files: ChunkFiles
    index: IndexFile
    place: Place
    zeros_file: tuple[int, Identity]
    zeros_known: set[bytes]
    state: State | None  # None: nothing is known
    listed: int  # bytes of the chunks that the index lists
    projects: dict[bytes, int]
    index_cost: int
    fixed_cost: int
    pin_file: PinFile
    pinned: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Read:
    """An open index, and what is read of it at once."""

    file: IndexFile
    zeros: set[bytes]
    state: State | None
    listed: int
    projects: dict[bytes, int]

    @classmethod
    def open(cls, path: Path) -> _Read:
        index = IndexFile(path)
        try:
            zeros = set(index.names(Table.ZEROS, b""))
            state, listed = State.unpack(index.get(STATE)), index.census().total.cost
            return cls(index, zeros, state, listed, index.projects())
        except BaseException:
            index.close()
            raise


def _open_index(files: ChunkFiles, rebuild: bool, quarantine_bytes_max: int) -> _Read:
    """Open the index, made anew where it is damaged."""
    damage = "the index was found damaged"
    if not rebuild:
        try:
            return _Read.open(files.index_path)
        except IndexDamagedError as error:
            damage = str(error)
    log.error("%s: it is set aside and made again from the chunk files", damage)
    files.set_index_aside(quarantine_bytes_max)
    return replace(_Read.open(files.index_path), state=None)


def _open(settings: CacheSettings, rebuild: bool, device: int | None) -> _Opened:
    """In a thread: lock the directory and open what is in it."""
    quarantine_bytes_max = settings.limit_bytes // LIMIT_SHARE
    files = ChunkFiles.open(settings.directory, device)
    try:
        pin_file = PinFile(files)
        pinned = pin_file.load(lambda: files.set_pins_aside(quarantine_bytes_max))
        index = _open_index(files, rebuild, quarantine_bytes_max)
        try:
            with translated("looking at the cache directory"):
                place = Place(files.tree)
            return _Opened(
                files=files,
                index=index.file,
                place=place,
                zeros_known={zero_digest(size) for size in USUAL_SIZES} | index.zeros,
                state=State(0, clean=True) if files.fresh else index.state,
                listed=index.listed,
                projects=index.projects,
                index_cost=files.index_cost(),
                fixed_cost=files.overhead(),
                pin_file=pin_file,
                pinned=pinned,
                zeros_file=files.make_zeros(),
            )
        except BaseException:
            index.file.close()
            raise
    except BaseException:
        files.close()
        raise


def _policy(settings: CacheSettings) -> Policy:
    if settings.eviction == "lru":
        return LeastRecentlyUsed()
    return Adaptive(settings.limit_bytes)


async def assemble(
    settings: CacheSettings,
    meter: Meter,
    on_dying: Callable[[bytes, Hashable], None],
    *,
    rebuild: bool,
    device: int | None,
) -> Parts:
    """Build everything; nothing runs yet, and the ledger is ready to be used."""
    threads = Threads()
    opened: _Opened | None = None
    try:
        opened = await threads.run(_open, settings, rebuild, device, discard=_let_go)
        on_change: list[Callable[[], None]] = []
        # Without the index and the pins: that they have grown is not the limit's fault.
        there = opened.files.directories
        # All chunk directories, made already or not: what is enough once is enough at each start.
        fixed = MARGIN_BYTES + opened.fixed_cost - there + max(there, PREFIXES * BLOCK_BYTES)
        ledger = _start_ledger(opened, settings, on_change)
        index_cost = opened.index_cost

        def committed(cost: int) -> None:
            nonlocal index_cost
            growth, index_cost = cost - index_cost, cost
            if growth:
                ledger.adjust(overhead=growth)

        disk = Disk(meter)
        threads.on_error = disk.heard
        opened.index.on_error = disk.heard_elsewhere
        writer = Writer(opened.index, committed)
        policy = _policy(settings)
        stock = Stock(
            files=opened.files,
            writer=writer,
            ledger=ledger,
            entries=Entries(opened.index, writer, ledger, policy),
            holds=Holds(),
            proofs=Proofs(settings.proof_seconds),
            open_files=OpenFiles(),
            policy=policy,
            threads=threads,
            meter=meter,
            disk=disk,
        )
        departures = Departures(stock, on_dying)
        zeros = Zeros(writer, opened.zeros_known, *opened.zeros_file)
        shares = Shares(ledger, stock.entries.census, settings.project_share)
        room = Room(stock, departures, shares)
        promise = Promise(ledger, writer)
        allowance = Allowance(ledger, writer, meter, settings, fixed_cost=fixed)
        return Parts(
            stock=stock,
            zeros=zeros,
            departures=departures,
            promise=promise,
            intake=Intake(stock, zeros, departures, promise),
            watch=Watch(stock, opened.place, allowance.saw, settings.disk_hang_seconds),
            room=room,
            owners=Owners(writer, opened.projects, stock.entries.census.owners),
            allowance=allowance,
            shares=shares,
            pin_list=PinList(opened.pin_file, opened.pinned, ledger, threads, disk),
            on_change=on_change,
        )
    except BaseException:
        if opened is not None:
            await threads.run(_close, opened)
        await threads.close()
        raise


def _let_go(opening: asyncio.Future[_Opened]) -> None:
    """Close what a thread has opened for a caller that is gone."""
    if opening.exception() is None:
        _close(opening.result())


def _close(opened: _Opened) -> None:
    opened.index.close()
    os.close(opened.zeros_file[0])
    opened.files.close()


def _start_ledger(
    opened: _Opened, settings: CacheSettings, on_change: list[Callable[[], None]]
) -> Ledger:
    """Count what is listed, and after a crash also what may exist beside it."""

    def changed() -> None:
        for listener in on_change:
            listener()

    ledger = Ledger(settings.limit_bytes, MARGIN_BYTES, changed)
    ledger.adjust(
        chunks=opened.listed,
        quarantine=opened.files.quarantined(),
        overhead=opened.fixed_cost + opened.index_cost + opened.pin_file.cost,
    )
    state = opened.state
    if state is None or not state.clean:
        # Before the crash there was room for the files beside the overhead, as there is now.
        promised = ledger.files_max if state is None else min(state.promised, ledger.files_max)
        if state is not None and ledger.files > ledger.files_max:  # the limit was larger then
            promised = state.promised
        ledger.adjust(unknown=max(0, promised - ledger.files))
    return ledger
