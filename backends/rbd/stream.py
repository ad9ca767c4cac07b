"""Reading an image of RBD: several pieces at once, so that the cluster works while one is used."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from backends.errors import InvalidError, MissingError
from backends.rbd.cluster import Visit
from backends.rbd.image import OpenImage
from backends.rbd.options import RbdOptions
from backends.spans import Span


class Allowance:
    """Bytes that all reads together may have ahead; used on one loop."""

    def __init__(self, total: int) -> None:
        self._left = total

    def take(self, count: int) -> bool:
        """Take some, unless there are too few."""
        if count > self._left:
            return False
        self._left -= count
        return True

    def give_back(self, count: int) -> None:
        """Give back what was taken."""
        self._left += count


@dataclass(frozen=True, slots=True)
class _Piece:
    span: Span
    read: asyncio.Future[Any]
    taken: int  # of the allowance


class RbdStream:
    """The bytes of a span.  `close` belongs in a finally.

    Where what was read may be a hole that is none, it is looked whether the image is still there.
    """

    def __init__(
        self,
        visit: Visit,
        image: OpenImage,
        span: Span,
        options: RbdOptions,
        allowance: Allowance,
    ) -> None:
        self._visit = visit
        self._image = image
        self._span = span  # what is not asked for yet
        self._piece_bytes = options.piece_bytes
        self._ahead_bytes = options.read_ahead_bytes
        self._allowance = allowance
        self._pieces: deque[_Piece] = deque()
        self._believed = 0  # up to there it was still there when it had been read

    @property
    def size(self) -> int:
        return self._image.size

    @property
    def version(self) -> str | None:
        return self._image.version

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        self._ask()
        if not self._pieces:
            raise StopAsyncIteration
        piece = self._pieces[0]
        await self._visit.ended(piece.read)
        data: bytes = piece.read.result()[1]
        if len(data) != len(piece.span):
            raise InvalidError(f"{self._visit.what}: became shorter while it was read")
        if piece.span.stop > self._believed and self._image.is_doubtful(piece.span.start, data):
            await self._look()
        self._pieces.popleft()
        self._allowance.give_back(piece.taken)
        return data

    def close(self) -> None:
        """Give back the allowance; librbd ends by itself what was asked for."""
        for piece in self._pieces:
            self._allowance.give_back(piece.taken)
        self._pieces.clear()
        self._span = Span(self._span.stop, self._span.stop)

    def _ask(self) -> None:
        """Ask for as much as may be read ahead, and for one piece in any case."""
        ahead = sum(len(piece.span) for piece in self._pieces)
        while len(self._span):
            start = self._span.start
            stop = min(self._span.stop, start - start % self._piece_bytes + self._piece_bytes)
            span, count = Span(start, stop), stop - start
            taken = count
            if self._pieces and ahead + count > self._ahead_bytes:
                return
            if not self._allowance.take(count):
                if self._pieces:
                    return
                taken = 0
            self._pieces.append(
                _Piece(span, self._visit.begin(partial(self._image.read, span)), taken)
            )
            ahead += count
            self._span = Span(stop, self._span.stop)

    async def _look(self) -> None:
        """See that the image is still there, after the pieces that have been read by now."""
        read = self._believed
        for piece in self._pieces:
            if not piece.read.done():
                break
            read = piece.span.stop
        if not await self._visit.run(self._image.is_there):
            raise MissingError(f"{self._visit.what}: was removed while it was read")
        self._believed = read
