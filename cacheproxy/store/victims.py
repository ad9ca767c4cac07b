"""Who goes when room is needed.

Chunks of projects above their share go first, then any.  Of each, first the oldest that nobody has
open: a slow reader's would be asked for, and not given up for long.  Only the old end is looked
through for those, so that a chunk that has just landed does not go in place of an old one that a
worker merely keeps open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import islice

from cacheproxy.core.eviction import Candidate, choose
from cacheproxy.store.departures import Departures
from cacheproxy.store.layout import NOBODY
from cacheproxy.store.stock import Stock

SCAN_SLICE = 64  # candidates looked at before the loop gets its turn
SCAN_MAX = 8192  # candidates looked at in one search for victims
OLD_SHARE = 4  # one in so many chunks is old


class Victims:
    """Finds chunks and retires them."""

    def __init__(self, stock: Stock, departures: Departures) -> None:
        self._entries = stock.entries
        self._holds = stock.holds
        self._policy = stock.policy
        self._disk = stock.disk
        self._departures = departures

    async def retire(self, wanted: Callable[[], int], owner: int = NOBODY) -> bool:
        """Retire chunks, of one owner or of all, until no more bytes are wanted.

        False if not enough was found.
        """
        while wanted() > 0:
            if not self._disk.removable:
                return False  # each victim in turn would only fail to go
            census = self._entries.census
            there = (census.total if owner == NOBODY else census.owner(owner)).chunks
            old = islice(self._candidates(owner), min(SCAN_MAX, there // OLD_SHARE))
            if await self._search(old, wanted, self._holds.free):
                continue
            some = islice(self._candidates(owner), SCAN_MAX)
            if not await self._search(some, wanted, self._unprotected):
                return False
        return True

    def left(self, owner: int) -> bool:
        """Whether an owner has any chunk that is not going."""
        has = self._entries.census.owner(owner).cost
        return has > self._departures.expected(owner)

    def _candidates(self, owner: int) -> Iterator[Candidate]:
        oldest = self._entries.oldest(owner)
        return (each for each in oldest if not self._departures.going(each.digest))

    async def _search(
        self,
        candidates: Iterator[Candidate],
        wanted: Callable[[], int],
        evictable: Callable[[bytes], bool],
    ) -> bool:
        """Retire from these until no more is wanted; False if none of them could be."""
        found = False
        while (bytes_wanted := wanted()) > 0 and (some := list(islice(candidates, SCAN_SLICE))):
            verdict = choose(
                some,
                self._policy,
                bytes_wanted,
                evictable=evictable,
                next_stamp=self._entries.next_stamp,
            )
            for digest, place in verdict.moved:
                self._entries.place(digest, place)
            for victim in verdict.victims:
                self._departures.retire(victim.digest)
                found = True
            await asyncio.sleep(0)
        return found

    def _unprotected(self, digest: bytes) -> bool:
        return not self._holds.protected(digest)
