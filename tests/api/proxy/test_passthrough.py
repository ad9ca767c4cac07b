"""Requests through the pass-through: what the client asked is what the upstream hears."""

from __future__ import annotations

import gzip

import pytest

from cacheproxy.headers import HOP_BY_HOP
from harness.raw_origin import always
from harness.relay import chunked, relaying, request

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


# What is asked.


@pytest.mark.parametrize(
    "method",
    [
        *("GET", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE"),
        *("PROPFIND", "LOCK", "PURGE", "LINK", "REPORT"),
    ],
)
async def test_any_method_passes(method: str) -> None:
    async with relaying(always(OK)) as relay:
        reply = await relay.ask(f"{method} /v2/x HTTP/1.1")
        assert (reply.status, reply.body) == (200, b"ok")
        assert [asked.method for asked in relay.origin.requests] == [method]
        assert relay.counted(200) == 1


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/versions",
        "/healthcheck",
        "/v2/images?limit=5&sort=name:asc,size:desc&name=in:%22a,b%22,c",
        "/v2/images/%7E%2f..%2F%00%ff?x=%zz&&y=+%20&x=1",
        "/v2/a/../b/./c//d///",
        "//double//slash",
        "/v2/a;b=c/@:!$&'()*,=~",
        '/v2/{a}|b^`"<>\\',
        "/v2/images?tag=a&tag=b&tag=",
        "/v2/images?a=?b/c",
        "/a%3Fb%23c",
        "/" + "x" * 7000,
    ],
)
@pytest.mark.parametrize("path", ["", "/image"])
async def test_the_target_passes_to_the_letter(target: str, path: str) -> None:
    async with relaying(always(OK), path=path) as relay:
        reply = await relay.ask(f"GET {target} HTTP/1.1")
        assert reply.status == 200
        assert [asked.target for asked in relay.origin.requests] == [path + target]


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        ("http://elsewhere:80/v2/a%20b?c", "/v2/a%20b?c"),
        ("HTTP://elsewhere/", "/"),
    ],
)
async def test_the_absolute_form_of_a_target(target: str, sent: str) -> None:
    async with relaying(always(OK)) as relay:
        assert (await relay.ask(f"GET {target} HTTP/1.1")).status == 200
        assert [asked.target for asked in relay.origin.requests] == [sent]


@pytest.mark.parametrize("head", ["OPTIONS * HTTP/1.1", "CONNECT glance.example:443 HTTP/1.1"])
async def test_targets_without_a_path_are_refused(head: str) -> None:
    async with relaying(always(OK)) as relay:
        assert (await relay.ask(head)).status == 400
        assert relay.origin.connections == 0
        assert relay.counted(400) == 1


async def test_fields_pass_as_they_are() -> None:
    async with relaying(always(OK)) as relay:
        await relay.ask(
            """GET /v2/images HTTP/1.1
            X-Auth-Token: user
            X-Service-Token: service
            X-OpenStack-Request-ID: req-1
            Content-Type: application/octet-stream
            Accept: */*
            X-Twice: 1
            Range: bytes=0-4
            If-None-Match: "a", "b"
            Accept-Encoding: gzip, deflate
            Cookie: a=b; c="d"
            X-Twice: 2
            x-twice: 3
            Authorization: Basic x
            User-Agent: python-glanceclient
            X-Empty:
            X-Utf8: grün"""
        )
        (asked,) = relay.origin.requests
    got = [(name, value) for name, value in asked.fields if name != "host"]
    assert got == [
        ("x-auth-token", "user"),
        ("x-service-token", "service"),
        ("x-openstack-request-id", "req-1"),
        ("content-type", "application/octet-stream"),
        ("accept", "*/*"),
        ("x-twice", "1"),
        ("range", "bytes=0-4"),
        ("if-none-match", '"a", "b"'),
        ("accept-encoding", "gzip, deflate"),
        ("cookie", 'a=b; c="d"'),
        ("x-twice", "2"),
        ("x-twice", "3"),
        ("authorization", "Basic x"),
        ("user-agent", "python-glanceclient"),
        ("x-empty", ""),
        ("x-utf8", "grün".encode().decode("latin-1")),
    ]


