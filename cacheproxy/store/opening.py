"""Opens a cache directory: builds the store's parts and starts the ledger from what was promised."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from cacheproxy.config import CacheSettings
from cacheproxy.core.eviction import LeastRecentlyUsed
from cacheproxy.core.ledger import BLOCK_BYTES, Ledger
from cacheproxy.core.proof import Identity, Proofs
from cacheproxy.errors import ConfigError
from cacheproxy.metrics import Meter
from cacheproxy.store.departures import Departures
from cacheproxy.store.digest import zero_digest
from cacheproxy.store.entries import Entries
from cacheproxy.store.files import ChunkFiles
from cacheproxy.store.holds import Holds
from cacheproxy.store.index import IndexFile
from cacheproxy.store.intake import Intake
from cacheproxy.store.layout import STATE, IndexDamagedError, State, Table
from cacheproxy.store.owners import Owners
from cacheproxy.store.promise import Promise
from cacheproxy.store.quarantine import LIMIT_SHARE
from cacheproxy.store.room import Room
from cacheproxy.store.stock import Stock
from cacheproxy.store.threads import Threads
from cacheproxy.store.tree import PREFIXES
from cacheproxy.store.writer import GROWTH_BYTES, Writer
from cacheproxy.store.zeros import USUAL_SIZES, Zeros

log = logging.getLogger(__name__)

CHUNKS_MIN = 8  # a limit that has no room for so many chunks is refused
DIRECTORY_GROWTH_BYTES = 1 << 20  # what chunk directories may grow by between two looks
MARGIN_BYTES = GROWTH_BYTES + DIRECTORY_GROWTH_BYTES


@dataclass(frozen=True, slots=True)
class Parts:
    """What a chunk store is made of."""

    stock: Stock
    zeros: Zeros
    departures: Departures
    promise: Promise
    intake: Intake
    room: Room
    owners: Owners
    on_change: list[Callable[[], None]]  # called after each change of the ledger


@dataclass(frozen=True, slots=True)
class _Opened:
    """What is open before anything runs."""

    files: ChunkFiles
    index: IndexFile
    zeros_file: tuple[int, Identity]
    zeros_known: set[bytes]
    state: State | None  # None: nothing is known
    listed: int  # bytes of the chunks that the index lists
    owners: set[int]  # the numbers of projects and of those that chunks are charged to
    index_cost: int
    fixed_cost: int


def _open(settings: CacheSettings) -> _Opened:
    """In a thread: lock the directory and open the index, made anew where it is damaged."""
    files = ChunkFiles.open(settings.directory)
    try:
        try:
            index = IndexFile(files.index_path)
            state, listed = State.unpack(index.get(STATE)), index.census().total.cost
        except IndexDamagedError as error:
            log.error("%s: it is set aside and made again from the chunk files", error)  # noqa: TRY400 -- healed here
            files.set_index_aside(settings.limit_bytes // LIMIT_SHARE)
            index = IndexFile(files.index_path)
            state, listed = None, 0
        if files.fresh:
            state = State(0, clean=True)
        try:
            usual = {zero_digest(size) for size in USUAL_SIZES}
            return _Opened(
                files=files,
                index=index,
                zeros_known=usual.union(index.names(Table.ZEROS, b"")),
                state=state,
                listed=listed,
                owners=index.owner_numbers(),
                index_cost=files.index_cost(),
                fixed_cost=files.overhead(),
                zeros_file=files.make_zeros(),
            )
        except BaseException:
            index.close()
            raise
    except BaseException:
        files.close()
        raise


async def assemble(
    settings: CacheSettings, meter: Meter, on_dying: Callable[[bytes, Hashable], None]
) -> Parts:
    """Build everything; nothing runs yet, and the ledger is ready to be used."""
    threads = Threads()
    opened: _Opened | None = None
    try:
        opened = await threads.run(_open, settings, discard=_let_go)
        on_change: list[Callable[[], None]] = []
        ledger = _start_ledger(opened, settings, on_change)
        index_cost = opened.index_cost

        def committed(cost: int) -> None:
            nonlocal index_cost
            growth, index_cost = cost - index_cost, cost
            if growth:
                ledger.adjust(overhead=growth)

        writer = Writer(opened.index, committed)
        policy = LeastRecentlyUsed()
        stock = Stock(
            files=opened.files,
            writer=writer,
            ledger=ledger,
            entries=Entries(opened.index, writer, ledger, policy),
            holds=Holds(),
            proofs=Proofs(settings.proof_seconds),
            policy=policy,
            threads=threads,
            meter=meter,
        )
        departures = Departures(stock, on_dying)
        zeros = Zeros(writer, opened.zeros_known, *opened.zeros_file)
        room = Room(stock, departures)
        promise = Promise(ledger, writer)
        return Parts(
            stock=stock,
            zeros=zeros,
            departures=departures,
            promise=promise,
            intake=Intake(stock, zeros, departures, promise),
            room=room,
            owners=Owners(writer, opened.owners),
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
        overhead=opened.fixed_cost + opened.index_cost,
    )
    # Without the index: that it has grown is not the limit's fault.
    fixed = MARGIN_BYTES + opened.fixed_cost + PREFIXES * BLOCK_BYTES
    smallest = fixed + CHUNKS_MIN * settings.chunk_bytes
    if settings.limit_bytes < smallest:
        raise ConfigError(
            f"[cache] image_cache_size = {settings.limit_bytes} is too small: at least {smallest}"
        )
    state = opened.state
    if state is None or not state.clean:
        # Before the crash there was room for the files beside the overhead, as there is now.
        promised = ledger.files_max if state is None else min(state.promised, ledger.files_max)
        ledger.adjust(unknown=max(0, promised - ledger.files))
    return ledger
