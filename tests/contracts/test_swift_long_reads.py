"""Long reads from Swift go in ranges: which are asked for when, and what if one of them fails."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from backends.errors import InvalidError, UnavailableError
from backends.location import Location
from backends.spans import Span
from contracts.answers import CONTENT, answer, partial_content
from contracts.subject import read
from contracts.swift_script import LOCATION, FakeSwift, status, whole
from harness.raw_origin import Peer, Request

FOURS: dict[str, Any] = {"range_bytes": 4}
MANIFEST = "X-Object-Manifest: images/image-"


@pytest.fixture
def _always_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every reader for one who is faster than Swift."""
    monkeypatch.setattr("backends.swift.stream._WAITS", -1)


def part(start: int, stop: int, *headers: str) -> bytes:
    told = f"bytes {start}-{stop - 1}/{len(CONTENT)}"
    return partial_content(told, CONTENT[start:stop], f"Content-Length: {stop - start}", *headers)


def ranges(swift: FakeSwift) -> list[str | None]:
    return [head.one("range") for head in swift.asked]


@pytest.mark.parametrize("span", [None, Span(0, 10), Span.since(0), Span(0, 99)])
async def test_goes_in_ranges(span: Span | None) -> None:
    swift = FakeSwift(part(0, 4), part(4, 8), part(8, 10))
    async with swift.store(**FOURS) as store:
        assert await read(store, LOCATION, span) == CONTENT
    assert ranges(swift) == ["bytes=0-3", "bytes=4-7", "bytes=8-9"]


async def test_to_its_end_only() -> None:
    swift = FakeSwift(part(1, 5), part(5, 7))
    async with swift.store(**FOURS) as store:
        assert await read(store, LOCATION, Span(1, 7)) == CONTENT[1:7]


async def test_a_reader_who_does_not_wait_has_nothing_brought_ahead() -> None:
    swift = FakeSwift(part(0, 4))
    async with swift.store(**FOURS) as store, store.read(LOCATION) as stream:
        assert await anext(aiter(stream)) == CONTENT[:4]
        assert stream.size == len(CONTENT)
    assert ranges(swift) == ["bytes=0-3"]


@pytest.mark.usefixtures("_always_waiting")
@pytest.mark.parametrize("at_once", [2, 3])
async def test_a_reader_who_waits_gets_the_next_ranges_ahead(at_once: int) -> None:
    all_are_asked_for = asyncio.Barrier(at_once)

    async def first(peer: Peer, _: Request) -> None:
        await peer.send(part(0, 4)[:-2])
        await all_are_asked_for.wait()
        await peer.send(CONTENT[2:4])

    async def further(peer: Peer, head: Request) -> None:
        start, stop = (head.one("range") or "").removeprefix("bytes=").split("-")
        await peer.send(part(int(start), int(stop) + 1))
        await all_are_asked_for.wait()

    later = [further] * (at_once - 1) + [part(8, 10)] * (3 - at_once)
    swift = FakeSwift(first, *later)
    async with swift.store(**FOURS, ranges_at_once=at_once) as store:
        assert await read(store, LOCATION) == CONTENT


@pytest.mark.usefixtures("_always_waiting")
async def test_what_fails_ahead_is_asked_for_again() -> None:
    swift = FakeSwift(part(0, 4), status("503 Oh"), part(4, 8), part(8, 10))
    async with swift.store(**FOURS) as store:
        assert await read(store, LOCATION) == CONTENT


@pytest.mark.usefixtures("_always_waiting")
async def test_what_is_refused_ahead_is_refused() -> None:
    other = partial_content("bytes 4-7/11", CONTENT[4:8], "Content-Length: 4")
    swift = FakeSwift(part(0, 4), other)
    async with swift.store(**FOURS) as store:
        with pytest.raises(InvalidError, match="replaced"):
            await read(store, LOCATION)


