"""What the readers of one fill still want of its content, and in which order it is best read."""

from __future__ import annotations

from collections import Counter

from cacheproxy.fill.content import Content
from cacheproxy.fill.demand import Demand

READ_AHEAD_CHUNKS = 64  # how far before a reader of a proven content chunks are fetched
WRONG_MAX = 3  # times that a chunk comes wrong from its sources before it is given up


class Wanted:
    """The demands, and what has come.

    While a manifest is learnt, what has come is protected and stays; of a proven content a chunk
    may be evicted again at any time, so the store is asked each time.
    """

    def __init__(self, content: Content) -> None:
        self.demands: list[Demand] = []
        self._content = content
        self._learning = not content.proven
        self._there: set[int] = set()  # while learning
        self._complete_to = 0  # every chunk below this is there
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

    def look_again(self) -> None:
        """A chunk that was there was found damaged or gone: what is there has to be asked anew."""
        self._there = {index for index in self._there if self._content.present(index)}
        self._complete_to = 0
        for demand in self.demands:
            demand.served = 0

    def first(self, demand: Demand) -> tuple[int, int]:
        """Return the first absent chunk that a reader wants, and where its wish ends for now."""
        if not self._learning:
            stop = min(demand.stop, demand.cursor + READ_AHEAD_CHUNKS)
            return self._first_absent(demand.cursor, stop), stop
        # What is learnt stays, so nobody looks at it twice.
        self._advance()
        start = max(demand.served, demand.cursor)
        if demand.cursor <= self._complete_to:
            start = max(start, self._complete_to)
        demand.served = self._first_absent(min(start, demand.stop), demand.stop)
        return demand.served, demand.stop

    def first_of_all(self) -> int:
        """Return the first absent chunk of the whole, while learning; the count if there is none."""
        self._advance()
        return self._first_absent(self._complete_to, self._content.grid.count)

    def _advance(self) -> None:
        while self._complete_to in self._there:
            self._complete_to += 1

    def _first_absent(self, start: int, stop: int) -> int:
        there, wrong = self._there, self._wrong
        while start < stop and (
            start in there
            or self._content.present(start)
            or (start in wrong and self.came_wrong(start))
        ):
            start += 1
        return start