async def test_nothing_is_added_and_the_host_is_the_upstreams() -> None:
    async with relaying(always(OK)) as relay:
        await relay.ask("GET / HTTP/1.1\nHost: elsewhere")
        (asked,) = relay.origin.requests
        assert asked.fields == [("host", relay.origin.url.removeprefix("http://"))]


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_hop_by_hop_fields_of_a_request_end_here(method: str) -> None:
    hops = "\n".join(f"{name}: x" for name in HOP_BY_HOP - {"connection", "transfer-encoding"})
    async with relaying(always(OK)) as relay:
        await relay.ask(
            f"{method} / HTTP/1.1\n{hops}\nConnection: keep-alive, X-Mine\nX-Mine: 1\nX-Yours: 2"
        )
        (asked,) = relay.origin.requests
        names = {name for name, _ in asked.fields}
        assert names - {"host", "content-length", "connection"} == {"x-yours"}
        assert asked.all("connection") == ([] if method == "GET" else ["close"])


async def test_an_upgrade_is_not_made() -> None:
    async with relaying(always(OK)) as relay:
        client = await relay.client()
        for _ in range(2):
            reply = await client.ask(
                "GET / HTTP/1.1\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Key: x"
            )
            assert reply.status == 200
        assert [asked.one("upgrade") for asked in relay.origin.requests] == [None, None]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "GET", "DELETE"])
async def test_a_body_with_a_length(method: str) -> None:
    async with relaying(always(OK)) as relay:
        head = f"{method} /v2/images HTTP/1.1\nContent-Length: 5\nContent-Type: a/b"
        assert (await relay.ask(head, b"hello")).status == 200
        (asked,) = relay.origin.requests
        assert asked.body == b"hello"
        assert asked.one("content-length") == "5"
        assert asked.one("transfer-encoding") is None
        assert asked.one("content-type") == "a/b"


async def test_a_body_in_chunks() -> None:
    async with relaying(always(OK)) as relay:
        head = "PUT /v2/images/i/file HTTP/1.1\nTransfer-Encoding: chunked"
        assert (await relay.ask(head, chunked(b"hello", b" ", b"world"))).status == 200
        (asked,) = relay.origin.requests
        assert asked.body == b"hello world"
        assert asked.one("content-length") is None
        assert asked.one("content-type") is None


@pytest.mark.parametrize("head", ["Content-Length: 0", "Transfer-Encoding: chunked"])
async def test_an_empty_body(head: str) -> None:
    body = chunked() if "chunked" in head else b""
    async with relaying(always(OK)) as relay:
        assert (await relay.ask(f"POST /v2/images HTTP/1.1\n{head}", body)).status == 200
        assert [asked.body for asked in relay.origin.requests] == [b""]


async def test_the_coding_of_a_body_is_not_touched() -> None:
    packed = gzip.compress(b"hello")
    async with relaying(always(OK)) as relay:
        head = f"POST / HTTP/1.1\nContent-Encoding: gzip\nContent-Length: {len(packed)}"
        assert (await relay.ask(head, packed)).status == 200
        (asked,) = relay.origin.requests
        assert asked.body == packed
        assert asked.one("content-encoding") == "gzip"


@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: 5\nTransfer-Encoding: chunked",
        "Content-Length: 5\nContent-Length: 6",
        "Content-Length: +5",
        "Content-Length: 5, 5",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding : chunked",
        "X-A: b\n folded: c",
        "X A: b",
        "X-A: b\rc",
        "X-A: b\x00c",
    ],
)
async def test_smuggling_is_refused(head: str) -> None:
    """What two servers may frame differently does not reach the second."""
    async with relaying(always(OK)) as relay:
        client = await relay.client()
        lines = "\r\n".join(["POST / HTTP/1.1", "Host: x", *head.split("\n"), "", ""])
        await client.send(lines.encode() + chunked(b"hello") + request("GET /secret HTTP/1.1"))
        reply = await client.reply()
        assert reply.status == 400
        await client.closed()
        assert relay.origin.connections == 0