@pytest.mark.usefixtures("_always_waiting")
async def test_who_leaves_takes_along_what_is_asked_for_ahead() -> None:
    asked, left = asyncio.Event(), asyncio.Event()

    async def silent(peer: Peer, _: Request) -> None:
        asked.set()
        await peer.closed_by_peer()
        left.set()
        raise ConnectionResetError

    swift = FakeSwift(part(0, 4), silent)
    async with swift.store(**FOURS) as store:
        async with store.read(LOCATION) as stream:
            assert await anext(aiter(stream)) == CONTENT[:4]
            await asked.wait()
        await left.wait()


async def test_goes_on_at_the_byte_in_a_later_range() -> None:
    cut = part(4, 8, "Connection: close")[:-2]
    swift = FakeSwift(part(0, 4), cut, part(6, 10))
    async with swift.store(**FOURS, resumptions=1) as store:
        assert await read(store, LOCATION) == CONTENT


async def test_a_server_that_ignores_ranges_is_asked_once() -> None:
    swift = FakeSwift(whole())
    async with swift.store(**FOURS) as store:
        assert await read(store, LOCATION) == CONTENT


@pytest.mark.usefixtures("_always_waiting")
@pytest.mark.parametrize("ignored", ["bytes=4-7", "bytes=8-9"])
async def test_a_server_that_ignores_some_ranges(ignored: str) -> None:
    all_are_asked_for = asyncio.Barrier(2)

    async def some(peer: Peer, head: Request) -> None:
        asked = head.one("range") or ""
        if asked != "bytes=0-3":
            await all_are_asked_for.wait()
        start, stop = asked.removeprefix("bytes=").split("-")
        await peer.send(whole() if asked == ignored else part(int(start), int(stop) + 1))

    swift = FakeSwift(some, some, some)
    async with swift.store(**FOURS, ranges_at_once=3) as store:
        assert await read(store, LOCATION) == CONTENT


class TestDynamicLargeObjects:
    async def test_are_as_long_as_a_range_says(self) -> None:
        size = status("200 OK").replace(b": 0", b": 10")
        swift = FakeSwift(part(0, 4, MANIFEST), size, part(4, 8, MANIFEST), part(8, 10, MANIFEST))
        async with swift.store(**FOURS) as store:
            assert await read(store, LOCATION) == CONTENT
        assert [head.method for head in swift.asked] == ["GET", "HEAD", "GET", "GET"]

    async def test_or_longer(self) -> None:
        """Swift looks at one listing only, unless all is asked for."""
        first = partial_content("bytes 0-3/8", CONTENT[:4], "Content-Length: 4", MANIFEST)
        swift = FakeSwift(first, answer("200 OK", MANIFEST), whole(CONTENT, MANIFEST))
        async with swift.store(**FOURS) as store:
            assert await read(store, LOCATION) == CONTENT
        assert ranges(swift) == ["bytes=0-3", None, "bytes=0-"]

    async def test_whose_listing_is_late_are_tried_again(self) -> None:
        """It is the same object: its manifest is."""
        before, after = ("ETag: a", "X-Timestamp: 1"), ("ETag: b", "X-Timestamp: 1")
        late = partial_content("bytes 4-7/8", CONTENT[4:8], "Content-Length: 4", MANIFEST, *after)
        swift = FakeSwift(part(0, 4, *before), late, part(4, 8, *before), part(8, 10, *before))
        async with swift.store(**FOURS, resumptions=1) as store:
            assert await read(store, LOCATION) == CONTENT

    async def test_whose_listing_stays_late_are_not_there(self) -> None:
        late = partial_content("bytes 4-7/8", CONTENT[4:8], "Content-Length: 4", MANIFEST)
        swift = FakeSwift(part(0, 4), late)
        async with swift.store(**FOURS) as store:
            with pytest.raises(UnavailableError, match="segments"):
                await read(store, LOCATION)


async def test_of_a_caller_whose_token_may_end_are_one_request() -> None:
    swift = FakeSwift(part(0, 10))
    async with swift.store(multi_tenant=True, locations_name_references=False, **FOURS) as store:
        account = f"{swift.origin.url}/v1/AUTH_a"
        caller = store.acting_for("token", account)
        location = Location(f"swift+{account}/images/image")
        assert await read(caller, location) == CONTENT
    assert ranges(swift) == ["bytes=0-"]
