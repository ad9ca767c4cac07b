"""One reader at the worker's end of its link to the keeper."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from backends.spans import Span
from cacheproxy.core.geometry import Grid
from cacheproxy.errors import KeeperError, ProxyError
from cacheproxy.hotset import HotFile, HotSet
from cacheproxy.processes import messages

CHUNKS_AHEAD_MAX = 384  # granted by all readers of a link together; see READERS_MAX


class Link(Protocol):
    """What a reader needs of the link that it is of."""

    outstanding: int  # chunks granted that have not arrived

    @property
    def hot(self) -> HotSet:
        """Where the files are that have come."""

    async def alive(self, answer: asyncio.Future[None]) -> None:
        """Wait for something from the keeper for as long as it gives signs of life."""

    def grant(self, number: int, stop: int, first: int) -> None:
        """A reader takes the chunks `first <= index < stop`."""

    def closed(self, number: int) -> None:
        """A reader is gone."""

    def touch(self, digest: bytes) -> None:
        """A chunk was used without asking."""


class LinkReader:
    """A reader of one span: gives leased files, chunk after chunk; `close` ends it.

    What other readers of this worker have brought is taken from its open files: in a herd only who
    is ahead has the keeper send chunks.
    """

    def __init__(self, link: Link, number: int, span: Span, window: int) -> None:
        self._span = span
        self.proven = False
        self.grid: Grid | None = None
        self._link = link
        self._number = number
        self._window = window
        self._arrived: deque[tuple[int, HotFile, bool]] = deque()
        self._error: ProxyError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self._end = 0  # one past the span's last chunk
        self._next = 0  # what is below is not wanted any more
        self._told = 0  # the same, as the keeper knows it
        self._taken = 0  # what is below has arrived, or is not waited for
        self._granted = 0

    # --- from the link ----------------------------------------------------------------------------

    def opened(self, message: messages.Opened, size: int) -> None:
        """Chunks will come."""
        self.proven = message.proven
        self.grid = Grid(size, message.chunk_bytes)
        indexes = self.grid.covering(self._span)
        self._next = self._told = self._taken = self._granted = indexes.start
        self._end = indexes.stop
        self._wake()

    def arrived(self, recipient: messages.Recipient, file: HotFile) -> None:
        """A chunk has come, in a file that is leased for this reader."""
        index = recipient.index
        if index >= self._taken:
            self._link.outstanding -= index + 1 - self._taken
            self._taken = index + 1
        if index < self._next:
            self._link.hot.release(file)  # it was here meanwhile
            return
        self._arrived.append((index, file, recipient.fetched))
        self._wake()

    def failed(self, error: ProxyError) -> None:
        """Nothing more will come."""
        self._error = self._error or error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- for the use case -------------------------------------------------------------------------

    async def ready(self) -> Grid:
        """Wait until the keeper has opened the reader; raises why it did not."""
        while self.grid is None:
            if self._error is not None:
                raise self._error
            await self._next_news()
        return self.grid

    async def chunk(self, index: int, known: bytes | None = None) -> tuple[HotFile, bool]:
        """Wait for the next chunk, which must be `index`: a leased file, and whether fetched.

        `known` is its digest, if that is proven.  The caller releases the file.
        """
        self._next = index
        if known is not None and not self._arrived:
            file = self._link.hot.lease(known)
            if file is not None:
                self._link.touch(known)
                self._pass(index + 1)
                return file, False
        self._grant(index)
        while not self._arrived:
            if self._error is not None:
                raise self._error
            await self._next_news()
        number, file, fetched = self._arrived.popleft()
        if number != index:
            self._link.hot.release(file)
            raise KeeperError(f"chunk {number} came instead of {index}")
        return file, fetched

    def ahead(self, index: int) -> HotFile | None:
        """Return a chunk that has come, but was not asked for yet; this holds its lease."""
        return next((file for number, file, _ in self._arrived if number == index), None)

    def close(self) -> None:
        """Tell the keeper that nobody reads any more, and let go of what came."""
        if self._closed:
            return
        self._closed = True
        while self._arrived:
            self._link.hot.release(self._arrived.popleft()[1])
        self._link.outstanding -= self._granted - self._taken
        self._granted = self._taken
        self._link.closed(self._number)

    def _grant(self, index: int) -> None:
        """Take as many chunks ahead as this reader's window, and all readers' together, allow.

        It is said once for half a window, not for each chunk.
        """
        ahead = max(1, min(self._window, CHUNKS_AHEAD_MAX - self._link.outstanding))
        stop = min(index + ahead, self._end)
        more = stop - self._granted
        if more > 0 and (index >= self._granted or 2 * more >= self._window or stop == self._end):
            self._link.outstanding += stop - self._granted
            self._granted = stop
            self._told = index
            self._link.grant(self._number, stop, index)

    def _pass(self, first: int) -> None:
        """What is below was here; tell the keeper, now and then, that it need not be sent."""
        self._next = first
        if first > self._granted:
            self._link.outstanding -= self._granted - self._taken
            self._taken = self._granted = first
        if 2 * (first - self._told) >= self._window:
            self._told = first
            self._link.grant(self._number, self._granted, first)

    async def _next_news(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        await self._link.alive(self._waiter)
