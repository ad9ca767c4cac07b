"""The chunks that the index lists, kept in step with the ledger, and how lately they were used.

Uses are noted in memory and written in batches, long after: the order of eviction may lose the
last of them in a crash, the disk is not written for each hit.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from cacheproxy.core.eviction import PINNED, Candidate, Place, Policy
from cacheproxy.core.ledger import Ledger
from cacheproxy.errors import StorageError
from cacheproxy.store.index import IndexFile
from cacheproxy.store.layout import (
    NOBODY,
    POLICY,
    ChunkEntry,
    IndexDamagedError,
    Key,
    Table,
)
from cacheproxy.store.writer import Writer

TOUCHES_MAX = 16_384  # noted uses; more are written early
FLUSH_SECONDS = 30.0
FLUSH_SLICE = 256  # uses written before the loop gets its turn
TURN_SHARE = 32  # noted uses are written when one in so many chunks has come in since
SCAN_ROWS = 64  # read from the index in one transaction
RECENT_MAX = 1024  # entries kept in memory, of chunks that were just stored or asked for: 0.5 MiB


@dataclass(frozen=True, slots=True)
class Newcomer:
    """What is said of a chunk that comes in."""

    size: int
    owner: int = NOBODY
    pinned: bool = False


class Entries:
    """Adds, removes and finds chunk entries; nothing else changes `ledger.chunks`."""

    def __init__(self, file: IndexFile, writer: Writer, ledger: Ledger, policy: Policy) -> None:
        self._file = file
        self._writer = writer
        self._ledger = ledger
        self._policy = policy
        self._stamp = file.last_stamp()
        self.census = file.census()
        ledger.adjust(pinned=self.census.queue(PINNED).cost)
        self._recent: dict[bytes, ChunkEntry] = {}  # the oldest first
        self._touched: dict[bytes, int] = {}  # digest → stamp, the oldest first
        self._timer: asyncio.TimerHandle | None = None
        self._arrived = 0  # chunks, since noted uses were last written for that
        policy.unpack(file.get(POLICY) or b"")
        self._kept = policy.pack()  # as it was last written

    def next_stamp(self) -> int:
        """Give the next stamp."""
        self._stamp += 1
        return self._stamp

    def get(self, digest: bytes) -> ChunkEntry | None:
        """Return what the index says of a chunk, None if it is not listed."""
        known = self._recent.get(digest)
        if known is not None:
            return known
        packed = self._writer.read(Key(Table.CHUNKS, digest))
        if packed is None:
            return None
        try:
            entry = ChunkEntry.unpack(packed)
        except IndexDamagedError as error:
            self._file.met(error)
            raise
        self._remember(digest, entry)
        return entry

    def _remember(self, digest: bytes, entry: ChunkEntry) -> None:
        self._recent[digest] = entry
        if len(self._recent) > RECENT_MAX:
            del self._recent[next(iter(self._recent))]

    def note_written(self, digest: bytes, new: Newcomer, cost: int) -> None:
        """List a chunk whose bytes a claim has already brought into the ledger.

        What finds no room among the pinned is listed as any other.
        """
        self._touched.pop(digest, None)  # told late, of one that was here before
        stamp = self.next_stamp()
        place = self._policy.admit(digest, cost, stamp)
        if new.pinned and self._ledger.pinned + cost <= self._ledger.pinned_max:
            place = Place(PINNED, stamp)
        self._write(digest, None, ChunkEntry(new.size, cost, place, new.owner))
        self._arrived += 1
        if self._arrived * TURN_SHARE >= self.census.total.chunks:
            # Late news of uses must not be old news to a cache that changes fast.
            self._arrived = 0
            self._flush_slice()

    def adopt(self, digest: bytes, size: int, cost: int) -> None:
        """List a file that was found, or correct what is listed of it."""
        entry = self.get(digest)
        if entry is None:
            self.note_written(digest, Newcomer(size), cost)
            self._ledger.adjust(chunks=cost)
        else:
            self._write(digest, entry, entry._replace(size=size, cost=cost))
            if cost < entry.cost:
                self._ledger.unlist(entry.cost - cost, freed=0)
            else:
                self._ledger.adjust(chunks=cost - entry.cost)

    def remove(self, digest: bytes, *, freed: int) -> ChunkEntry | None:
        """Take a chunk off the list, whose file has freed so many bytes; returns what was listed."""
        entry = self.get(digest)
        if entry is not None:
            self._write(digest, entry, None)
            self._ledger.unlist(entry.cost, freed)
        self._touched.pop(digest, None)
        return entry

    def place(self, digest: bytes, place: Place) -> None:
        """Give a chunk another place in the order of eviction."""
        entry = self.get(digest)
        if entry is not None:
            self._write(digest, entry, entry._replace(place=place))

    def pin(self, digest: bytes) -> bool:
        """Keep a chunk whatever has to go, if it is there; False if too much is pinned already."""
        entry = self.get(digest)
        if entry is not None and entry.place.queue != PINNED:
            if self._ledger.pinned + entry.cost > self._ledger.pinned_max:
                return False
            self.place(digest, Place(PINNED, self.next_stamp()))
        return True

    def unpin(self, digest: bytes) -> None:
        """Let a pinned chunk go when its turn comes, as if it had been stored just now."""
        entry = self.get(digest)
        if entry is not None and entry.place.queue == PINNED:
            unpinned = Candidate(digest, Place(0, 0), entry.cost)
            self.place(digest, self._policy.touch(unpinned, self.next_stamp()))

    def pinned(self) -> Iterator[bytes]:
        """Give the pinned chunks, as far as they are committed."""
        after = -1
        while rows := self._file.oldest(PINNED, after, SCAN_ROWS):
            after = rows[-1][0]
            yield from (digest for _, digest in rows)

    def _write(self, digest: bytes, old: ChunkEntry | None, new: ChunkEntry | None) -> None:
        pinned = self.census.queue(PINNED).cost
        self.census.replace(old, new)
        if grown := self.census.queue(PINNED).cost - pinned:
            self._ledger.adjust(pinned=grown)
        self._recent.pop(digest, None)
        self._writer.write(Key(Table.CHUNKS, digest), None if new is None else new.pack())
        if new is not None:
            self._remember(digest, new)

    # --- recency ----------------------------------------------------------------------------------

    def touch(self, digests: Iterable[bytes]) -> None:
        """Note that chunks were used."""
        for digest in digests:
            self._touched.pop(digest, None)
            self._touched[digest] = self.next_stamp()
        if self._touched and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush_slice)
        elif len(self._touched) > TOUCHES_MAX:
            self._flush_some(len(self._touched) - TOUCHES_MAX)

    def _flush_slice(self) -> None:
        self._stop_timer()
        self._flush_some(FLUSH_SLICE)
        if self._touched:
            self._timer = asyncio.get_running_loop().call_later(0, self._flush_slice)
        else:
            self._keep_policy()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _flush_some(self, count: int) -> None:
        """Write the oldest noted uses; those that meet an unreadable index are forgotten."""
        for digest in list(islice(self._touched, count)):
            stamp = self._touched.pop(digest)
            with contextlib.suppress(StorageError):
                self._renew(digest, stamp)

    def _renew(self, digest: bytes, stamp: int) -> None:
        entry = self.get(digest)
        if entry is not None and entry.place.queue != PINNED:
            used = Candidate(digest, entry.place, entry.cost)
            place = self._policy.touch(used, stamp)
            self._write(digest, entry, entry._replace(place=place))

    async def flush(self) -> None:
        """Write all noted uses."""
        self._stop_timer()
        while self._touched:
            self._flush_some(FLUSH_SLICE)
            await asyncio.sleep(0)
        self._keep_policy()

    def _keep_policy(self) -> None:
        """Write what the policy has learned, if it has."""
        packed = self._policy.pack()
        if packed != self._kept:
            self._kept = packed
            self._writer.write(POLICY, packed)

    # --- candidates -------------------------------------------------------------------------------

    def oldest(self, owner: int = NOBODY) -> Iterator[Candidate]:
        """Give chunks in the order in which the policy would have them go, as far as committed.

        With an owner, only those that are charged to it.  A chunk that was used since it was placed
        gets its new place instead.  The caller may change entries between two of them, and give up
        the loop between two as well.
        """
        if owner == NOBODY:
            self._policy.survey(self.census.queues)
        orders = {queue: self._order(queue, owner) for queue in self._policy.queues}
        heads: dict[int, int] = {}  # queue → stamp of its oldest chunk
        digests: dict[int, bytes] = {}
        behind: Iterable[int] = orders  # queues whose head is to be found
        while True:
            for queue in behind:
                if (row := next(orders[queue], None)) is not None:
                    heads[queue], digests[queue] = row
            if not heads:
                return
            queue = self._policy.first(heads)
            behind = (queue,)
            stamp, digest = heads.pop(queue), digests.pop(queue)
            entry = self.get(digest)
            if entry is None or entry.place[:2] != (queue, stamp):
                continue  # changed since the last commit
            touched = self._touched.pop(digest, None)
            if touched is not None:
                self._renew(digest, touched)
                continue
            yield Candidate(digest, entry.place, entry.cost)

    def _order(self, queue: int, owner: int) -> Iterator[tuple[int, bytes]]:
        """Give stamps and digests from the old end of a queue, as far as they are committed."""
        after = -1
        while rows := self._file.oldest(queue, after, SCAN_ROWS, owner=owner):
            after = rows[-1][0]
            yield from rows
