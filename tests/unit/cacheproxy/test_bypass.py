"""Bytes round the cache: ranges, sources without them, cuts, and the bound on re-reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from backends.spans import Span
from cacheproxy.bypass import Bypass
from cacheproxy.core.facts import ImageFacts
from cacheproxy.errors import (
    BusyError,
    UpstreamAnswerError,
    UpstreamLiesError,
    UpstreamUnreachableError,
)
from cacheproxy.fill.source import Headers, Sink

DATA = bytes(range(200))
FACTS = ImageFacts(image_id="i", size=len(DATA), checksum=None, hash_algo=None, hash_value=None)


@dataclass
class ScriptedBody:
    source: ScriptedSource
    data: bytes
    ranged: bool
    size: int | None
    bounded: bool = True

    async def into(self, sink: Sink) -> bool:
        raise AssertionError(f"whoever passes bytes through wants pieces, not {sink}")

    async def pieces(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self.data), 7):
            self.source.opened.set()
            if self.source.hold is not None:
                await self.source.hold.wait()
            if self.source.cut_after is not None:
                if self.source.cut_after <= 0:
                    self.source.cut_after = None
                    raise UpstreamUnreachableError("cut")
                self.source.cut_after -= 1
            yield self.data[start : start + 7]


@dataclass
class ScriptedSource:
    ranges: str = "yes"  # yes | refused | ignored
    data: bytes = DATA
    cut_after: int | None = None
    hold: asyncio.Event | None = None
    asked: list[Span | None] = field(default_factory=list)
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def read(
        self, image_id: str, headers: Headers, span: Span | None
    ) -> AsyncIterator[ScriptedBody]:
        assert (image_id, headers) == ("i", [])
        self.asked.append(span)
        if span is not None and self.ranges == "refused":
            raise UpstreamAnswerError(400, "no ranges")
        if span is None or self.ranges == "ignored":
            yield ScriptedBody(self, self.data, ranged=False, size=len(self.data))
        else:
            yield ScriptedBody(self, self.data[span.start : span.stop], True, len(self.data))


async def stream(source: ScriptedSource, span: Span, rereads_max: int = 1) -> bytes:
    pieces = Bypass(source, rereads_max).stream(FACTS, [], span)
    return b"".join([bytes(piece) async for piece in pieces])


@pytest.mark.parametrize("ranges", ["yes", "refused", "ignored"])
@pytest.mark.parametrize("span", [Span(0, 200), Span(0, 50), Span(33, 34), Span(150, 200)])
async def test_every_span_of_every_kind_of_source(ranges: str, span: Span) -> None:
    source = ScriptedSource(ranges)
    assert await stream(source, span) == DATA[span.start : span.stop]
    if span == Span(0, 200):
        assert source.asked == [None]


@pytest.mark.parametrize("ranges", ["yes", "refused", "ignored"])
async def test_a_cut_goes_on_at_the_byte(ranges: str) -> None:
    source = ScriptedSource(ranges, cut_after=5)
    assert await stream(source, Span(20, 200)) == DATA[20:]


async def test_a_source_that_fails_before_the_first_byte_is_not_asked_again() -> None:
    source = ScriptedSource(cut_after=0)
    with pytest.raises(UpstreamUnreachableError):
        await stream(source, Span(20, 200))
    assert len(source.asked) == 1


async def test_another_size_is_a_lie() -> None:
    with pytest.raises(UpstreamLiesError):
        await stream(ScriptedSource(data=DATA + b"x"), Span(0, 200))


async def test_only_so_many_rereads_at_once() -> None:
    hold = asyncio.Event()
    source = ScriptedSource("ignored", hold=hold)
    bypass = Bypass(source, 1)

    async def read() -> bytes:
        pieces = bypass.stream(FACTS, [], Span(100, 200))
        return b"".join([bytes(piece) async for piece in pieces])

    first = asyncio.create_task(read())
    await source.opened.wait()
    with pytest.raises(BusyError):
        await read()
    hold.set()
    assert await first == DATA[100:]
    assert await read() == DATA[100:]  # the place was given back
