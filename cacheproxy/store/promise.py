"""The durable upper bound of what chunk files take, committed ahead of the files themselves."""

from __future__ import annotations

import asyncio
from functools import partial

from cacheproxy.core.ledger import Ledger
from cacheproxy.store.layout import STATE, State
from cacheproxy.store.writer import Writer

STEP_BYTES = 64 << 20  # at least so far ahead, unless the limit is small
SMALL_SHARE = 8  # never more than one in so many of the limit
LARGE_SHARE = (
    64  # one in so many of a large limit, so that a large cache does not commit more often
)


class Promise:
    """Keeps `ledger.promised` above what exists: raised ahead of need, lowered lazily.

    A crash starts with all of it counted as used, so it is not much more than there is.  A store
    that was closed in order counts so until the first promise, which comes before the first file.
    """

    def __init__(self, ledger: Ledger, writer: Writer) -> None:
        self._ledger = ledger
        self._writer = writer
        self._rising: asyncio.Future[None] | None = None

    async def cover(self) -> None:
        """Wait until what is claimed is within the promise; raises `StorageError`."""
        while not self._ledger.covered:
            rising = self._rise()
            if rising.done():
                await asyncio.sleep(0)  # `_risen` has yet to run: to wait for `rising` is no wait
            else:
                await asyncio.shield(rising)

    def follow(self) -> None:
        """The ledger has changed: raise the promise before it is needed, or lower it."""
        needed = self._needed
        if self._rising is not None:
            return
        if needed + self._step // 2 > self._ledger.promised < self._target:
            _ = self._rise()  # nobody waits for it yet
        elif needed + 4 * self._step < self._ledger.promised:
            # Believed lower at once and durable later: the safe order.
            self._ledger.promise(self._target)
            self._write(self._target, clean=False)

    def settle(self) -> None:
        """The store is closing and everything is exact."""
        self._write(self._ledger.files, clean=True)

    @property
    def _step(self) -> int:
        limit = self._ledger.limit
        return max(min(STEP_BYTES, limit // SMALL_SHARE), limit // LARGE_SHARE)

    @property
    def _needed(self) -> int:
        return self._ledger.files + self._ledger.claimed

    @property
    def _target(self) -> int:
        """No more than can ever exist: a promise beyond the limit would count as used above it."""
        return max(self._needed, min(self._needed + self._step, self._ledger.files_max))

    def _write(self, promised: int, *, clean: bool) -> None:
        self._writer.write(STATE, State(promised, clean).pack())

    def _rise(self) -> asyncio.Future[None]:
        if self._rising is None:
            target = self._target
            self._write(target, clean=False)
            self._rising = self._writer.committed()
            self._rising.add_done_callback(partial(self._risen, target))
        return self._rising

    def _risen(self, target: int, rising: asyncio.Future[None]) -> None:
        self._rising = None
        if rising.exception() is None:
            self._ledger.promise(target)
