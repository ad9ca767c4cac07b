"""Answers through the pass-through: what the upstream said is what the client hears."""

from __future__ import annotations

import gzip

import pytest

from cacheproxy.headers import HOP_BY_HOP
from harness.raw_origin import Peer, always
from harness.relay import chunked, relaying, request

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def answer(head: str, body: bytes = b"") -> bytes:
    """Write an answer from the lines of its head."""
    return "\r\n".join([*[line.strip() for line in head.splitlines()], "", ""]).encode() + body


@pytest.mark.parametrize(
    "status", [200, 201, 202, 300, 302, 400, 401, 403, 404, 405, 409, 410, 413, 415, 500, 503, 599]
)
async def test_any_status_passes_with_its_reason(status: int) -> None:
    text = answer(f"HTTP/1.1 {status} A  strange (reason)\nContent-Length: 3", b"why")
    async with relaying(always(text)) as relay:
        reply = await relay.ask("GET / HTTP/1.1")
        assert (reply.status, reply.reason, reply.body) == (status, "A  strange (reason)", b"why")
        assert relay.counted(status) == 1


async def test_fields_of_an_answer_pass_as_they_are() -> None:
    text = answer(
        """HTTP/1.1 300 Multiple Choices
        Content-Type: application/json; charset=UTF-8
        x-openstack-request-id: req-2
        Location: http://glance.example:9292/v2/images/a%20b?c#d
        Link: <http://glance.example/next>; rel="next"
        WWW-Authenticate: Keystone uri="https://keystone.example/v3"
        Set-Cookie: a=b; Path=/
        Set-Cookie: c=d
        Server: Glance
        Date: Mon, 01 Jan 2001 00:00:00 GMT
        ETag: W/"x"
        Content-MD5: 900150983cd24fb0d6963f7d28e17f72
        Content-Length: 2""",
        b"{}",
    )
    async with relaying(always(text)) as relay:
        reply = await relay.ask("GET / HTTP/1.1")
    lines = text.decode().split("\r\n")[1:-2]
    # aiohttp's parser spells a few well-known names its own way (Etag).
    assert [f"{name}: {value}".lower() for name, value in reply.fields] == [
        line.lower() for line in lines
    ]


async def test_only_a_date_is_added_to_an_answer() -> None:
    async with relaying(always(OK)) as relay:
        reply = await relay.ask("GET / HTTP/1.1")
    assert {name for name, _ in reply.fields} == {"Content-Length", "Date"}


async def test_hop_by_hop_fields_of_an_answer_end_here() -> None:
    names = HOP_BY_HOP - {"connection", "transfer-encoding", "upgrade"}
    hops = "\n".join(f"{name}: x" for name in names)
    text = answer(
        f"HTTP/1.1 200 OK\nContent-Length: 2\n{hops}\nConnection: X-Mine, keep-alive\nX-Mine: 1",
        b"ok",
    )
    async with relaying(always(text)) as relay:
        reply = await relay.ask("GET / HTTP/1.1")
        assert {name for name, _ in reply.fields} == {"Content-Length", "Date"}


async def test_a_chunked_answer() -> None:
    text = answer("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", chunked(b"hello ", b"world"))
    async with relaying(always(text)) as relay:
        reply = await relay.ask("GET / HTTP/1.1")
        assert reply.body == b"hello world"
        assert reply.one("content-length") is None
        assert reply.one("content-type") is None


async def test_a_chunked_answer_to_a_client_without_chunks() -> None:
    text = answer("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", chunked(b"hello ", b"world"))
    async with relaying(always(text)) as relay:
        client = await relay.client()
        reply = await client.ask("GET / HTTP/1.0\nConnection: keep-alive")
        assert reply.body == b"hello world"
        assert reply.one("transfer-encoding") is None
        assert not await client.closed()


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_an_answer_that_ends_with_the_connection(version: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer(f"HTTP/{version} 200 OK\nConnection: close", b"hello"))

    async with relaying(script) as relay:
        client = await relay.client()
        for _ in range(2):
            assert (await client.ask("GET / HTTP/1.1")).body == b"hello"
        assert relay.origin.connections == 2


async def test_the_coding_of_an_answer_is_not_touched() -> None:
    packed = gzip.compress(b"hello")
    text = answer(f"HTTP/1.1 200 OK\nContent-Encoding: gzip\nContent-Length: {len(packed)}", packed)
    async with relaying(always(text)) as relay:
        reply = await relay.ask("GET / HTTP/1.1")
        assert reply.body == packed
        assert reply.one("content-encoding") == "gzip"


async def test_head_has_a_length_and_no_body() -> None:
    async with relaying(always(answer("HTTP/1.1 200 OK\nContent-Length: 7000000"))) as relay:
        client = await relay.client()
        for _ in range(2):
            reply = await client.ask("HEAD /v2/images HTTP/1.1")
            assert reply.one("content-length") == "7000000"
            assert reply.one("transfer-encoding") is None
        assert [asked.method for asked in relay.origin.requests] == ["HEAD", "HEAD"]


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_a_body(status: int) -> None:
    async with relaying(always(answer(f"HTTP/1.1 {status} X\nX-A: b"))) as relay:
        client = await relay.client()
        for _ in range(2):
            reply = await client.ask("GET / HTTP/1.1")
            assert (reply.status, reply.one("x-a")) == (status, "b")
            assert reply.one("content-length") is None
            assert reply.one("transfer-encoding") is None


async def test_interim_answers_are_not_taken_for_the_answer() -> None:
    text = answer("HTTP/1.1 103 Early Hints\nLink: </x>") + answer("HTTP/1.1 102 Processing") + OK
    async with relaying(always(text)) as relay:
        reply = await relay.ask("GET / HTTP/1.1")
        assert (reply.status, reply.body) == (200, b"ok")


async def test_redirects_are_not_followed() -> None:
    text = answer("HTTP/1.1 301 Moved\nLocation: /elsewhere\nContent-Length: 0")
    async with relaying(always(text)) as relay:
        reply = await relay.ask("GET /v2 HTTP/1.1")
        assert (reply.status, reply.one("location")) == (301, "/elsewhere")
        assert len(relay.origin.requests) == 1


async def test_cookies_are_not_remembered() -> None:
    text = answer("HTTP/1.1 200 OK\nSet-Cookie: a=b\nContent-Length: 0")
    async with relaying(always(text)) as relay:
        for _ in range(2):
            await relay.ask("GET / HTTP/1.1")
        assert [asked.one("cookie") for asked in relay.origin.requests] == [None, None]


async def test_pipelined_requests_are_answered_in_order() -> None:
    async def script(peer: Peer) -> None:
        while True:
            asked = await peer.request()
            body = asked.target.encode()
            await peer.send(answer(f"HTTP/1.1 200 OK\nContent-Length: {len(body)}", body))

    async with relaying(script) as relay:
        client = await relay.client()
        await client.send(b"".join(request(f"GET /{n} HTTP/1.1") for n in range(5)))
        assert [(await client.reply()).body for _ in range(5)] == [b"/%d" % n for n in range(5)]
        assert relay.origin.connections == 1
