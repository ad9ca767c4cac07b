"""Who has how many bytes of the cache's limit.  Pure: no locks, one thread.

All figures are bytes allocated on disk (`du`), not lengths.

    limit ≥ margin + used + reserved                      what `reserve` keeps true
    used  = chunks + quarantine + unknown + overhead

* `chunks`      what the index lists; a part of it is *pinned*: nobody evicts it
* `quarantine`  damaged files set aside
* `unknown`     after a crash: what there may be beyond the index, until files and index are reconciled
* `overhead`    index, directories, pins, lock: grows by itself, a little at a time
* `margin`      what the overhead may grow by before anybody looks at it again
* `reserved`    promised to fills; a part of it is *claimed*: being written at this moment

`promised` is an upper bound of `files = chunks + quarantine + unknown` (claims included) that was
made durable before the files could exist: a crash starts from it, so it never counts too little.
"""

from __future__ import annotations

from collections.abc import Callable

UNPINNED_SHARE = 8  # one in so many of the limit stays free of pins, for fills
BLOCK_BYTES = 4096  # what a reservation is rounded up to; the real figure replaces it once known


def allocated(size: int) -> int:
    """Return the bytes on disk that `size` bytes will take, before they are written."""
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES


class Ledger:
    """The counts; `changed` is called after each change."""

    def __init__(self, limit: int, margin: int, changed: Callable[[], None]) -> None:
        self.limit = limit
        self.margin = margin
        self.chunks = 0
        self.pinned = 0
        self.quarantine = 0
        self.unknown = 0
        self.overhead = 0
        self.reserved = 0
        self.reserved_for: dict[int, int] = {}  # by owner, of those that have anything
        self.claimed = 0
        self.promised = 0
        self.settled = False  # whether files and index were compared since the start
        self._changed = changed

    def __repr__(self) -> str:
        return (
            f"<Ledger {self.used} used ({self.chunks} chunks, {self.quarantine} quarantine,"
            f" {self.unknown} unknown, {self.overhead} overhead), {self.reserved} reserved"
            f" ({self.claimed} claimed) of {self.limit}>"
        )

    @property
    def files(self) -> int:
        """Bytes of chunk files, quarantined ones and those that nobody has looked at yet."""
        return self.chunks + self.quarantine + self.unknown

    @property
    def used(self) -> int:
        """All bytes on disk that the limit covers."""
        return self.files + self.overhead

    @property
    def free(self) -> int:
        """What can be reserved now; negative when there is too much already."""
        return self.limit - self.margin - self.used - self.reserved

    @property
    def excess(self) -> int:
        """What has to go even if nothing of the unknown exists: the limit was lowered."""
        return max(0, -self.free - self.unknown)

    @property
    def files_max(self) -> int:
        """The most that files can ever take beside the present overhead."""
        return self.limit - self.margin - self.overhead

    @property
    def pinned_max(self) -> int:
        """The most that may be pinned."""
        return self.pinned_max_of(self.limit)

    def pinned_max_of(self, limit: int) -> int:
        """The most that might be pinned within another limit."""
        return limit - self.margin - self.overhead - limit // UNPINNED_SHARE

    @property
    def covered(self) -> bool:
        """Whether all that is being written now is within the durable promise."""
        return self.files + self.claimed <= self.promised

    def ever_fits(self, size: int) -> bool:
        """Whether `size` bytes could be reserved if everything evictable were evicted."""
        return allocated(size) <= self.files_max - self.quarantine - self.pinned

    def fits(self, size: int) -> bool:
        """Whether `size` bytes can be reserved now."""
        return allocated(size) <= self.free

    def reserve(self, size: int, owner: int = 0) -> Reservation:
        """Set room for `size` bytes aside, for an owner; the caller has looked whether it fits."""
        cost = allocated(size)
        assert self.fits(size), self
        self._add_reserved(owner, cost)
        reservation = Reservation(self, cost, owner)
        self._changed()
        return reservation

    def adjust(
        self,
        *,
        chunks: int = 0,
        pinned: int = 0,
        quarantine: int = 0,
        unknown: int = 0,
        overhead: int = 0,
    ) -> None:
        """Add to the counts, or take from them."""
        self.chunks += chunks
        self.pinned += pinned
        self.quarantine += quarantine
        self.unknown += unknown
        self.overhead += overhead
        assert min(self.chunks, self.pinned, self.quarantine, self.unknown, self.overhead) >= 0, (
            self
        )
        self._changed()

    def unlist(self, listed: int, freed: int) -> None:
        """Chunks of `listed` bytes, or a part of one, are off the list; `freed` on the disk by that.

        What was not there may have stood for files that nobody has seen yet: until it is settled,
        as many bytes may be theirs.
        """
        self.adjust(chunks=-listed, unknown=0 if self.settled else max(0, listed - freed))

    def settle(self) -> None:
        """Files and index say the same: nothing is unknown any more."""
        self.settled = True
        self.adjust(unknown=-self.unknown)

    def relimit(self, limit: int) -> None:
        """Have another limit from now on; what is too much is `excess`."""
        if limit != self.limit:
            self.limit = limit
            self._changed()

    def promise(self, durable: int) -> None:
        """An upper bound of the files is durable now."""
        self.promised = durable

    def _add_reserved(self, owner: int, cost: int) -> None:
        self.reserved += cost
        if left := self.reserved_for.pop(owner, 0) + cost:
            self.reserved_for[owner] = left

    def _release(self, owner: int, cost: int) -> None:
        self._add_reserved(owner, -cost)
        assert self.reserved >= 0, self
        self._changed()

    def _claim(self, cost: int) -> None:
        self.claimed += cost
        assert 0 <= self.claimed <= self.reserved, self

    def _settle(self, owner: int, cost: int, written: int) -> None:
        self.claimed -= cost
        self._add_reserved(owner, -cost)
        self.chunks += written
        assert 0 <= self.claimed <= self.reserved, self
        self._changed()


