"""Which requests the fast lane takes: to the letter, and what aiohttp's parser reads in them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser, HttpVersion11, RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError
from hypothesis import example, given
from hypothesis import strategies as st

from backends.ordinary import (
    FIELDS_MAX,
    HEAD_BYTES_MAX,
    Fields,
    Ordinary,
    Repeat,
    ordinary,
    read_fields,
    whole_head,
)
from cacheproxy.web.front import HEADER_BYTES_MAX, HEADERS_MAX

LINE = b"GET /v2/images/an-id/file HTTP/1.1"


def request(*fields: bytes, line: bytes = LINE) -> bytes:
    return b"\r\n".join((line, *fields, b"", b""))


def taken(data: bytes) -> tuple[Ordinary, Fields] | None:
    """Return what the fast lane makes of this; None: it is not for it."""
    asked = ordinary(data)
    fields = None if asked is None else read_fields(asked.fields)
    return None if asked is None or fields is None else (asked, fields)


TAKEN = {
    "plain": (),
    "with a token": (b"X-Auth-Token: gAAAA",),
    "as python-requests": (
        *(b"User-Agent: python-glanceclient", b"Accept-Encoding: gzip, deflate", b"Accept: */*"),
        *(b"Connection: keep-alive", b"X-OpenStack-Request-ID: req-1"),
    ),
    "unpadded": (b"X:", b"Y:y", b"Z: \t z \t"),
    "connection in another spelling": (b"connection:Keep-Alive ",),
    "as many fields as there may be": tuple(b"X-%d: x" % at for at in range(FIELDS_MAX - 1)),
}


@pytest.mark.parametrize("fields", TAKEN.values(), ids=TAKEN)
def test_taken(fields: tuple[bytes, ...]) -> None:
    found = taken(request(b"Host: h", *fields))
    assert found is not None
    asked, read = found
    assert (asked.image_id, asked.first, asked.last) == ("an-id", -1, -1)
    assert len(read.headers) == 1 + len(fields)


def test_what_is_read() -> None:
    found = taken(request(b"Host:h", b"X-OpenStack-Request-ID:\treq-1 ", b"A: b : c"))
    assert found is not None
    assert found[1] == Fields(
        [("Host", "h"), ("X-OpenStack-Request-ID", "req-1"), ("A", "b : c")], "req-1"
    )


@pytest.mark.parametrize(
    ("field", "first", "last"),
    [
        (b"Range: bytes=0-0", 0, 0),
        (b"range: bytes=5-", 5, -1),
        (b"Range:bytes=5-6", 5, 6),
        (b"Range: bytes=007-008", 7, 8),
        (b"Range: bytes=6-5", 6, 5),
        (b"Range: bytes=999999999999999999-", 10**18 - 1, -1),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_ranges(field: bytes, first: int, last: int, place: int) -> None:
    fields = [b"Host: h", b"X: x"]
    fields.insert(place, field)
    found = taken(request(*fields))
    assert found is not None
    assert found[0][:3] == ("an-id", first, last)
    assert [name for name, _ in found[1].headers] == ["Host", "X"]
    assert ordinary(request(b"Host: h", b"X: x")) == found[0]._replace(first=-1, last=-1)


LEFT = {
    "another method": request(b"Host: h", line=b"HEAD /v2/images/an-id/file HTTP/1.1"),
    "HTTP/1.0": request(b"Host: h", line=b"GET /v2/images/an-id/file HTTP/1.0"),
    "a query": request(b"Host: h", line=b"GET /v2/images/an-id/file? HTTP/1.1"),
    "a fragment": request(b"Host: h", line=b"GET /v2/images/an-id/file#x HTTP/1.1"),
    "an escape": request(b"Host: h", line=b"GET /v2/images/%61n-id/file HTTP/1.1"),
    "an absolute form": request(b"Host: h", line=b"GET http://h/v2/images/an-id/file HTTP/1.1"),
    "a step up": request(b"Host: h", line=b"GET /v2/images/../file HTTP/1.1"),
    "another path": request(b"Host: h", line=b"GET /v2/images/an-id HTTP/1.1"),
    "two spaces": request(b"Host: h", line=b"GET  /v2/images/an-id/file HTTP/1.1"),
    "a blank behind": request(b"Host: h", line=LINE + b" "),
    "a line before": b"\r\n" + request(b"Host: h"),
    "a long id": request(b"Host: h", line=LINE.replace(b"an-id", b"a" * 129)),
    "no host": request(),
    "no end": request(b"Host: h")[:-2],
    "something behind": request(b"Host: h") + b"G",
    "two requests": request(b"Host: h") * 2,
    "bare line feeds": request(b"Host: h").replace(b"\r\n", b"\n"),
    "a bare line feed in a field": request(b"Host: h", b"X: a\nY: b"),
    "a bare carriage return": request(b"Host: h", b"X: a\rY: b"),
    "folding": request(b"Host: h", b" folded"),
    "a tab for folding": request(b"Host: h", b"\tfolded: x"),
    "no colon": request(b"Host: h", b"X"),
    "no name": request(b"Host: h", b": x"),
    "a blank before the colon": request(b"Host: h", b"X : x"),
    "a strange name": request(b"Host: h", b"X(): x"),
    "a zero": request(b"Host: h", b"X: \x00"),
    "eight bits": request(b"Host: h", b"X: \xe9"),
    "a delete": request(b"Host: h", b"X: \x7f"),
    "a field twice": request(b"Host: h", b"X: 1", b"x: 1"),
    "two hosts": request(b"Host: h", b"host: h"),
    "two ranges": request(b"Host: h", b"Range: bytes=0-1", b"Range: bytes=0-1"),
    "several ranges": request(b"Host: h", b"Range: bytes=0-1,3-4"),
    "the last bytes": request(b"Host: h", b"Range: bytes=-5"),
    "a range in capitals": request(b"Host: h", b"RANGE: bytes=0-1"),
    "a padded range": request(b"Host: h", b"Range:  bytes=0-1"),
    "a range with a blank behind": request(b"Host: h", b"Range: bytes=0-1 "),
    "another unit": request(b"Host: h", b"Range: items=0-1"),
    "a huge number": request(b"Host: h", b"Range: bytes=1000000000000000000-"),
    "too many fields": request(b"Host: h", *(b"X-%d: x" % at for at in range(FIELDS_MAX))),
    "too long": request(b"Host: h", b"X: " + b"x" * HEAD_BYTES_MAX),
    **{
        f"the field {name}": request(b"Host: h", name.encode() + b": 1")
        for name in (
            *("Content-Length", "Transfer-Encoding", "Content-Encoding", "Content-Range"),
            *("Expect", "Upgrade", "HTTP2-Settings", "TE", "Trailer", "If-Match", "If-None-Match"),
            *("If-Range", "If-Modified-Since", "If-Unmodified-Since", "Connection", "Keep-Alive"),
            *("Proxy-Connection", "Range", "Sec-WebSocket-Key1", "sec-anything", "CONTENT-LENGTH"),
        )
    },
    **{
        f"connection: {value.decode()}": request(b"Host: h", b"Connection: " + value)
        for value in (b"close", b"keep-alive, close", b"upgrade", b"x-auth-token", b"")
    },
}


@pytest.mark.parametrize("data", LEFT.values(), ids=LEFT)
def test_left_to_others(data: bytes) -> None:
    assert taken(data) is None


@pytest.mark.parametrize("place", range(len(request(b"Host: h"))))
def test_a_request_that_is_cut_is_left_to_others(place: int) -> None:
    assert taken(request(b"Host: h")[:place]) is None
    assert not whole_head(request(b"Host: h")[:place])


# --- the same with other numbers --------------------------------------------------------------------

_RANGED = request(b"Host: h", b"Range: bytes=12-345", b"X: x")


def test_a_request_again_with_another_range() -> None:
    repeat = Repeat.of(_RANGED)
    assert repeat is not None
    assert repeat.read(_RANGED) == (12, 345)
    assert repeat.read(_RANGED.replace(b"12-345", b"0-1")) == (0, 1)
    assert Repeat.of(request(b"Host: h")) is None


_middles = st.one_of(
    st.sampled_from([b"", b"-", b"1", b"1-", b"-1", b"1-2-3", b"1-2,3-4", b"+1-2", b"1- 2"]),
    st.sampled_from([b"1-2\r\nRange: bytes=3-4", b"1-2\r\n", b"1-" + b"9" * 19, b"9" * 19 + b"-1"]),
    st.binary(max_size=6),
    st.builds(lambda first, last: b"%d-%d" % (first, last), *[st.integers(0, 10**19)] * 2),
)


@given(_middles, st.integers(0, len(_RANGED)), st.sampled_from([b"", b"\r\n", b"GET", b"-", b"1"]))
def test_it_means_what_it_means_at_length(middle: bytes, place: int, extra: bytes) -> None:
    repeat = Repeat.of(_RANGED)
    assert repeat is not None
    changed = _RANGED.replace(b"12-345", middle)
    for data in (changed, changed[:place], changed[:place] + extra + changed[place:]):
        read = repeat.read(data)
        if read is not None:
            found = taken(data)
            assert found is not None
            assert (found[0].first, found[0].last) == read
            assert found[1] == read_fields(b"\r\nHost: h\r\nX: x")


# --- what aiohttp reads -----------------------------------------------------------------------------


class Parsed:
    """What aiohttp's parser reads, set up as it is for the proxy's clients."""

    def __init__(self, data: bytes) -> None:
        loop = asyncio.new_event_loop()
        try:
            self._parser: Any = HttpRequestParser(
                BaseProtocol(loop),
                loop,
                1 << 16,
                max_line_size=HEADER_BYTES_MAX,
                max_field_size=HEADER_BYTES_MAX,
                max_headers=HEADERS_MAX,
                auto_decompress=False,
            )
            messages, self.upgraded, self.tail = self._parser.feed_data(data)
            self.messages: list[RawRequestMessage] = [message for message, _ in messages]
            self.bodies = [body for _, body in messages if not body.is_eof()]
        finally:
            loop.close()

    def once_more(self, data: bytes) -> int:
        """Read what comes next on the connection; the number of requests."""
        return len(self._parser.feed_data(data)[0])


_names = st.one_of(
    st.sampled_from(["X", "Connection", "Range", "Upgrade", "Content-Length", "TE", "host"]),
    st.sampled_from(["content-length ", "Transfer-Encoding", "\tX", "Expect", "Sec-X", ""]),
    st.text("!#$%&'*+.^_`|~0aAzZ-", min_size=1, max_size=6),
)
_values = st.one_of(
    st.sampled_from(["h", "keep-alive", "bytes=0-1", "bytes=5-", "0", "chunked", "100-continue"]),
    st.text(st.characters(max_codepoint=255), max_size=8),
    st.text(" \tab:,=;\r\n", max_size=8),
)
_fields = st.builds(
    lambda name, blank, value: f"{name}:{blank}{value}", _names, st.text(" \t", max_size=2), _values
)
_lines = st.one_of(
    st.just(LINE.decode()),
    st.builds(
        lambda method, image_id, end: f"{method} /v2/images/{image_id}/file{end}",
        st.sampled_from(["GET", "HEAD", "POST", "get"]),
        st.text("aZ09._-%/", min_size=1, max_size=4),
        st.sampled_from([" HTTP/1.1", " HTTP/1.0", "? HTTP/1.1", "", " HTTP/1.1 "]),
    ),
)
_ends = st.sampled_from(["\r\n\r\n"] * 4 + ["\r\n", "\n\n", "\r\n\r\n\r\n", "\r\n\r\nX"])
heads = st.builds(
    lambda line, fields, end: ("\r\n".join([line, "Host: h", *fields]) + end).encode("latin-1"),
    _lines,
    st.lists(_fields, max_size=5),
    _ends,
)


@example(request(b"Host: h", *TAKEN["unpadded"]))
@example(request(b"Host: h", b"Range: bytes=007-0"))
@example(request(*(b"X-%d: x" % at for at in range(FIELDS_MAX - 1)), b"Host: h"))
@example(request(b"Host: h", b"X: " + b"x" * (HEAD_BYTES_MAX - 100)))
@given(heads)
def test_what_is_taken_aiohttp_reads_alike(data: bytes) -> None:
    found = taken(data)
    if found is None:
        return
    asked, fields = found
    parsed = Parsed(data)
    (message,) = parsed.messages
    assert (message.method, message.version) == ("GET", HttpVersion11)
    assert message.path == f"/v2/images/{asked.image_id}/file"
    headers = [(str(name), value) for name, value in message.headers.items()]
    assert [pair for pair in headers if pair[0].lower() != "range"] == list(fields.headers)
    ranges = [value for name, value in headers if name.lower() == "range"]
    numbers = [value.removeprefix("bytes=").split("-") for value in ranges]
    read = [[int(number) if number else -1 for number in pair] for pair in numbers]
    assert read == ([] if asked.first < 0 else [[asked.first, asked.last]])
    assert (message.should_close, message.upgrade, message.chunked) == (False,) * 3
    assert message.compression is None
    assert not parsed.bodies
    assert (parsed.upgraded, parsed.tail) == (False, b"")
    assert parsed.once_more(data) == 1, "it stands where it stood"


@example(request(b"Host: h"))
@example(request(b"Host: h", b"Connection: upgrade"))
@example(request(line=b"GET / HTTP/1.1"))
@example(request(b"Host: h", line=b"GET / HTTP/1.0"))
@example(request(b"Host: h", line=b"HEAD * HTTP/1.1"))
@example(request(b"Host: h", b" Content-Length: 5"))
@given(heads)
def test_after_one_whole_head_the_parser_stands_where_it_stood(data: bytes) -> None:
    """Or it has refused it, and ends the connection."""
    if not whole_head(data):
        return
    try:
        parsed = Parsed(data)
    except HttpProcessingError:
        return
    (message,) = parsed.messages
    assert not parsed.bodies
    assert (parsed.upgraded, parsed.tail) == (False, b"")
    if not message.should_close:
        assert parsed.once_more(request(b"Host: h")) == 1


@pytest.mark.parametrize(
    "data",
    [
        request(b"Host: h", line=b"POST / HTTP/1.1"),
        request(b"Host: h", b"Content-Length: 0"),
        request(b"Host: h", b"content-length\t:5"),
        request(b"Host: h", b"Transfer-Encoding: chunked"),
        request(b"Host: h", b"UPGRADE: websocket"),
        request(b"Host: h", b"Expect: 100-continue"),
        request(b"Host: h", b"X: a\nContent-Length: 5"),
        request(b"Host: h", b"X: a\rContent-Length: 5"),
        request(b"Host: h") * 2,
    ],
)
def test_where_that_is_not_sure(data: bytes) -> None:
    assert not whole_head(data)
