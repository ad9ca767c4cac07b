"""Links through the pass-through: where Glance was asked becomes where the client asked."""

from __future__ import annotations

import json

import pytest

from cacheproxy.links import VERSIONS_BYTES_MAX
from harness.raw_origin import Peer, always
from harness.relay import chunked, relaying


def answer(head: str, body: bytes = b"") -> bytes:
    """Write an answer from the lines of its head."""
    return "\r\n".join([*[line.strip() for line in head.splitlines()], "", ""]).encode() + body


def listing(base: str) -> bytes:
    """Write a list of versions as Glance does."""
    links = [{"rel": "self", "href": f"{base}/v2/"}]
    return json.dumps({"versions": [{"id": "v2.18", "links": links}]}).encode()


async def glance(peer: Peer) -> None:
    """Answer as Glance does: with links made from the Host and path that it sees."""
    while True:
        asked = await peer.request()
        base = f"http://{asked.one('host')}"
        if asked.method == "POST":
            head = f"HTTP/1.1 201 Created\nLocation: {base}{asked.target}/1\nContent-Length: 0"
            await peer.send(answer(head))
            continue
        body = listing(base)
        status = "200 OK" if asked.target == "/versions" else "300 Multiple Choices"
        head = f"HTTP/1.1 {status}\nContent-Type: application/json\nContent-Length: {len(body)}"
        await peer.send(answer(head, b"" if asked.method == "HEAD" else body))


@pytest.mark.parametrize("path", ["", "/image"])
async def test_a_location_on_the_upstream(path: str) -> None:
    async with relaying(glance, path=path) as relay:
        reply = await relay.ask("POST /v2/images HTTP/1.1\nHost: 10.0.0.1:9292")
        assert relay.origin.heads[0].target == f"{path}/v2/images"
    assert reply.one("location") == "http://10.0.0.1:9292/v2/images/1"


async def test_each_of_several_locations() -> None:
    elsewhere = "http://elsewhere/x"
    async with relaying(
        always(answer(f"HTTP/1.1 201 C\nLocation: {elsewhere}\nLocation: /v2/y\nContent-Length: 0"))
    ) as relay:
        reply = await relay.ask("POST / HTTP/1.1")
    assert reply.all("location") == [elsewhere, "/v2/y"]


@pytest.mark.parametrize(
    ("target", "status"), [("/", 300), ("/versions", 200), ("/versions/", 300), ("/v1/x?y", 300)]
)
async def test_a_list_of_versions(target: str, status: int) -> None:
    async with relaying(glance) as relay:
        reply = await relay.ask(f"GET {target} HTTP/1.1\nHost: a-much-longer-name.example:9292")
        absolute = await relay.ask(f"GET HTTP://10.1.2.3{target} HTTP/1.1\nHost: other")
    assert reply.status == absolute.status == status
    assert reply.body == listing("http://a-much-longer-name.example:9292")
    assert absolute.body == listing("http://10.1.2.3")
    assert reply.one("content-length") == str(len(reply.body))


async def test_a_head_does_not_tell_the_length_of_another_list() -> None:
    async with relaying(glance) as relay:
        client = await relay.client()
        for _ in range(2):  # the connection goes on
            reply = await client.ask("HEAD / HTTP/1.1")
            assert (reply.status, reply.one("content-length")) == (300, None)
            assert reply.one("transfer-encoding") is None


async def test_who_does_not_say_where_he_came_from_gets_what_glance_says() -> None:
    async with relaying(glance) as relay:
        client = await relay.client()
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert (await client.reply("GET")).body == listing(relay.origin.url)


@pytest.mark.parametrize("size", [VERSIONS_BYTES_MAX, VERSIONS_BYTES_MAX + 1, 5 << 20])
async def test_a_body_that_is_no_list_of_versions(size: int) -> None:
    body = bytes(size)
    head = answer(f"HTTP/1.1 300 M\nContent-Length: {size}")
    async with relaying(always(head + body)) as relay:
        assert (await relay.ask("GET /x HTTP/1.1")).body == body


async def test_a_list_of_versions_without_a_length() -> None:
    text = answer("HTTP/1.1 300 M\nTransfer-Encoding: chunked")

    async def script(peer: Peer) -> None:
        await peer.request()
        document = listing(peer.origin.url)
        await peer.send(text + chunked(document[:7], document[7:]))

    async with relaying(script) as relay:
        reply = await relay.ask("GET / HTTP/1.1\nHost: here")
    assert reply.body == listing("http://here")
    assert reply.one("content-length") is None


async def test_a_list_of_versions_that_is_cut_is_no_answer() -> None:
    text = answer("HTTP/1.1 300 M\nContent-Length: 100", b"{")

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(text)

    async with relaying(script) as relay:
        assert (await relay.ask("GET / HTTP/1.1")).status == 503
        assert relay.counted(503) == 1
