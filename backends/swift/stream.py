"""Reading an object from Swift: long reads in ranges, and on from the byte where one broke.

Of a segment, or an object, that is read to its end Swift's proxy and its object server both make
the MD5; of a range of it neither does.  That is more than half of what a read costs them, and they
are where it waits.  They also hold back whole large objects (`rate_limit_after_segment`).

A reader who is faster than Swift gets the next range ahead, from a connection beside: that one
is held back when it has its range.  One who is slower never waits, and holds no more than a buffer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from http import HTTPStatus
from typing import Self

import aiohttp

from backends.answers import AnswerStream, NoBytes, stream_of
from backends.errors import InvalidError, StoreError, UnavailableError
from backends.location import Location
from backends.spans import END, Span, parse_unsatisfied_range
from backends.swift.client import Request, SwiftClient, Target, refusal
from backends.swift.large import MANIFEST
from backends.swift.options import SwiftOptions

_WAITS = 8  # in one range: a reader who waited more often is faster than Swift


@dataclass(frozen=True, slots=True, eq=False)
class _Range:
    """An answer, and its bytes from `start` on."""

    start: int
    response: aiohttp.ClientResponse
    pieces: AnswerStream | NoBytes


class SwiftStream:
    """A `ReadStream`, which opens itself again up to `resumptions` times; `aclose` ends it."""

    def __init__(
        self,
        client: SwiftClient,
        target: Target,
        location: Location,
        span: Span,
        options: SwiftOptions,
    ) -> None:
        self.size: int | None = None
        self.version: str | None = None
        self._client = client
        self._target = target
        self._location = location
        self._options = options
        self._left = span
        self._asked = span.start  # what comes before was asked for
        # A token that nobody renews may end before a long read does: that is one request then.
        self._range_bytes = options.range_bytes if target.identity.renews else END
        self._resumptions = options.resumptions
        self._current: _Range | None = None
        self._ahead: deque[asyncio.Task[_Range]] = deque()
        self._hunger = 0  # ranges for which the reader is still taken to be faster than Swift

    async def open(self) -> None:
        """Ask for what is left; InvalidError if the object is another one by now."""
        self._asked = self._left.start
        self._current = await self._ask(self._next_range(), self._options.read_buffer_bytes)
        if await self._may_be_larger(self._current.response):
            await self.aclose()
            self._range_bytes, self.size = END, None
            await self.open()

    async def aclose(self) -> None:
        """Give the connections back."""
        if self._current is not None:
            self._current.response.close()
            self._current = None
        ahead, self._ahead = self._ahead, deque()
        for task in ahead:
            task.cancel()
            task.add_done_callback(_discard)  # also if we are cancelled while we wait
        if ahead:
            await asyncio.wait(ahead)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while True:
            try:
                piece = await self._piece()
            except UnavailableError:
                if not self._resumptions:
                    raise
                await self._resume()
            else:
                self._left = Span(self._left.start + len(piece), self._left.stop)
                self._look_ahead()
                return piece

    async def _piece(self) -> bytes:
        """Return what comes next, of this range or of the one behind it."""
        while True:
            assert self._current is not None, "not open"
            try:
                return await anext(self._current.pieces)
            except StopAsyncIteration:
                if self.size is None:
                    self.size = self._current.pieces.size
                if self._left.start >= self._end:
                    raise
            await self._advance()

    async def _advance(self) -> None:
        """Go on to the next range; if it was asked for ahead and failed, it is asked for again.

        So is one that does not follow: the range before it was ignored, and brought more.
        """
        self._hunger = max(self._hunger - 1, 0)
        if self._ahead:
            await asyncio.wait({self._ahead[0]})
            try:
                self._current = self._ahead.popleft().result()
            except UnavailableError:
                pass
            else:
                if self._current.start == self._left.start:
                    return
            await self.aclose()
            self._asked = self._left.start
        self._current = await self._ask(self._next_range(), self._options.read_buffer_bytes)

    def _look_ahead(self) -> None:
        """Have the next range brought, if the reader has to wait for this one."""
        if self._current is not None and self._current.pieces.waits > _WAITS:
            self._hunger = self._options.ranges_at_once
        while (
            self._hunger and self._is_more and len(self._ahead) + 1 < self._options.ranges_at_once
        ):
            span = self._next_range()
            buffer_bytes = max(len(span), self._options.read_buffer_bytes)
            self._ahead.append(asyncio.create_task(self._ask(span, buffer_bytes)))

    @property
    def _is_more(self) -> bool:
        """Whether there is something that was not asked for yet."""
        return self._asked < self._end

    @property
    def _end(self) -> int:
        """Where the reading ends, as far as that is known."""
        return self._left.stop if self.size is None else min(self._left.stop, self.size)

    def _next_range(self) -> Span:
        span = Span(self._asked, min(self._end, self._asked + self._range_bytes))
        self._asked = span.stop
        return span

    async def _ask(self, span: Span, buffer_bytes: int) -> _Range:
        request = Request("GET", self._target, headers={"Range": span.range_header})
        response = await self._client.opened(request, buffer_bytes)
        try:
            if response.status == HTTPStatus.OK:  # the range is ignored: all comes with this
                span = Span(span.start, self._left.stop)
                self._asked = self._left.stop
            pieces = stream_of(self._location, span, response) or self._nothing(response, span)
            self._check(response, pieces.size)
        except StoreError:
            response.close()
            raise
        return _Range(span.start, response, pieces)

    def _check(self, response: aiohttp.ClientResponse, size: int | None) -> None:
        """Make sure that an answer is about the object that the first one was about."""
        tag, stamp = (response.headers.get(name, "") for name in ("ETag", "X-Timestamp"))
        version = f"{tag} {stamp}"
        if self.version not in (None, version) or self.size not in (None, size):
            if MANIFEST in response.headers and str(self.version).endswith(f" {stamp}"):
                raise UnavailableError(f"{self._location}: Swift lists other segments than before")
            raise InvalidError(f"{self._location}: was replaced while it was read")
        self.version = version
        self.size = size

    async def _may_be_larger(self, response: aiohttp.ClientResponse) -> bool:
        """Look whether a dynamic large object ends where a range of it says.

        With a range Swift tells the size of the first segments, as many as fill a listing.
        """
        reads_to_end = self.size is not None and self._left.stop > self.size
        if not (reads_to_end and self._is_more and MANIFEST in response.headers):
            return False
        found = await self._client.call(Request("HEAD", self._target))
        if found.status != HTTPStatus.OK:
            raise refusal(self._location, found.status)
        return found.headers.get("Content-Length") != str(self.size)

    async def _resume(self) -> None:
        while True:
            self._resumptions -= 1
            await self.aclose()
            try:
                await self.open()
                return
            except UnavailableError:
                if not self._resumptions:
                    raise

    def _nothing(self, response: aiohttp.ClientResponse, span: Span) -> NoBytes:
        """Return the empty stream that a 416 means; raise what any other answer means."""
        if response.status != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise refusal(self._location, response.status)
        try:
            size = parse_unsatisfied_range(response.headers.get("Content-Range", ""))
        except ValueError:
            raise InvalidError(f"{self._location}: a 416 that tells no size") from None
        if span.start < size:
            raise InvalidError(f"{self._location}: has {size} bytes, but refuses {span}")
        return NoBytes(size)


def _discard(task: asyncio.Task[_Range]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().response.close()
