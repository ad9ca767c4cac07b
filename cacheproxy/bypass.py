"""Image data straight from the upstream to one reader, with the reader's own credentials.

What the cache does when it cannot help: the bytes are Glance's own, unverified, and kept nowhere.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager

from backends.spans import Span
from cacheproxy.core.facts import ImageFacts
from cacheproxy.errors import (
    BusyError,
    UpstreamAnswerError,
    UpstreamLiesError,
    UpstreamUnreachableError,
)
from cacheproxy.fill.source import Body, Headers, Source

RESUMES_MAX = 2  # how often a transfer that was cut goes on at the byte
_RANGES_UNSUPPORTED = 400  # Glance's answer to any range on most of its stores


class Bypass:
    """Streams spans from the upstream, also behind bytes that the reader has already.

    A source without ranges is read again from byte 0 and what the reader has is dropped; since
    that costs so much, only `rereads_max` of these run at once.
    """

    def __init__(self, source: Source, rereads_max: int) -> None:
        self._source = source
        self._rereads_max = rereads_max
        self._rereads = 0

    async def stream(
        self, facts: ImageFacts, headers: Headers, span: Span
    ) -> AsyncGenerator[bytes | memoryview]:
        """Give the bytes of the span; goes on at the byte when a transfer is cut."""
        position, resumes = span.start, 0
        while position < span.stop:
            try:
                async for piece in self._once(facts, headers, Span(position, span.stop)):
                    position += len(piece)
                    yield piece
            except UpstreamUnreachableError:
                resumes += 1
                if position == span.start or resumes > RESUMES_MAX:
                    raise

    async def _once(
        self, facts: ImageFacts, headers: Headers, span: Span
    ) -> AsyncIterator[bytes | memoryview]:
        whole = span == Span(0, facts.size)
        try:
            reading = self._source.read(facts.image_id, headers, None if whole else span)
            async with reading as body:
                async for piece in self._cut(body, facts, span):
                    yield piece
            return
        except UpstreamAnswerError as error:
            if whole or error.status != _RANGES_UNSUPPORTED:
                raise
        async with self._source.read(facts.image_id, headers, None) as body:
            async for piece in self._cut(body, facts, span):
                yield piece

    async def _cut(
        self, body: Body, facts: ImageFacts, span: Span
    ) -> AsyncIterator[bytes | memoryview]:
        """Give what belongs to the span of a body that may begin before it and end behind it."""
        if body.size is not None and body.size != facts.size:
            raise UpstreamLiesError(f"size {body.size}, expected {facts.size}")
        position = span.start if body.ranged else 0
        with self._reread(dropping=position < span.start):
            async for piece in body.pieces():
                view = memoryview(piece)[max(0, span.start - position) :]
                position += len(piece)
                view = view[: len(view) - max(0, position - span.stop)]
                if len(view):
                    yield view
                if position > span.stop and span.stop == facts.size:
                    raise UpstreamLiesError("the image's data is longer than its size")
                if position > span.stop:
                    return
        if position < span.stop:
            if not body.bounded:
                raise UpstreamUnreachableError("the connection ended before the image's data")
            raise UpstreamLiesError("the image's data is shorter than its size")

    @contextmanager
    def _reread(self, *, dropping: bool) -> Iterator[None]:
        if not dropping:
            yield
            return
        if self._rereads >= self._rereads_max:
            raise BusyError("too many images are being read again from their start")
        self._rereads += 1
        try:
            yield
        finally:
            self._rereads -= 1
