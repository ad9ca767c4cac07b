"""Web servers that contradict themselves, say no, or say nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from backends.errors import (
    DeniedError,
    InvalidError,
    MissingError,
    StoreError,
    ThrottledError,
    UnavailableError,
    UnsupportedError,
)
from backends.http.store import HttpStore
from backends.location import Location
from backends.options import HttpOptions
from backends.spans import Span
from backends.wrapping import Retrying, wrap
from contracts.answers import (
    CHUNKED,
    CONTENT,
    answer,
    chunked,
    location_of,
    once,
    partial_content,
)
from contracts.subject import read
from harness.raw_origin import Peer, listener, raw_origin

ENDLESS_PIECE = bytes(1 << 16)


@pytest.fixture
async def store() -> AsyncIterator[HttpStore]:
    store = HttpStore()
    yield store
    await store.aclose()


@pytest.fixture
async def impatient() -> AsyncIterator[HttpStore]:
    store = HttpStore(HttpOptions(stall_seconds=0.1))
    yield store
    await store.aclose()


CONTRADICTIONS: dict[str, tuple[Span | None, bytes, type[StoreError]]] = {
    "cut": (None, answer("200 OK", "Content-Length: 10", body=b"012"), UnavailableError),
    "cut before the first byte": (None, answer("200 OK", "Content-Length: 10"), UnavailableError),
    "cut in a chunk": (None, answer("200 OK", CHUNKED, body=b"a\r\n012"), UnavailableError),
    "cut after a chunk": (None, answer("200 OK", CHUNKED, body=b"3\r\n012\r\n"), UnavailableError),
    "cut in the headers": (None, b"HTTP/1.1 200 OK\r\nContent-Le", UnavailableError),
    "closed at once": (None, b"", UnavailableError),
    "not HTTP": (None, b"SSH-2.0-OpenSSH_9.2\r\n\r\n", InvalidError),
    "compressed on its way": (
        None,
        answer("200 OK", "Content-Encoding: gzip", CHUNKED, body=chunked(CONTENT)),
        InvalidError,
    ),
    "a part, compressed on its way": (
        Span(2, 6),
        partial_content("bytes 2-5/10", chunked(b"2345"), "Content-Encoding: br", CHUNKED),
        InvalidError,
    ),
    "no number": (None, answer("200 OK", "Content-Length: ten", body=CONTENT), InvalidError),
    "a bad chunk": (None, answer("200 OK", CHUNKED, body=b"zz\r\n012"), InvalidError),
    "a range that nobody wanted": (None, partial_content("bytes 0-4/10", b"01234"), InvalidError),
    "a cut range": (
        Span(2, 6),
        partial_content("bytes 2-5/10", b"23", "Content-Length: 4"),
        UnavailableError,
    ),
    "a range that ends early": (
        Span(2, 6),
        partial_content("bytes 2-5/10", chunked(b"234"), CHUNKED),
        UnavailableError,
    ),
    "a range that ends late": (
        Span(2, 6),
        partial_content("bytes 2-5/10", chunked(b"23456"), CHUNKED),
        InvalidError,
    ),
    "a range that ends late, piece by piece": (
        Span(2, 6),
        partial_content("bytes 2-5/10", b"4\r\n2345\r\n1\r\n6\r\n0\r\n\r\n", CHUNKED),
        InvalidError,
    ),
    "a shorter length": (
        Span(2, 6),
        partial_content("bytes 2-5/10", b"234", "Content-Length: 3"),
        InvalidError,
    ),
    "a longer length": (
        Span(2, 6),
        partial_content("bytes 2-5/10", b"23456", "Content-Length: 5"),
        InvalidError,
    ),
    "another start": (Span(2, 6), partial_content("bytes 1-5/10", b"12345"), InvalidError),
    "another end": (Span(2, 6), partial_content("bytes 2-4/10", b"234"), InvalidError),
    "a longer end": (Span(2, 6), partial_content("bytes 2-6/10", b"23456"), InvalidError),
    "an end that may be the object's": (
        Span(2, 6),
        partial_content("bytes 2-4/*", b"234"),
        InvalidError,
    ),
    "an end beyond the object": (Span(2, 6), partial_content("bytes 2-5/5", b"2345"), InvalidError),
    "a range backwards": (Span(2, 6), partial_content("bytes 5-2/10", b"2345"), InvalidError),
    "no end": (Span(2, 6), partial_content("bytes 2-/10", b"2345"), InvalidError),
    "a number without end": (
        Span(2, 6),
        partial_content(f"bytes 2-{'9' * 40}/{'9' * 41}", b"2345"),
        InvalidError,
    ),
    "no Content-Range": (
        Span(2, 6),
        answer("206 Partial Content", "Content-Length: 4", body=b"2345"),
        InvalidError,
    ),
    "several ranges": (
        Span(2, 6),
        answer("206 Partial Content", "Content-Type: multipart/byteranges; boundary=x"),
        InvalidError,
    ),
    "refuses what it has": (
        Span(2, 6),
        answer("416 Range Not Satisfiable", "Content-Range: bytes */10", "Content-Length: 0"),
        InvalidError,
    ),
    "a refusal that nobody caused": (
        None,
        answer("416 Range Not Satisfiable", "Content-Range: bytes */10", "Content-Length: 0"),
        InvalidError,
    ),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
async def test_contradictions(store: HttpStore, case: str) -> None:
    span, data, expected = CONTRADICTIONS[case]
    got = b""

    async def reading(location: Location) -> None:
        nonlocal got
        async with store.read(location, span) as stream:
            async for piece in stream:
                got += piece

    async with raw_origin(once(data)) as origin:
        with pytest.raises(expected) as caught:
            await reading(location_of(origin, "/image?signature=secret"))
    assert type(caught.value) is expected
    assert caught.value.__cause__ is None
    assert "secret" not in repr(caught.value)
    wanted = CONTENT if span is None else CONTENT[span.start : span.stop]
    assert wanted.startswith(got)


GOOD: dict[str, tuple[Span | None, bytes, bytes, int | None]] = {
    "no length": (None, answer("200 OK", "Connection: close", body=CONTENT), CONTENT, 10),
    "chunked": (None, answer("200 OK", CHUNKED, body=chunked(CONTENT)), CONTENT, 10),
    "ignored": (Span(2, 6), answer("200 OK", "Content-Length: 10", body=CONTENT), b"2345", 10),
    "ignored, no length": (Span(2, 6), answer("200 OK", body=CONTENT), b"2345", None),
    "ignored, to the end": (Span.since(8), answer("200 OK", body=CONTENT), b"89", 10),
    "ignored, beyond the end": (Span(20, 30), answer("200 OK", body=CONTENT), b"", 10),
    "total not told": (Span(2, 6), partial_content("bytes 2-5/*", b"2345"), b"2345", None),
    "total not told, to the end": (
        Span.since(8),
        partial_content("bytes 8-9/*", b"89"),
        b"89",
        None,
    ),
    "clipped": (Span(8, 20), partial_content("bytes 8-9/10", b"89"), b"89", 10),
    "beyond the end": (
        Span(10, 20),
        answer("416 Range Not Satisfiable", "Content-Range: bytes */10", "Content-Length: 0"),
        b"",
        10,
    ),
    "not compressed, as it says": (
        None,
        answer("200 OK", "Content-Encoding: identity", CHUNKED, body=chunked(CONTENT)),
        CONTENT,
        10,
    ),
    "stored compressed": (
        None,
        answer("200 OK", "Content-Encoding: gzip", "Content-Length: 10", body=CONTENT),
        CONTENT,
        10,
    ),
    "more than its length": (
        None,
        answer("200 OK", "Content-Length: 10", body=CONTENT + b"HTTP/1.1 200 OK\r\n\r\nmore"),
        CONTENT,
        10,
    ),
}


@pytest.mark.parametrize("case", GOOD)
async def test_answers_that_can_be_used(store: HttpStore, case: str) -> None:
    span, data, expected, size = GOOD[case]
    async with raw_origin(once(data)) as origin:
        for _ in range(2):  # what one answer brought too much is not taken for the next
            async with store.read(location_of(origin), span) as stream:
                assert b"".join([piece async for piece in stream]) == expected
                assert stream.size == size


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (204, InvalidError),
        (300, InvalidError),
        (303, InvalidError),
        (304, InvalidError),
        (307, InvalidError),
        (308, InvalidError),
        (400, InvalidError),
        (401, DeniedError),
        (403, DeniedError),
        (404, MissingError),
        (405, UnsupportedError),
        (407, DeniedError),
        (408, UnavailableError),
        (410, MissingError),
        (418, InvalidError),
        (429, ThrottledError),
        (500, UnavailableError),
        (501, UnsupportedError),
        (503, UnavailableError),
        (599, UnavailableError),
    ],
)
async def test_refusals(store: HttpStore, status: int, expected: type[StoreError]) -> None:
    data = answer(f"{status} No", "Content-Length: 0", "Location: /elsewhere")
    async with raw_origin(once(data)) as origin:
        for span in (None, Span(0, 1), Span(0, 0)):
            with pytest.raises(expected) as caught:
                await read(store, location_of(origin), span)
            assert type(caught.value) is expected
        with pytest.raises(expected):
            await store.stat(location_of(origin))


async def test_nobody_listens(store: HttpStore) -> None:
    with listener() as sock:
        port = sock.getsockname()[1]
    with pytest.raises(UnavailableError):
        await read(store, Location(f"http://127.0.0.1:{port}/image"))
    with pytest.raises(UnavailableError, match="not known"):
        await read(store, Location("http://name.invalid/image"))


@pytest.mark.parametrize(
    "uri",
    [
        "http:///image",
        "http://host:99999/image",
        "http://host:port/image",
        "http://[::1/image",
        "http://us er:pa/ss@host/image",
        "ftp://host/image",
        "http://host\r\nX: y/image",
    ],
)
async def test_no_address(store: HttpStore, uri: str) -> None:
    for operation in (store.stat(Location(uri)), read(store, Location(uri))):
        with pytest.raises(InvalidError) as error:
            await operation
        assert "pa/ss" not in repr(error.value)


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0"])
async def test_a_server_that_stalls(impatient: HttpStore, sent: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(sent)
        await peer.closed_by_peer()

    async with raw_origin(script) as origin:
        with pytest.raises(UnavailableError, match="no answer in time"):
            await read(impatient, location_of(origin))


async def test_what_is_not_wanted_is_not_received(store: HttpStore) -> None:
    gone = asyncio.Event()

    async def endless(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer("200 OK", body=CONTENT))
        try:
            while True:
                await peer.send(ENDLESS_PIECE)
        except ConnectionError:
            gone.set()

    async with raw_origin(endless) as origin:
        assert await read(store, location_of(origin), Span(2, 6)) == b"2345"
        await gone.wait()
        gone.clear()
        async with store.read(location_of(origin)) as stream:
            assert (await anext(aiter(stream))).startswith(CONTENT)
        await gone.wait()


class TestHead:
    @pytest.mark.parametrize("status", [403, 405, 501])
    async def test_not_known(self, store: HttpStore, status: int) -> None:
        async def script(peer: Peer) -> None:
            request = await peer.request()
            if request.method == "HEAD":
                await peer.send(answer(f"{status} No", "Content-Length: 0"))
            else:
                assert request.one("range") == "bytes=0-0"
                await peer.send(partial_content("bytes 0-0/10", b"0", "Content-Length: 1"))

        async with raw_origin(script) as origin:
            assert (await store.stat(location_of(origin))).size == 10

    async def test_no_way_to_learn_the_size(self, store: HttpStore) -> None:
        async def script(peer: Peer) -> None:
            head = (await peer.request()).method == "HEAD"
            await peer.send(answer("405 No" if head else "416 No", "Content-Length: 0"))

        async with raw_origin(script) as origin:
            assert (await store.stat(location_of(origin))).size is None

    @pytest.mark.parametrize("size", [5, 10])
    async def test_tells_what_a_refused_range_does_not(self, store: HttpStore, size: int) -> None:
        async def script(peer: Peer) -> None:
            head = (await peer.request()).method == "HEAD"
            length = size if head else 0
            await peer.send(answer("200 OK" if head else "416 No", f"Content-Length: {length}"))

        async with raw_origin(script) as origin:
            if size == 5:
                assert await read(store, location_of(origin), Span(5, 6)) == b""
            else:
                with pytest.raises(InvalidError):
                    await read(store, location_of(origin), Span(5, 6))


@pytest.mark.parametrize(
    ("first", "second", "mixed"),
    [('"1"', '"2"', False), ('"1"', '"1"', True), ('W/"1"', 'W/"2"', True), (None, '"2"', True)],
)
async def test_what_was_replaced_meanwhile_is_not_read_on(
    store: HttpStore, first: str | None, second: str | None, mixed: bool
) -> None:
    answers = [
        answer("200 OK", "Content-Length: 10", *tagged(first), body=b"01234"),
        partial_content("bytes 5-9/10", b"56789", *tagged(second), "Content-Length: 5"),
    ]

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(answers.pop(0))

    resuming = wrap(store, Retrying(2, 0.0, 0.0))
    async with raw_origin(script) as origin:
        if mixed:
            assert await read(resuming, location_of(origin)) == CONTENT
        else:
            with pytest.raises(InvalidError, match="replaced"):
                await read(resuming, location_of(origin))


def tagged(entity_tag: str | None) -> list[str]:
    return [] if entity_tag is None else [f"ETag: {entity_tag}"]
