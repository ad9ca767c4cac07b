"""What the readers of one fill still want of its content, and in which order it is best read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

from cacheproxy.core.arrivals import Arrived
from cacheproxy.core.plan import longest_fetch
from cacheproxy.fill.content import Content
from cacheproxy.fill.demand import Demand
from cacheproxy.fill.inflight import InFlight
from cacheproxy.fill.leg import Leg

READ_AHEAD_CHUNKS = 64  # how far before a reader of a proven content chunks are fetched
WRONG_MAX = 3  # times that a chunk comes wrong from its sources before it is given up


class Wanted:
    """The demands, what has come, and what to read next.

    `look` is called when another fill that was waited for has brought a chunk, or given it up.

    While a manifest is learnt, what has come is protected and stays, unless its file turns out to
    be damaged or gone; of a proven content a chunk may be evicted again at any time, so the store is
    asked each time.
    """

    def __init__(self, content: Content, inflight: InFlight, look: Callable[[], None]) -> None:
        self.demands: list[Demand] = []
        self.elsewhere: set[bytes] = set()  # the chunks that other fills are waited for to bring
        self._content = content
        self._inflight = inflight
        self._look = look
        self._learning = not content.proven
        self._there = Arrived()  # while learning
        self._wrong: Counter[int] = Counter()  # how often each came with other bytes than named

    def __repr__(self) -> str:
        return f"{len(self.demands)} demands"

    @property
    def there(self) -> int:
        """How many chunks are there, while learning."""
        return len(self._there)

    @property
    def must_prove(self) -> bool:
        """Whether a reader waits for the proof of the whole."""
        return any(demand.must_prove for demand in self.demands)

    def came(self, index: int) -> None:
        """A chunk is there, and stays."""
        self._there.add(index)

    def refuse(self, index: int) -> None:
        """A chunk came whose bytes are not those that its manifest names."""
        self._wrong[index] += 1

    def came_wrong(self, index: int, *, at_all: bool = False) -> bool:
        """Whether a chunk came wrong so often that it is given up, or at all."""
        return self._wrong[index] >= (1 if at_all else WRONG_MAX)

    @property
    def gave_up(self) -> bool:
        """Whether there is a chunk that no source has right."""
        return any(times >= WRONG_MAX for times in self._wrong.values())

    def missed(self, index: int) -> None:
        """Somebody waits for a chunk that is not there; what has come may have gone since."""
        if index in self._there:
            self.look_again()

    def look_again(self) -> None:
        """A chunk that was there was found damaged or gone: what is there has to be asked anew."""
        were_there, self._there = self._there, Arrived()
        for index in were_there:
            if self._content.present(index):
                self._there.add(index)
        for demand in self.demands:
            demand.served = 0

    # --- what to read next ------------------------------------------------------------------------

    def next_leg(
        self, expects: Callable[[int], bool], leg_bytes: int, *, everything: bool
    ) -> Leg | None:
        """Choose the read that serves the first reader whose next chunk is not on its way.

        `expects` tells what the fill's own legs bring; with `everything` the rest of the whole is
        wanted too, when no reader wants anything.
        """
        for demand in self.demands:
            first, stop = self._first(demand)
            if first < stop and not expects(first) and not self._wait_elsewhere(first):
                return self._leg(first, stop, expects, leg_bytes)
        if everything:
            first, count = self._first_of_all(), self._content.grid.count
            if first < count:
                return self._leg(first, count, expects, leg_bytes)
        return None

    def leg_beside(
        self, expects: Callable[[int], bool], leg_bytes: int, *, everything: bool
    ) -> Leg | None:
        """Choose a read to go beside those in progress: the next that nobody brings yet.

        One that would be short waits until the reader is so far that it is not.
        """
        wishes = [(*self._first(demand), demand.stop) for demand in self.demands]
        if everything:
            count = self._content.grid.count
            wishes.append((self._first_of_all(), count, count))
        for first, stop, end in wishes:
            leg = self._leg(first, stop, expects, leg_bytes)
            if leg is not None and (leg.stop in {end, leg.first + self._chunks(leg_bytes)}):
                return leg
        return None

    def stop(self, stop: int) -> int:
        """Return how far a source is read that gives everything from byte 0: as far as wanted."""
        if self._learning:
            return self._content.grid.count
        return max([stop, *(demand.stop for demand in self.demands)])

    def claim(self, leg: Leg) -> None:
        """Tell other fills what a leg brings, so that they wait for it.

        One that reads everything claims nothing: it may run for long, and others may do better.
        """
        if not self._learning and self._content.ranged is not False:
            digests = map(self._content.manifest.digest, range(leg.first, leg.stop))
            leg.claims = self._inflight.claim(self, filter(None, digests))

    def release(self, leg: Leg) -> None:
        """Who waits for what a leg was to bring has to see for himself."""
        while leg.claims:
            self._inflight.release(leg.claims.pop())

    def widen(self, leg: Leg) -> None:
        """What a leg reads gives everything from its first byte, whatever it is asked for."""
        leg.widen(self.stop(leg.stop))
        self.release(leg)

    def _leg(
        self, start: int, stop: int, expects: Callable[[int], bool], leg_bytes: int
    ) -> Leg | None:
        def not_to_fetch(index: int) -> bool:
            return expects(index) or self.came_wrong(index) or self._claimed(index) is not None

        run = longest_fetch(
            start, stop, self._chunks(leg_bytes), self._content.present, not_to_fetch
        )
        if run is None:
            return None
        return Leg(run.first, run.stop)

    def _chunks(self, leg_bytes: int) -> int:
        return max(1, leg_bytes // self._content.grid.chunk_bytes)

    def _claimed(self, index: int) -> bytes | None:
        """Return a chunk's digest if another fill brings it."""
        digest = None if self._learning else self._content.manifest.digest(index)
        if digest is None or not self._inflight.elsewhere(self, digest):
            return None
        return digest

    def _wait_elsewhere(self, index: int) -> bool:
        """Whether another fill brings the chunk; `look` when that is over."""
        digest = self._claimed(index)
        if digest is not None and digest not in self.elsewhere:
            self.elsewhere.add(digest)
            self._inflight.wait(self, digest, partial(self._came_elsewhere, digest))
        return digest is not None

    def _came_elsewhere(self, digest: bytes) -> None:
        self.elsewhere.discard(digest)
        self._look()

    def _first(self, demand: Demand) -> tuple[int, int]:
        """Return the first absent chunk that a reader wants, and where its wish ends for now."""
        if not self._learning:
            stop = min(demand.stop, demand.cursor + READ_AHEAD_CHUNKS)
            return self._first_absent(demand.cursor, stop), stop
        # What is learnt stays, so nobody looks at it twice.
        start = max(demand.served, demand.cursor)
        if demand.cursor <= self._there.complete_to:
            start = max(start, self._there.complete_to)
        demand.served = self._first_absent(min(start, demand.stop), demand.stop)
        return demand.served, demand.stop

    def _first_of_all(self) -> int:
        """Return the first absent chunk of the whole, while learning; the count if there is none."""
        return self._first_absent(self._there.complete_to, self._content.grid.count)

    def _first_absent(self, start: int, stop: int) -> int:
        there, wrong = self._there, self._wrong
        while start < stop and (
            start in there
            or self._content.present(start)
            or (start in wrong and self.came_wrong(start))
        ):
            start += 1
        return start
