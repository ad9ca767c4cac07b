"""Which projects have more than their share of the cache."""

from __future__ import annotations

from collections.abc import Mapping

from cacheproxy.core.ledger import Ledger
from cacheproxy.store.census import Census
from cacheproxy.store.layout import NOBODY

ALL = 100  # percent: no difference is made between projects


class Shares:
    """Compares what projects have, reservations included, with a percentage of the limit."""

    def __init__(self, ledger: Ledger, census: Census, percent: int) -> None:
        self._ledger = ledger
        self._census = census
        self.percent = percent

    def overrun(self, owner: int, more: int = 0) -> int:
        """Return by how many bytes a project is above its share, with `more` than it has."""
        if self.percent >= ALL or owner == NOBODY:
            return 0
        has = self._census.owner(owner).cost + self._ledger.reserved_for.get(owner, 0)
        return max(0, has + more - self._ledger.limit * self.percent // 100)

    def overruns(self, waiting: Mapping[int, int]) -> list[tuple[int, int]]:
        """Return who is above his share and by how much, the worst first.

        `waiting`: bytes that projects wait for.
        """
        if self.percent >= ALL:
            return []
        owners = {*self._census.owners, *waiting}
        found = [(self.overrun(owner, waiting.get(owner, 0)), owner) for owner in owners]
        return [(owner, over) for over, owner in sorted(found, reverse=True) if over > 0]