class Reservation:
    """Room set aside for a fill; what is not used is released by `close`, which may be repeated."""

    def __init__(self, ledger: Ledger, cost: int, owner: int) -> None:
        self._ledger = ledger
        self.owner = owner  # whom the chunks stored with it are charged to
        self.remaining = cost
        self._closed = False

    def __repr__(self) -> str:
        return f"<Reservation {'closed' if self._closed else self.remaining}>"

    def close(self) -> None:
        """Release the rest; what is claimed at the moment is settled by itself."""
        self._closed = True
        rest, self.remaining = self.remaining, 0
        if rest:
            self._ledger._release(self.owner, rest)  # noqa: SLF001 -- the two are one unit

    def claim(self, size: int) -> Claim | None:
        """Take room for `size` bytes that are about to be written; None if not so much is left."""
        cost = allocated(size)
        if cost > self.remaining:
            return None
        self.remaining -= cost
        self._ledger._claim(cost)  # noqa: SLF001 -- the two are one unit
        return Claim(self._ledger, self, cost)

    def take_back(self, cost: int) -> None:
        """A claim was not used after all."""
        if self._closed:
            self._ledger._release(self.owner, cost)  # noqa: SLF001 -- the two are one unit
        else:
            self.remaining += cost


class Claim:
    """Room for one file being written; ends in exactly one of `settle` and `give_back`."""

    def __init__(self, ledger: Ledger, reservation: Reservation, cost: int) -> None:
        self._ledger = ledger
        self._reservation = reservation
        self._cost = cost

    def settle(self, written: int) -> None:
        """The file is there and takes `written` bytes on disk."""
        cost, self._cost = self._cost, 0
        assert cost, "a claim ends once"
        self._ledger._settle(self._reservation.owner, cost, written)  # noqa: SLF001 -- the two are one unit

    def give_back(self) -> None:
        """No file was made."""
        cost, self._cost = self._cost, 0
        assert cost, "a claim ends once"
        self._ledger._claim(-cost)  # noqa: SLF001 -- the two are one unit
        self._reservation.take_back(cost)
