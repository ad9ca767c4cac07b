"""What has come of a body and was not seen by everybody yet, in blocks that all readers share.

Each reader goes at its own pace, in order.  One that is slow holds up the others, and the body, only
when `AHEAD_BYTES` wait for it: memory holds so much, and a piece and the copy of a block more.

While anybody has something to do, what comes gathers until it is a block, so that small pieces take
few turns of threads; when nobody has, it is seen at once.
"""

from __future__ import annotations

import asyncio
from collections import deque

BLOCK_BYTES = 2 << 20
AHEAD_BYTES = 6 << 20  # not seen by somebody, before no more is taken


class Blocks:
    """Takes pieces, and gives all of them to each of `readers`."""

    def __init__(self, count: int) -> None:
        self.readers = tuple(Reader(self) for _ in range(count))
        self.is_whole = False
        self._pieces: list[bytes] = []  # that are no block yet
        self._gathered = 0  # bytes of them
        self._room = asyncio.Event()

    async def put(self, piece: bytes) -> None:
        """Add what came, and wait while somebody is far behind."""
        self._pieces.append(piece)
        self._gathered += len(piece)
        self.look()
        while self._gathered + max(each.behind for each in self.readers) >= AHEAD_BYTES:
            self._room.clear()
            await self._room.wait()

    def end(self) -> None:
        """Nothing comes any more."""
        self.is_whole = True
        self.look()

    def look(self) -> None:
        """Do what a change of anything makes possible."""
        self._room.set()
        is_due = self.is_whole or not any(each.behind for each in self.readers)
        if self._gathered >= BLOCK_BYTES or (self._gathered and is_due):
            block = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            self._pieces.clear()
            self._gathered = 0
            for each in self.readers:
                each.add(block)
        if self.is_whole:
            for each in self.readers:
                each.news.set()


class Reader:
    """Iterates over the blocks; who asks for the next one has seen the one before."""

    def __init__(self, blocks: Blocks) -> None:
        self.behind = 0  # bytes that it has not seen
        self.news = asyncio.Event()
        self._blocks = blocks
        self._waiting: deque[bytes] = deque()
        self._is_seeing = False  # the first of those

    def add(self, block: bytes) -> None:
        """Let a block wait."""
        self._waiting.append(block)
        self.behind += len(block)
        self.news.set()

    def __aiter__(self) -> Reader:
        return self

    async def __anext__(self) -> bytes:
        if self._is_seeing:
            self._is_seeing = False
            self.behind -= len(self._waiting.popleft())
            self._blocks.look()
        while not self._waiting:
            if self._blocks.is_whole:
                raise StopAsyncIteration
            self.news.clear()
            await self.news.wait()
        self._is_seeing = True
        return self._waiting[0]
