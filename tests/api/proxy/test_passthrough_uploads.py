"""Uploads through the pass-through: wanted first, refused early, never sent twice or in part."""

from __future__ import annotations

import asyncio
import itertools
import socket
from contextlib import suppress

import pytest
from aiohttp import web

from cacheproxy import connections
from cacheproxy.web import passthrough
from harness.raw_origin import LINGER_AND_RESET, Peer, Script, always, listener
from harness.relay import Client, chunked, relaying, request, turns, until

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
PUT = "PUT /v2/images/i/file HTTP/1.1\nContent-Type: application/octet-stream\n"
MIB = 1 << 20
SMALL_BUFFER_BYTES = 64 << 10


async def blindly(client: Client, size: int, piece: bytes = b"x" * MIB) -> None:
    """Send a body without looking for an answer, as naive clients do, until the other side closes."""
    with suppress(ConnectionError):
        for _ in range(size // len(piece)):
            await client.send(piece)


# Expect: 100-continue.


async def test_a_client_that_waits_is_told_to_go_on_when_the_upstream_says_so() -> None:
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        head = await peer.head()
        assert head.one("expect") == "100-continue"
        await go.wait()
        await peer.send(CONTINUE)
        assert await peer.body(head) == b"hello"
        await peer.send(NO_CONTENT)

    async with relaying(script) as relay:
        client = await relay.client()
        await client.send(request(f"{PUT}Content-Length: 5\nExpect: 100-Continue"))
        interim = asyncio.create_task(client.head())
        await turns()
        assert not interim.done()
        go.set()
        assert (await interim).status == 100
        await client.send(b"hello")
        assert (await client.reply()).status == 204


async def test_a_client_that_waits_is_refused_without_sending_its_body() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        assert not await peer.reader.read()

    async with relaying(script) as relay:
        client = await relay.client()
        await client.send(request(f"{PUT}Content-Length: 5\nExpect: 100-continue"))
        reply = await client.reply()
        assert (reply.status, reply.body) == (413, b"big")
        assert reply.one("connection") == "close"


async def test_an_upstream_that_does_not_know_expect_gets_the_body_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "CONTINUE_SECONDS", 0.0)
    async with relaying(always(NO_CONTENT)) as relay:
        client = await relay.client()
        await client.send(request(f"{PUT}Transfer-Encoding: chunked\nExpect: 100-continue"))
        assert (await client.head()).status == 100
        await client.send(chunked(b"hello"))
        assert (await client.reply()).status == 204
        assert [asked.body for asked in relay.origin.requests] == [b"hello"]


async def test_no_word_to_go_on_comes_behind_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The upstream answers in the middle of the wait, and its answer takes longer than the wait."""
    finish, asked = asyncio.Event(), asyncio.Event()

    class Told(passthrough._UploadBrokenError):
        def __init__(self, why: str) -> None:
            super().__init__(why)
            asked.set()

    monkeypatch.setattr(connections, "CONTINUE_SECONDS", 0.01)
    monkeypatch.setattr(passthrough, "_UploadBrokenError", Told)

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 409 Conflict\r\nContent-Length: 6\r\n\r\nabc")
        await finish.wait()
        await peer.send(b"def")
        await peer.closed_by_peer()

    async with relaying(script) as relay:
        client = await relay.client()
        await client.send(request(f"{PUT}Content-Length: 5\nExpect: 100-continue"))
        assert (await client.head()).status == 409
        await asked.wait()
        finish.set()
        assert await client.reader.readexactly(6) == b"abcdef"


@pytest.mark.parametrize(
    ("head", "sent"),
    [
        ("GET / HTTP/1.1\nExpect: 100-continue", None),
        ("PUT / HTTP/1.0\nExpect: 100-continue\nContent-Length: 0", None),
        ("GET / HTTP/1.1\nExpect: the-unexpected", "the-unexpected"),
    ],
)
async def test_other_expectations(head: str, sent: str | None) -> None:
    async with relaying(always(NO_CONTENT)) as relay:
        assert (await relay.ask(head)).status == 204
        assert [asked.one("expect") for asked in relay.origin.requests] == [sent]


# Refusals in the middle of an upload.


def refusing(status: int, end: str, framing: str, after: int) -> Script:
    """Read a little of an upload, refuse it and leave."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.reader.readexactly(after)
        told = {"length": "Content-Length: 6\r\n", "chunked": "Transfer-Encoding: chunked\r\n"}
        body = chunked(b"no way") if framing == "chunked" else b"no way"
        head = f"HTTP/1.1 {status} Refused\r\n{told.get(framing, '')}Connection: close\r\n\r\n"
        await peer.send(head.encode() + body)
        if end == "reset":
            peer.reset()
        elif end == "stays":
            await peer.closed_by_peer()
        # Else it is closed with a part of the upload unread, which the kernel makes a reset.

    return script


