"""One body on its way into memory, cut into chunks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from cacheproxy.core.geometry import Grid
from cacheproxy.errors import UpstreamLiesError, UpstreamUnreachableError
from cacheproxy.fill.buffers import Share
from cacheproxy.fill.source import Body

BUFFERS_MAX = 5  # of one leg: a chunk being received, the others hashed and written

Land = Callable[[int, memoryview, Callable[[], None]], None]
"""Stores a chunk by its index; calls the function when nobody needs its memory any more."""


class Assembly:
    """Where the bytes of a leg go, chunk after chunk, each in a buffer of its own; `close` it.

    The last chunk is handed over only when the body ended where it had to, so that a source that
    sends more than the image has is found out before its last chunk is used.
    """

    def __init__(  # noqa: PLR0913, PLR0917  what comes, where it goes, and who takes it
        self,
        indexes: range,
        grid: Grid,
        torn: bytes,
        share: Share,
        land: Land,
        check: Callable[[], None],
    ) -> None:
        """Begin behind `torn`, what is there of the first chunk.

        `check` raises what a chunk that was handed over has failed with.
        """
        self._grid = grid
        self._share = share
        self._land = land
        self._check = check
        self._index, self._stop = indexes.start, indexes.stop
        self._size = len(grid.chunk(self._index))  # of the present chunk
        self._torn = torn
        self._buffer: memoryview | None = None  # of the present chunk, as it was lent
        self._filled = len(torn)
        self._held = 0  # buffers lent to us
        self._on_news: Callable[[], None] | None = None

    def __repr__(self) -> str:
        return f"<Assembly at chunk {self._index} of {self._stop}, {self._held} buffers>"

    # --- as a sink --------------------------------------------------------------------------------

    @property
    def satisfied(self) -> bool:
        """Whether all chunks are there."""
        return self._index + 1 == self._stop and self._filled == self._size

    def room(self) -> memoryview | None:
        """Return the rest of the present chunk; None: no buffer is free."""
        self._check()
        if self._buffer is None:
            size = min(self._grid.chunk_bytes, self._grid.size)
            buffer = None
            if self._held < BUFFERS_MAX:
                buffer = self._share.take(size, must=not self._held)
            if buffer is None:
                self._share.wait(self._news)
                return None
            self._held += 1
            self._buffer = buffer
            buffer[: len(self._torn)] = self._torn
            self._torn = b""
        return self._buffer[self._filled : self._size]

    def advance(self, count: int) -> None:
        """So many bytes were put there."""
        self._filled += count
        if self._filled == self._size and not self.satisfied:
            self._hand_over()

    def listen(self, on_news: Callable[[], None] | None) -> None:
        """Have this called when there may be a buffer again."""
        self._on_news = on_news

    def _news(self) -> None:
        if self._on_news is not None:
            self._on_news()

    def _hand_over(self) -> None:
        index, buffer = self._index, self._buffer
        assert buffer is not None
        chunk = buffer[: self._size]
        self._index, self._buffer, self._filled = index + 1, None, 0
        if self._index < self._stop:
            self._size = len(self._grid.chunk(self._index))
        self._land(index, chunk, partial(self._give, buffer))

    def _give(self, buffer: memoryview) -> None:
        self._held -= 1
        self._share.give(buffer)

    # --- from the body ----------------------------------------------------------------------------

    async def receive(self, body: Body) -> None:
        """Take the body in and hand its chunks over, all of them if nothing is raised."""
        if not await body.into(self):
            await self._copy(body)
        if not self.satisfied:
            if not body.bounded:
                raise UpstreamUnreachableError("the connection ended before the image's data")
            raise UpstreamLiesError("the image's data is shorter than its size")
        self._hand_over()

    async def _copy(self, body: Body) -> None:
        news = asyncio.Event()
        self.listen(news.set)
        async for piece in body.pieces():
            view = memoryview(piece)
            while view:
                if self.satisfied:
                    if not body.ranged and self._stop < self._grid.count:
                        return  # the rest of a whole body that nobody needs
                    raise UpstreamLiesError("the image's data is longer than its size")
                news.clear()
                while (room := self.room()) is None:
                    await news.wait()
                    news.clear()
                count = min(len(view), len(room))
                room[:count] = view[:count]
                view = view[count:]
                self.advance(count)

    def close(self) -> tuple[int, bytes] | None:
        """Give back what is not handed over; returns a chunk of which only the beginning came."""
        self.listen(None)
        self._share.leave(self._news)
        buffer, self._buffer = self._buffer, None
        if buffer is None:
            return (self._index, self._torn) if self._torn else None
        cut = 0 < self._filled < self._size
        torn = (self._index, bytes(buffer[: self._filled])) if cut else None
        self._give(buffer)
        return torn
