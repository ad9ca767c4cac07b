"""Reading an object from Swift, on from the byte where the connection broke."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from http import HTTPStatus
from typing import Self

import aiohttp

from backends.answers import AnswerStream, NoBytes, stream_of
from backends.errors import InvalidError, UnavailableError
from backends.location import Location
from backends.spans import END, Span, parse_unsatisfied_range
from backends.swift_client import Request, SwiftClient, Target, refusal

_VERSION = ("ETag", "X-Timestamp")  # which two answers about one object have in common


class SwiftStream:
    """A `ReadStream`, which opens itself again up to `resumptions` times; `aclose` ends it."""

    def __init__(
        self,
        client: SwiftClient,
        target: Target,
        location: Location,
        span: Span | None,
        resumptions: int,
    ) -> None:
        self.size: int | None = None
        self._client = client
        self._target = target
        self._location = location
        self._span = span  # None: whole, and nothing of it has come yet
        self._resumptions = resumptions
        self._pieces: AsyncIterator[bytes] = NoBytes(None)
        self.version: str | None = None
        self._stack = AsyncExitStack()

    async def open(self) -> None:
        """Ask for what is left; InvalidError if the object is another one by now."""
        headers = {} if self._span is None else {"Range": self._span.range_header}
        request = Request("GET", self._target, headers=headers)
        response = await self._stack.enter_async_context(self._client.answered(request))
        stream = stream_of(self._location, self._span, response) or self._nothing(response)
        version = " ".join(response.headers.get(name, "") for name in _VERSION)
        if self.version not in (None, version) or self.size not in (None, stream.size):
            raise InvalidError(f"{self._location}: was replaced while it was read")
        self.version = version
        self.size = stream.size
        self._pieces = aiter(stream)

    async def aclose(self) -> None:
        """Give the connection back."""
        await self._stack.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while True:
            try:
                piece = await anext(self._pieces)
            except UnavailableError:
                if not self._resumptions:
                    raise
                await self._resume()
            else:
                left = self._span or Span(0, END)
                self._span = Span(left.start + len(piece), left.stop)
                return piece

    async def _resume(self) -> None:
        while True:
            self._resumptions -= 1
            await self._stack.aclose()
            try:
                await self.open()
                return
            except UnavailableError:
                if not self._resumptions:
                    raise

    def _nothing(self, response: aiohttp.ClientResponse) -> AnswerStream | NoBytes:
        """Return the empty stream that a 416 means; raise what any other answer means."""
        if self._span is None or response.status != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise refusal(self._location, response.status)
        try:
            size = parse_unsatisfied_range(response.headers.get("Content-Range", ""))
        except ValueError:
            raise InvalidError(f"{self._location}: a 416 that tells no size") from None
        if self._span.start < size:
            raise InvalidError(f"{self._location}: has {size} bytes, but refuses {self._span}")
        return NoBytes(size)