@pytest.mark.parametrize(
    ("end", "framing"),
    [
        *itertools.product(["closes", "reset"], ["length", "chunked", "close"]),
        ("stays", "length"),
        ("stays", "chunked"),
    ],
)
@pytest.mark.parametrize("upload", ["Content-Length: 33554432", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("status", [403, 409, 413])
async def test_a_refusal_is_delivered(status: int, upload: str, end: str, framing: str) -> None:
    piece = b"x" * MIB if "Length" in upload else b"100000\r\n" + b"x" * MIB + b"\r\n"
    after = (status - 400) * 100_000  # before, in and behind what fits into the buffers
    async with relaying(refusing(status, end, framing, after)) as relay:
        client = await relay.client()
        await client.send(request(PUT + upload))
        sending = asyncio.create_task(blindly(client, 32 * len(piece), piece))
        reply = await client.reply()
        assert (reply.status, reply.body) == (status, b"no way")
        assert reply.one("connection") == "close"
        sending.cancel()
        await until(lambda: relay.counted(status) == 1)
        assert relay.origin.connections == 1


async def test_a_refusal_is_delivered_to_one_who_sends_everything_first() -> None:
    async with relaying(refusing(409, "reset", "length", MIB)) as relay:
        client = await relay.client()
        await client.send(request(f"{PUT}Content-Length: {32 * MIB}"))
        for _ in range(32):
            await client.send(b"x" * MIB)  # an error here would be a client that saw no answer
        reply = await client.reply()
        assert (reply.status, reply.body) == (409, b"no way")


@pytest.mark.parametrize("politely", [True, False], ids=["unread", "reset"])
@pytest.mark.parametrize("turns_between", [0, 1, 2, 3])
async def test_a_refusal_that_the_upload_runs_into(turns_between: int, politely: bool) -> None:
    """The next write fails before the answer is read: the reset came right behind it.

    So that this is no accident, the origin strikes between two pieces, in the same turn.
    """
    loop = asyncio.get_running_loop()
    with listener() as listening:
        listening.setblocking(False)

        def strike() -> None:
            connection.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
            if not politely:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_AND_RESET)
            connection.close()  # with some of the upload unread

        class Content:
            """A request's content that has always another piece."""

            calls = 0

            async def readany(self) -> bytes:
                self.calls += 1
                if self.calls == 2:
                    await struck.wait()
                    strike()
                elif self.calls > 2:
                    await turns(turns_between)
                return b"x" * 1000

            def at_eof(self) -> bool:
                return False

        struck = asyncio.Event()

        def spoil(asked: web.BaseRequest) -> None:
            asked._payload = Content()  # type: ignore[assignment]  # as much as is used of it

        async with relaying(listening.getsockname()[1], before=spoil) as relay:
            client = await relay.client()
            await client.send(request(f"{PUT}Content-Length: {MIB}"))
            connection, _ = await loop.sock_accept(listening)
            assert await loop.sock_recv(connection, 10)
            struck.set()
            reply = await client.reply()
            assert (reply.status, reply.body) == (413, b"big")


async def test_an_answer_before_the_end_of_an_upload_ends_it() -> None:
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await peer.closed_by_peer()
        gone.set()

    async with relaying(script) as relay:
        client = await relay.client()
        await client.send(request(f"{PUT}Content-Length: 10") + b"hello")
        reply = await client.reply()
        assert (reply.status, reply.one("connection")) == (200, "close")
        await gone.wait()


# Sent once.


async def test_each_change_has_a_connection_of_its_own() -> None:
    async with relaying(always(NO_CONTENT)) as relay:
        client = await relay.client()
        for _ in range(3):
            assert (await client.ask("POST / HTTP/1.1\nContent-Length: 1", b"x")).status == 204
        assert relay.origin.connections == 3


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("politely", [True, False])
async def test_a_change_is_never_sent_twice(method: str, politely: bool) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        if not politely:
            peer.reset()

    async with relaying(script) as relay:
        reply = await relay.ask(f"{method} /v2/images/i HTTP/1.1\nContent-Length: 2", b"{}")
        assert (reply.status, reply.one("retry-after")) == (502, None)
        assert len(relay.origin.heads) == 1
        assert relay.counted(502) == 1


# Uploads that break.


async def broken(head: str, body: bytes, leave: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send a body that is no whole one, and see that the upstream gets no whole one either."""
    monkeypatch.setattr(passthrough, "STALL_SECONDS_MAX", 0.05 if not leave else 900.0)
    cut, begun = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        asked = await peer.head()
        begun.set()
        try:
            await peer.body(asked)
        except asyncio.IncompleteReadError:
            cut.set()

    async with relaying(script) as relay:
        client = await relay.client()
        await client.send(request(PUT + head))
        await begun.wait()
        await client.send(body)
        if leave:
            await client.leave()
        else:
            reply = await client.reply()
            assert (reply.status, reply.one("connection")) == (408, "close")
        await cut.wait()
        assert len(relay.origin.heads) == 1
        await until(lambda: sum(relay.counted(code) for code in (408, 499)) == 1)
        assert relay.counted(499) == leave


@pytest.mark.parametrize("leave", [True, False])
@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("Content-Length: 10", b"hello"),
        ("Transfer-Encoding: chunked", b"5\r\nhello\r\n"),
    ],
)
async def test_a_body_that_stops(
    head: str, body: bytes, leave: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await broken(head, body, leave, monkeypatch)


async def test_a_malformed_body_ends_upstream_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiohttp's compiled parser does not tell who reads the body: for us it stops there."""
    body = b"5\r\nhello\r\nzz\r\nhello"
    await broken("Transfer-Encoding: chunked", body, leave=False, monkeypatch=monkeypatch)


async def test_a_body_that_the_server_calls_malformed() -> None:
    def spoil(asked: web.BaseRequest) -> None:
        asked.content.set_exception(web.RequestPayloadError("spoilt"))

    async with relaying(Peer.closed_by_peer, before=spoil) as relay:
        reply = await relay.ask(f"{PUT}Content-Length: 10", b"hello")
        assert (reply.status, reply.one("connection")) == (400, "close")
        assert not relay.origin.requests


async def test_an_upstream_that_takes_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "STALL_SECONDS_MAX", 0.05)

    async def script(peer: Peer) -> None:
        await peer.head()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]  # StreamReader's own
        await left.wait()

    left = asyncio.Event()
    async with relaying(script, buffer_bytes=SMALL_BUFFER_BYTES) as relay:
        client = await relay.client()
        await client.send(request(f"{PUT}Content-Length: {64 * MIB}"))
        sending = asyncio.create_task(blindly(client, 64 * MIB))
        assert (await client.reply()).status == 504
        sending.cancel()
        left.set()
