"""What clients send: mostly ordinary requests, and everything that is nearly one."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from fuzz.conversation import Conversation, Event, Kind, Line, Pace, Part

T = TypeVar("T")

SIZES = {"large": 300_000, "small": 1000, "single": 1, "unproven": 70_000, "empty": 0}
IMAGES = (*SIZES, "foreign", "unknown", "refused")
WARM = ("large", "small", "single")  # those that the worker has served before
USUAL_MAX = 4  # ordinary requests before one that is not


@cache
def among(*choices: T) -> SearchStrategy[T]:
    """Choose one of these; making a strategy takes longer than drawing from it."""
    return st.sampled_from(choices)


@cache
def below(stop: int) -> SearchStrategy[int]:
    """Choose a number that is not negative."""
    return st.integers(0, stop - 1)


@cache
def often(common: T, *others: T, times: int = 4) -> SearchStrategy[T]:
    """Choose one of these, the first one so many times as often as any other."""
    return st.sampled_from([common] * times * max(1, len(others)) + list(others))


# --- the fields that say who asks -----------------------------------------------------------------

HOST = b"Host: node.example:9292"
TOKENS = (b"X-Auth-Token: gAAAA-of_a.member", b"x-auth-token: short")
MANNERS = (
    b"User-Agent: glanceclient/4.13",
    b"Accept: */*",
    b"Accept-Encoding: gzip, deflate",
    b"Connection: keep-alive",
    b"X-OpenStack-Request-ID: req-brought",
    b"traceparent: 00-1-2-01",
    b"Date: Mon, 23 Nov 2026 01:00:00 GMT",
)
ODD_MANNERS = (
    b"user-agent:tight",
    b"connection:\tKeep-Alive ",
    b"x-openstack-request-id: bare",
    b"x-openstack-request-id: ",
    b"X-Anything: \t padded \t",
    b"X-Latin: \xe9",
    b"X-Service-Token: service",
)
callers = st.builds(
    lambda token, manners, odd: (token, *manners, *odd),
    st.sampled_from(TOKENS),
    st.lists(st.sampled_from(MANNERS), max_size=4, unique=True),
    st.lists(st.sampled_from(ODD_MANNERS), max_size=1),
)

# --- ranges ---------------------------------------------------------------------------------------

NUMBERS = (
    *("0", "1", "7", "16383", "16384", "16385", "40000", "65535", "65536", "299999", "300000"),
    *("300001", "00", "007", "18446744073709551616", "9" * 30, "9" * 31, "0" * 40 + "5"),
    *("+1", "-1", "1_0", "0x1", "1e3", "\u0661", " 1", "1 ", "\t1", ""),
)
STARTS = (0, 1, 999, 16_383, 16_384, 65_535, 65_536, 131_072, 200_000, 299_999)
FORMS = (
    *("bytes={0}-{1}", "bytes={0}-", "bytes=-{0}", "bytes={0}", "bytes={0}-{1},{1}-", "{0}-{1}"),
    *("bytes {0}-{1}", "bytes = {0} - {1}", "BYTES={0}-{1}", "Bytes={0}-", " bytes={0}-{1}"),
    *("bytes={0}-{1} ", "bytes={0}-{1},", "bytes=,", "bytes=", "bytes=-", "items={0}-{1}", ""),
    *(
        "bytes={0}--{1}",
        "bytes={0}-{1}-",
        "bytes=={0}-{1}",
        "bytes={0}-{1}\x0b",
        "bytes={0}-{1}\xa0",
    ),
)


@st.composite
def good_ranges(draw: DrawFn, size: int) -> Line:
    """Draw a range of an image of this size."""
    start = draw(among(*(at for at in STARTS if at < size)))
    length = draw(among(1, 4096, 16_384, 16_385, 65_536, 100_000, 262_144, 1_000_000))
    form: str = draw(often("bytes={0}-{1}", "bytes={0}-", "bytes=-{0}", times=2))
    return b"Range: " + form.format(start, start + length - 1).encode()


@st.composite
def odd_ranges(draw: DrawFn) -> Line:
    """Draw what may be no range at all."""
    form: str = draw(among(*FORMS))
    number = among(*NUMBERS)
    name: bytes = draw(often(b"Range: ", b"range:", b"RANGE: ", b"Range : ", b"Range:\t", times=2))
    return name + form.format(draw(number), draw(number)).encode()


# --- other fields that change what a request means --------------------------------------------------

OTHERS = (
    *(b'If-Range: "large"', b'If-Range: "small"', b"If-Range: x", b'If-Range: W/"large"'),
    *(b"If-Range: Mon, 23 Nov 2026 01:00:00 GMT", b'If-Range:  "large" ', b"If-Range:"),
    *(b'If-None-Match: "large"', b"If-None-Match: *", b'If-None-Match: "x", W/"small"'),
    *(
        b"If-None-Match: large",
        b'If-Match: "x"',
        b"If-Unmodified-Since: x",
        b"If-Modified-Since: x",
    ),
    *(b"Content-Range: bytes 0-1/2", b"content-range: bytes=0-9"),
    *(b"Content-Length: 0", b"Content-Length: 5", b"Content-Length: 00", b"Content-Length: +0"),
    *(b"Content-Length: -1", b"Content-Length: 0, 0", b"Content-Length: 0x0", b"Content-Length:"),
    *(b"content-length: 99999999999999999999", b"Content-Length : 0", b"Content-Length: 0 "),
    *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", b"transfer-encoding: Chunked"),
    *(b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked, chunked"),
    *(b"Transfer-Encoding:chunked", b"Transfer-Encoding : chunked", b"Transfer-Encoding: xchunked"),
    *(b"Transfer-Encoding:\x0bchunked", b"Transfer-Encoding:"),
    *(b"Expect: 100-continue", b"Expect: 100-Continue", b"Expect: something", b"Expect:"),
    *(b"Upgrade: websocket", b"Upgrade: h2c", b"Connection: Upgrade", b"Connection: close"),
    *(
        b"Connection: close, keep-alive",
        b"Connection: CLOSE",
        b"Connection: keep-alive, x-auth-token",
    ),
    *(b"Connection: x-auth-token", b"Connection: range", b"Connection:", b"Keep-Alive: timeout=5"),
    *(b"Sec-WebSocket-Key1: 1", b"TE: trailers", b"Trailer: X", b"Content-Encoding: gzip"),
    *(
        b"Host: other",
        b"host:",
        b"Host: a b",
        b"Cookie: a=b",
        b"X-Roles: admin",
        b"X-Long: " + b"x" * 9000,
    ),
    *(b"x-openstack-request-id: " + b"x" * 65, b"X-OpenStack-Request-ID: req-second"),
    *(b"X-Auth-Token: another", b"X-Image-Meta-Owner: me", b"X-Forwarded-For: 1.2.3.4"),
    *(
        b" folded: value",
        b"\tfolded",
        b"no colon",
        b": no name",
        b"Na me: x",
        b"Na\xefme: x",
        b"X: \x00",
    ),
    *(b"X: a\x7f", b"X: a\rb", b"X: a\nb", b"X_Under: 1", b"X!#$%&'*+.^`|~: 1", b"X:\xff\xfe", b""),
    *(b"(comment): x", b'"quoted": x', b"X: \xc3\xa9", b"\xef\xbb\xbfHost: x", b"GET / HTTP/1.1"),
)
others = st.sampled_from(OTHERS)

# --- the first line ---------------------------------------------------------------------------------

METHODS = (
    *(
        b"HEAD",
        b"POST",
        b"PUT",
        b"DELETE",
        b"PATCH",
        b"OPTIONS",
        b"TRACE",
        b"CONNECT",
        b"PRI",
        b"get",
    ),
    *(
        b"Get",
        b"GETT",
        b"GE",
        b"G\xcbT",
        b"",
        b" GET",
        b"GET\t",
        b"\r\nGET",
        b"\r\n\r\nGET",
        b"\nGET",
    ),
)
VERSIONS = (
    *(b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/0.9", b"http/1.1", b"HTTP/1.", b"HTTP/11", b""),
    *(
        b"HTTP/1.1 ",
        b"HTTP/1.01",
        b"HTTP/1.1x",
        b"HTTP/1,1",
        b" HTTP/1.1",
        b"HTTP /1.1",
        b"XTTP/1.1",
    ),
)
PATHS = (
    *("/v2/images/{0}/file?", "/v2/images/{0}/file?a=b", "/v2/images/{0}/file?prefer=x"),
    *(
        "/v2/images/{0}/file#x",
        "/v2/images/{0}/file/",
        "/v2/images/{0}/file%20",
        "/v2/images/{0}/fil",
    ),
    *("/v2/images/{0}", "/v2/images/{0}/files", "/v2//images/{0}/file", "//v2/images/{0}/file"),
    *(
        "/v2/./images/{0}/file",
        "/v2/x/../images/{0}/file",
        "/V2/images/{0}/file",
        "/v2.0/images/{0}/file",
    ),
    *("http://node.example:9292/v2/images/{0}/file", "https://x/v2/images/{0}/file", "*", "/"),
    *(
        "node.example:9292",
        "v2/images/{0}/file",
        "/v2/images/%6carge/file",
        "/v2/images/{0}%00/file",
    ),
    *(
        "/v2/images/{0};x/file",
        "/v2/images/{0}\\/file",
        "/v2/images/{0}\t/file",
        "/v2/images/{0} /file",
    ),
    *(
        "/v2/images/{0}\xe9/file",
        "/v2/images/.{0}/file",
        "/v2/images/-{0}/file",
        "/v2/images//file",
    ),
    *(
        "/v2/images/{0}|/file",
        '/v2/images/"{0}"/file',
        "/v2/images/{0}\x01/file",
        "/v2/images/{0}\x7f/file",
    ),
    *(
        "/v2%2fimages/{0}/file",
        "/v2/images/{0}%2ffile",
        "/v2/images/{0}/file\x00",
        "?/v2/images/{0}/file",
    ),
    "/v2/images/" + "{0}" * 30 + "/file",
    "/v2/images/" + "x" * 128 + "/file",
    "/v2/images/" + "x" * 129 + "/file",
    "/v2/images/" + "x" * 70_000 + "/file",
    *(
        "/cacheproxy/v1/images/{0}/url",
        "/cacheproxy/x",
        "/v2/cache",
        "/v2/schemas/image",
        "/metrics",
    ),
)
BODIES = (
    *(
        b"12345",
        b"5\r\n12345\r\n0\r\n\r\n",
        b"0\r\n\r\n",
        b"0\n\n",
        b"5;x=y\r\n12345\r\n0\r\nX: y\r\n\r\n",
    ),
    *(
        b"ffffffffffffffff1\r\n",
        b"-1\r\nx\r\n0\r\n\r\n",
        b"\r\n",
        b"\n",
        b"\x00",
        b"GET ",
        b" \r\n",
    ),
    *(
        b"GET /v2/images/small/file HTTP/1.1\r\nHost: smuggled\r\n\r\n",
        b"1\r\n",
        b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    ),
)
ENDS = (b"\n", b"\r", b"\r\r\n", b"\n\r", b" \r\n", b"\r\n ", b"\x85", b"")


@st.composite
def plain(draw: DrawFn, caller: tuple[Line, ...]) -> bytes:
    """Draw an ordinary request of a caller, with or without a range."""
    image = draw(among(*WARM))
    lines = [b"GET /v2/images/%b/file HTTP/1.1" % image.encode(), HOST, *caller]
    if draw(often(True, False, times=2)):
        lines.insert(1 + draw(below(len(lines))), draw(good_ranges(SIZES[image])))
    return b"\r\n".join((*lines, b"", b""))


ODDITIES = ("path", "method", "space", "version", "field", "range", "order", "end", "body")


@st.composite
def varied(draw: DrawFn, caller: tuple[Line, ...]) -> bytes:
    """Draw a request that has something about it, or two things."""
    odd = draw(st.lists(among(*ODDITIES), min_size=1, max_size=2))
    image = draw(among(*IMAGES))
    path = draw(among(*PATHS)) if "path" in odd else "/v2/images/{0}/file"
    method = draw(among(*METHODS)) if "method" in odd else b"GET"
    version = draw(among(*VERSIONS)) if "version" in odd else b"HTTP/1.1"
    space = draw(among(b"  ", b"\t", b"", b" \t")) if "space" in odd else b" "
    lines = [HOST, *caller]
    for each in odd:
        if each in {"field", "range"}:
            line = draw(others if each == "field" else odd_ranges())
            lines.insert(draw(below(len(lines) + 1)), line)
    if "order" in odd:
        at = draw(below(len(lines)))
        change = draw(among("duplicate", "drop", "swap"))
        if change == "duplicate":
            lines.append(lines[at])
        elif change == "drop":
            del lines[at]
        else:
            lines[0], lines[at] = lines[at], lines[0]
    lines.insert(0, space.join((method, path.format(image).encode("latin-1"), version)))
    ends = [b"\r\n"] * (len(lines) + 1)
    if "end" in odd:
        ends[draw(below(len(ends)))] = draw(among(*ENDS))
    data = b"".join(line + end for line, end in zip((*lines, b""), ends, strict=True))
    return data + draw(among(*BODIES)) if "body" in odd else data


@st.composite
def mutated(draw: DrawFn, of: SearchStrategy[bytes]) -> bytes:
    """Draw one of these with a few bytes changed."""
    data = bytearray(draw(of))
    for _ in range(draw(often(1, 2, 3, times=2))):
        at = draw(below(max(1, len(data)))) if len(data) < 4096 else 20
        match draw(among("insert", "delete", "flip", "case", "put", "tear")):
            case "insert":
                data.insert(at, draw(among(*b"\r\n \t:,;-=/\x00\xff%0GH")))
            case "delete":
                del data[at : at + 1]
            case "flip":
                data[at : at + 1] = bytes(each ^ (1 << at % 8) for each in data[at : at + 1])
            case "case":
                data[at : at + 1] = data[at : at + 1].swapcase()
            case "put":
                data[at : at + 1] = draw(among(b"\r", b"\n", b" ", b":", b"\x0c", b"1"))
            case _:
                del data[at:]
    return bytes(data)


@st.composite
def requests(draw: DrawFn, caller: tuple[Line, ...]) -> list[bytes]:
    """Draw what a connection carries: ordinary requests, and perhaps one that is not, among them."""
    usual = draw(st.lists(plain(caller), max_size=USUAL_MAX))
    kind = draw(among("varied", "varied", "mutated", "worse", "none", "none"))
    if kind == "none" and usual:
        return usual
    odd = {"mutated": mutated(plain(caller)), "worse": mutated(varied(caller))}
    return [*usual, draw(odd.get(kind, varied(caller))), *draw(st.lists(plain(caller), max_size=1))]


@st.composite
def connections(draw: DrawFn, caller: tuple[Line, ...]) -> tuple[int, tuple[Part, ...]]:
    """Draw what comes in on a connection: requests by themselves, together, or cut anywhere."""
    parts: list[Part] = []
    drawn = draw(requests(caller))
    for data in drawn:
        manner = draw(often("alone", "joined", "hasty", "cut", "cut twice", "event", times=2))
        if manner == "event":
            parts.append(draw(among(*Event)))
        elif manner == "hasty":
            parts.append(Pace.HASTY)
        elif manner == "joined" and parts and isinstance(parts[-1], bytes):
            parts[-1] += data
            continue
        cuts = {"cut": 1, "cut twice": 2}.get(manner, 0)
        at = sorted({draw(below(len(data) + 1)) for _ in range(cuts)} | {0, len(data)})
        parts += [piece for a, b in pairwise(at) if (piece := data[a:b])]
    return len(drawn), tuple(parts)


@st.composite
def conversations(draw: DrawFn) -> Conversation:
    """Draw one caller's connections."""
    caller = draw(callers)
    made = draw(st.lists(connections(caller), min_size=1, max_size=3))
    requests = sum(number for number, _ in made)
    kind: Kind = draw(often("fast", "guarded", "slow", times=2))
    return Conversation(caller, tuple(parts for _, parts in made), requests, kind)
