"""The pass-through when one side fails: what the other side learns, and what is left behind."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from cacheproxy.web import passthrough
from harness.raw_origin import Peer, Script, always
from harness.relay import relaying, request, until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
IMAGE = "0b8a4b6e-0000-4000-8000-000000000001"


# No answer.


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("GET /v2/images HTTP/1.1", b""),
        ("DELETE /v2/images/i HTTP/1.1", b""),
        ("POST /v2/images HTTP/1.1\nContent-Length: 2", b"{}"),
    ],
)
async def test_an_upstream_that_is_away(head: str, body: bytes) -> None:
    async with relaying(None) as relay:
        client = await relay.client()
        for _ in range(2):
            reply = await client.ask(head, body)
            assert (reply.status, reply.one("retry-after")) == (503, "1")
            assert b"cannot be reached" in reply.body
            if reply.one("connection") == "close":
                client = await relay.client()
        assert relay.counted(503) == 2


@pytest.mark.parametrize(
    "told", [b"", b"HTTP/1.1 20", b"nonsense\r\n\r\n", b"HTTP/1.1 99999 X\r\n\r\n"]
)
@pytest.mark.parametrize(("method", "status"), [("GET", 503), ("DELETE", 502)])
async def test_an_upstream_that_breaks_off_before_its_answer(
    method: str, status: int, told: bytes
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(told)

    async with relaying(script) as relay:
        reply = await relay.ask(f"{method} /v2/images/i HTTP/1.1")
        assert reply.status == status
        assert len(relay.origin.heads) <= (2 if method == "GET" else 1)
        assert relay.counted(status) == 1


async def test_a_stale_connection_costs_a_reader_nothing() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.head()  # and then the connection is closed without an answer

    async with relaying(script) as relay:
        client = await relay.client()
        for _ in range(3):
            assert (await client.ask("GET / HTTP/1.1")).status == 200
        assert relay.origin.connections == 3


@pytest.mark.parametrize(("method", "status"), [("GET", 503), ("POST", 504)])
async def test_an_upstream_that_says_nothing(method: str, status: int) -> None:
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.closed_by_peer()
        gone.set()

    async with relaying(script, read_seconds=0.01, change_seconds=0.01) as relay:
        assert (await relay.ask(f"{method} / HTTP/1.1\nContent-Length: 0")).status == status
        await gone.wait()


@pytest.mark.parametrize("field", [b"X-A: b\x01c", b"X-A: b\x00c", b"X\x01: b"])
async def test_control_characters_do_not_pass(field: bytes) -> None:
    async with relaying(
        always(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + field + b"\r\n\r\nok")
    ) as relay:
        client = await relay.client()
        reply = await client.ask("GET / HTTP/1.1")
        assert reply.status in {502, 503}
        assert reply.one("x-a") is None


# Answers that are cut.


FRAMED = (
    "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabc",
    "HTTP/1.1 500 Oops\r\nContent-Length: 6\r\n\r\nabc",
)
UNFRAMED = (  # a close is their end
    "HTTP/1.1 200 OK\r\n\r\nabc",
    "HTTP/1.0 200 OK\r\n\r\nabc",
)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize(
    ("end", "told"),
    [
        *itertools.product(["close", "reset", "silence"], FRAMED),
        *itertools.product(["reset", "silence"], UNFRAMED),
    ],
)
async def test_a_cut_answer_is_a_reset_connection(told: str, end: str, version: str) -> None:
    seen = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(told.encode())
        if end == "silence":
            await peer.closed_by_peer()
            return
        await seen.wait()
        if end == "reset":
            peer.reset()

    async with relaying(script, read_seconds=0.05 if end == "silence" else 60.0) as relay:
        client = await relay.client()
        await client.send(request(f"GET / HTTP/{version}"))
        await client.reader.readuntil(b"abc")
        seen.set()
        with pytest.raises(ConnectionResetError):
            await client.closed()


# Clients that leave.


@pytest.mark.parametrize("politely", [True, False])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_client_that_leaves_before_its_answer(method: str, politely: bool) -> None:
    begun, gone = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        begun.set()
        await peer.closed_by_peer()
        gone.set()

    async with relaying(script) as relay:
        client = await relay.client()
        await client.send(request(f"{method} / HTTP/1.1\nContent-Length: 0"))
        await begun.wait()
        await client.leave(politely=politely)
        await gone.wait()
        await until(lambda: relay.counted(499) == 1)


@pytest.mark.parametrize("politely", [True, False])
async def test_a_client_that_leaves_in_the_middle_of_an_answer(politely: bool) -> None:
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nabc")
        await peer.closed_by_peer()
        gone.set()

    async with relaying(script) as relay:
        client = await relay.client()
        await client.send(request("GET / HTTP/1.1"))
        await client.reader.readuntil(b"abc")
        await client.leave(politely=politely)
        await gone.wait()
        await until(lambda: relay.counted(200) == 1)


async def test_a_client_that_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passthrough, "STALL_SECONDS_MAX", 0.05)
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                await peer.send(b"x" * (1 << 20))
        finally:
            gone.set()

    async with relaying(script) as relay:
        client = await relay.client()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # StreamReader's own
        await client.send(request("GET / HTTP/1.1"))
        await gone.wait()
        await until(lambda: relay.counted(200) == 1)


# Changes to images.


@pytest.mark.parametrize(
    ("head", "images"),
    [
        (f"DELETE /v2/images/{IMAGE} HTTP/1.1", [IMAGE]),
        (f"PATCH /v2/images/{IMAGE} HTTP/1.1", [IMAGE]),
        (f"PUT /v2/images/{IMAGE}/file HTTP/1.1", [IMAGE]),
        (f"POST /v2/images/{IMAGE}/actions/deactivate?x=/images/y HTTP/1.1", [IMAGE]),
        (f"DELETE /v2/images/{IMAGE}/members/them HTTP/1.1", [IMAGE]),
        (f"POST /v2.9/images/{IMAGE}/members HTTP/1.1", [IMAGE]),
        (f"DELETE //v2//images//{IMAGE} HTTP/1.1", [IMAGE]),
        ("DELETE /v2/images/%61%62 HTTP/1.1", ["ab"]),
        ("DELETE /v2%2Fimages%2Fab HTTP/1.1", ["ab"]),
        ("LOCK http://x/images/ab HTTP/1.1", ["ab"]),
        ("POST /v2/images HTTP/1.1", []),
        ("DELETE /v2/metadefs/namespaces/x HTTP/1.1", []),
        (f"GET /v2/images/{IMAGE} HTTP/1.1", []),
        (f"HEAD /v2/images/{IMAGE} HTTP/1.1", []),
        (f"OPTIONS /v2/images/{IMAGE} HTTP/1.1", []),
    ],
)
async def test_a_change_is_told_before_it_is_sent_and_before_it_is_answered(
    head: str, images: list[str]
) -> None:
    seen: list[list[str]] = []

    async def script(peer: Peer) -> None:
        await peer.request()
        seen.append(list(changes))
        await peer.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with relaying(script) as relay:
        changes = relay.changes
        assert (await relay.ask(head)).status == 204
        assert seen == [images]
        assert relay.changes == images * 2


def _only_head(status: int) -> Script:
    length = "" if status == 204 else "Content-Length: 0\r\n"
    return always(f"HTTP/1.1 {status} X\r\n{length}\r\n".encode())


@pytest.mark.parametrize(
    ("status", "calls"),
    [(200, 2), (204, 2), (300, 2), (400, 1), (403, 1), (404, 1), (409, 1), (500, 2), (503, 2)],
)
async def test_a_change_that_was_refused_is_told_once(status: int, calls: int) -> None:
    async with relaying(_only_head(status)) as relay:
        reply = await relay.ask(f"DELETE /v2/images/{IMAGE} HTTP/1.1")
        assert reply.status == status
        assert relay.changes == [IMAGE] * calls


def _silent() -> Script:
    async def script(peer: Peer) -> None:
        await peer.request()

    return script


@pytest.mark.parametrize("script", [None, _silent()])
async def test_a_change_of_unknown_outcome_is_told_twice(script: Script | None) -> None:
    async with relaying(script) as relay:
        assert (await relay.ask(f"DELETE /v2/images/{IMAGE} HTTP/1.1")).status in {502, 503}
        assert relay.changes == [IMAGE] * 2


async def test_a_change_whose_client_leaves_is_told_twice() -> None:
    begun, gone = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        begun.set()
        await peer.closed_by_peer()
        gone.set()

    async with relaying(script) as relay:
        client = await relay.client()
        await client.send(request(f"DELETE /v2/images/{IMAGE} HTTP/1.1"))
        await begun.wait()
        assert relay.changes == [IMAGE]
        await client.leave()
        await gone.wait()
        await until(lambda: relay.changes == [IMAGE] * 2)
