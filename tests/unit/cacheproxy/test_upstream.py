"""The proxy's own questions to the Glance behind it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from backends.spans import Span
from cacheproxy import upstream as module
from cacheproxy.config import UpstreamSettings
from cacheproxy.connections import UpstreamNotReachedError, UpstreamSilentError
from cacheproxy.errors import (
    UpstreamAnswerError,
    UpstreamLiesError,
    UpstreamUnreachableError,
)
from cacheproxy.meter import Board
from cacheproxy.metrics import (
    MANIFEST_BYTES,
    PERMISSION_QUESTIONS,
    UPSTREAM_BYTES,
    UPSTREAM_REQUESTS,
)
from cacheproxy.upstream import Upstream
from harness.raw_origin import Peer, RawOrigin, Script, always, listener, raw_origin

CALLER = [("X-Auth-Token", "t0k3n"), ("X-Service-Token", "s3rv1ce"), ("If-Range", '"x"')]
IMAGE = "0b8a4b6e-0000-4000-8000-000000000001"


@dataclass
class Asked:
    """An upstream client in front of a scripted origin, and what was counted."""

    origin: RawOrigin
    client: Upstream
    board: Board


@asynccontextmanager
async def asking(
    script: Script | None, path: str = "", read_seconds: float = 60.0
) -> AsyncIterator[Asked]:
    """Ask a script; None: nobody is there."""
    board = Board.create(1)
    async with raw_origin(script or always(b"")) as origin:
        if script is None:
            with listener() as sock:
                origin.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        settings = UpstreamSettings(origin.url + path, read_timeout_seconds=read_seconds)
        client = Upstream(settings, board.meter(0))
        try:
            yield Asked(origin, client, board)
        finally:
            await client.close()


def answer(head: str, body: bytes = b"", *, length: bool = True) -> bytes:
    told = f"Content-Length: {len(body)}\r\n" if length else ""
    lines = f"HTTP/1.1 {head}\r\n{told}"
    return lines.replace("\n", "\r\n").replace("\r\r", "\r").encode() + b"\r\n" + body


async def everything(asked: Asked, span: Span | None) -> bytes:
    async with asked.client.read(IMAGE, CALLER, span) as body:
        return b"".join([piece async for piece in body.pieces()])


# May this caller download?


async def status_of(asked: Asked) -> int:
    word = await asked.client.may_download(IMAGE, CALLER)
    assert word is not None
    return word.status


async def test_our_catalogs_own_question() -> None:
    async with asking(always(answer("204 X", length=False)), path="/image") as asked:
        word = await asked.client.download_right(IMAGE, [*CALLER, ("Range", "bytes=0-4")])
        (request,) = asked.origin.requests
        assert asked.board.total(PERMISSION_QUESTIONS) == 1
    assert word is not None
    assert word.status == 204
    assert request.target == f"/image/v2/images/{IMAGE}/download-right"
    assert request.one("x-auth-token") == "t0k3n"
    assert request.one("range") is None
    async with asking(None) as asked:
        assert await asked.client.download_right(IMAGE, CALLER) is None


async def test_the_question_gives_the_fields() -> None:
    async with asking(always(answer("416 X\r\nX-OpenStack-Request-ID: req-1"))) as asked:
        word = await asked.client.may_download(IMAGE, CALLER)
    assert word is not None
    assert ("X-OpenStack-Request-ID", "req-1") in word.headers


@pytest.mark.parametrize("status", [204, 206, 300, 400, 401, 403, 404, 416, 500, 503])
async def test_the_question_gives_the_status(status: int) -> None:
    body = b"" if status == 204 else b"<html>why</html>"
    async with asking(always(answer(f"{status} X", body, length=status != 204))) as asked:
        assert await status_of(asked) == status
        assert asked.board.total(PERMISSION_QUESTIONS) == 1
        assert asked.board.total(UPSTREAM_REQUESTS) == 0


async def test_the_question_is_an_unsatisfiable_range_with_the_callers_credentials() -> None:
    async with asking(always(answer("416 X", b"why")), path="/image") as asked:
        await asked.client.may_download(IMAGE, [*CALLER, ("Range", "bytes=0-4")])
        (request,) = asked.origin.requests
    assert (request.method, request.target) == ("GET", f"/image/v2/images/{IMAGE}/file")
    assert request.one("range") == "bytes=9223372036854775807-"
    assert request.one("x-auth-token") == "t0k3n"
    assert request.one("x-service-token") == "s3rv1ce"
    assert request.one("if-range") is None
    assert {name for name, _ in request.fields} == {
        "host", "x-auth-token", "x-service-token", "accept-encoding", "range",
    }  # fmt: skip


async def test_an_id_is_quoted_into_the_path() -> None:
    async with asking(always(answer("404 X"))) as asked:
        await asked.client.may_download("../a b/%2e?c#d", CALLER)
        (request,) = asked.origin.requests
    assert request.target == "/v2/images/..%2Fa%20b%2F%252e%3Fc%23d/file"


async def test_refusals_and_permissions_reuse_the_connection() -> None:
    async with asking(always(answer("416 X", b"x" * 1000))) as asked:
        for _ in range(3):
            await asked.client.may_download(IMAGE, CALLER)
        assert asked.origin.connections == 1


async def test_a_long_refusal_is_not_read() -> None:
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 416 X\r\nContent-Length: 999999999\r\n\r\n")
        await peer.send(b"x" * (module.DISCARD_BYTES_MAX + 1))
        await peer.closed_by_peer()
        gone.set()

    async with asking(script) as asked:
        assert await status_of(asked) == 416
        await gone.wait()


async def test_an_upstream_that_ignores_ranges_is_left_at_once() -> None:
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\nx")
        await peer.closed_by_peer()
        gone.set()

    async with asking(script) as asked:
        assert await status_of(asked) == 200
        await gone.wait()
        assert asked.board.total(UPSTREAM_BYTES) == 0


async def test_no_answer_is_no_status() -> None:
    async with asking(None) as asked:
        assert await asked.client.may_download(IMAGE, CALLER) is None
        assert asked.board.total(PERMISSION_QUESTIONS) == 1


async def test_silence_is_no_status() -> None:
    async with asking(Peer.closed_by_peer, read_seconds=0.01) as asked:
        assert await asked.client.may_download(IMAGE, CALLER) is None


async def test_a_stale_connection_costs_one_silent_retry() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer("416 X"))
        await peer.head()  # and then the connection is closed without an answer

    async with asking(script) as asked:
        assert await status_of(asked) == 416
        assert await status_of(asked) == 416
        assert asked.origin.connections == 2
        assert len(asked.origin.heads) == 3


# Show an image.


def record(**changed: object) -> bytes:
    fields = {"status": "active", "size": 3, "checksum": None, "os_hash_algo": None, **changed}
    return answer("200 OK", json.dumps(fields).encode())


async def test_show_reads_the_record() -> None:
    async with asking(always(record())) as asked:
        facts = await asked.client.show(IMAGE, CALLER)
        (request,) = asked.origin.requests
    assert facts is not None
    assert (facts.image_id, facts.size, facts.hash_value) == (IMAGE, 3, None)
    assert request.target == f"/v2/images/{IMAGE}"
    assert request.one("x-auth-token") == "t0k3n"
    assert request.one("accept-encoding") == "identity"


@pytest.mark.parametrize(
    "told",
    [
        record(status="queued"),
        record(size=None),
        answer("200 OK", b"{"),
        answer("200 OK", b"\xff"),
        answer("200 OK", b"[]"),
        answer("404 Not Found", json.dumps({"status": "active", "size": 3}).encode()),
        answer("200 OK", b" " * (module.RECORD_BYTES_MAX + 1)),
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\nConnection: close\r\n\r\n{",
        b"nonsense\r\n\r\n",
    ],
    ids=lambda told: repr(told[:40]),
)
async def test_show_knows_nothing_otherwise(told: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(told)

    async with asking(script) as asked:
        assert await asked.client.show(IMAGE, CALLER) is None


async def test_show_of_an_upstream_that_is_away() -> None:
    async with asking(None) as asked:
        assert await asked.client.show(IMAGE, CALLER) is None


# Read image data.


async def test_a_whole_image() -> None:
    async with asking(always(answer("200 OK", b"abcdef"))) as asked:
        async with asked.client.read(IMAGE, CALLER, None) as body:
            assert (body.start, body.stop, body.size, body.ranged) == (0, 6, 6, False)
            assert body.span == Span(0, 6)
            assert b"".join([piece async for piece in body.pieces()]) == b"abcdef"
        assert asked.origin.requests[0].one("range") is None
        assert asked.board.total(UPSTREAM_REQUESTS) == 1
        assert asked.board.total(UPSTREAM_BYTES) == 6
        assert await everything(asked, None) == b"abcdef"
        assert asked.origin.connections == 1


async def test_a_whole_image_without_a_length() -> None:
    told = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"
    async with asking(always(told)) as asked, asked.client.read(IMAGE, CALLER, None) as body:
        assert (body.stop, body.size, body.span) == (None, None, None)
        assert b"".join([piece async for piece in body.pieces()]) == b"abcdef"


async def test_a_whole_image_that_ends_with_the_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer("200 OK", b"abcdef", length=False))

    async with asking(script) as asked:
        assert await everything(asked, None) == b"abcdef"


@pytest.mark.parametrize(
    ("span", "told", "size"),
    [
        (Span(2, 5), "bytes 2-4/6", 6),
        (Span(2, 5), "bytes 2-4/*", None),
        (Span(3, 9), "bytes 3-5/6", 6),
    ],
)
async def test_a_range(span: Span, told: str, size: int | None) -> None:
    script = always(answer(f"206 Partial\r\nContent-Range: {told}", b"abc"))
    async with asking(script) as asked:
        async with asked.client.read(IMAGE, CALLER, span) as body:
            assert body.ranged
            assert body.size == size
            assert body.start == span.start
            assert body.span == Span(span.start, span.start + 3)
            assert b"".join([piece async for piece in body.pieces()]) == b"abc"
        assert asked.origin.requests[0].one("range") == span.range_header


async def test_the_whole_image_instead_of_a_range() -> None:
    async with (
        asking(always(answer("200 OK", b"abcdef"))) as asked,
        asked.client.read(IMAGE, CALLER, Span(2, 4)) as body,
    ):
        assert not body.ranged
        assert body.span == Span(0, 6)


@pytest.mark.parametrize("status", [204, 304, 400, 401, 403, 404, 416, 500, 503])
async def test_an_answer_without_data(status: int) -> None:
    empty = status in {204, 304}
    told = answer(f"{status} Why", b"" if empty else b"no", length=not empty)
    async with asking(always(told)) as asked:
        for _ in range(2):
            with pytest.raises(UpstreamAnswerError) as caught:
                await everything(asked, Span(0, 1))
            assert caught.value.status == status
        assert asked.board.total(UPSTREAM_BYTES) == 0
        assert asked.origin.connections == 1


@pytest.mark.parametrize(
    ("span", "told"),
    [
        (None, answer("206 X\r\nContent-Range: bytes 0-2/3", b"abc")),
        (Span(2, 5), answer("206 X", b"abc")),
        (Span(2, 5), answer("206 X\r\nContent-Range: bytes 3-5/6", b"abc")),
        (Span(2, 5), answer("206 X\r\nContent-Range: bytes 2-3/6", b"ab")),
        (Span(2, 5), answer("206 X\r\nContent-Range: bytes 2-3/3", b"ab")),
        (Span(2, 5), answer("206 X\r\nContent-Range: bytes 2-4/4", b"abc")),
        (Span(2, 5), answer("206 X\r\nContent-Range: bytes 2-5/6", b"abcd")),
        (Span(2, 5), answer("206 X\r\nContent-Range: bytes 2-4/6", b"abcd")),
        (Span(2, 5), answer("206 X\r\nContent-Range: bytes 2-4/6", b"ab")),
        (Span(2, 5), answer("206 X\r\nContent-Range: chunks 2-4/6", b"abc")),
        (Span(9, 12), answer("206 X\r\nContent-Range: bytes 2-4/6", b"abc")),
        (None, answer("200 X\r\nContent-Encoding: gzip", b"abc")),
    ],
)
async def test_heads_that_contradict(span: Span | None, told: bytes) -> None:
    async with asking(always(told)) as asked:
        with pytest.raises(UpstreamLiesError):
            await everything(asked, span)
        assert asked.board.total(UPSTREAM_BYTES) == 0


@pytest.mark.parametrize("body", [b"2\r\nab\r\n0\r\n\r\n", b"4\r\nabcd\r\n0\r\n\r\n"])
async def test_a_body_that_ends_politely_elsewhere_than_promised(body: bytes) -> None:
    head = b"HTTP/1.1 206 X\r\nContent-Range: bytes 2-4/6\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with asking(always(head + body)) as asked:
        with pytest.raises(UpstreamLiesError):
            await everything(asked, Span(2, 5))


@pytest.mark.parametrize("polite", [True, False])
@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: 6\r\n\r\nabc",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ],
)
async def test_a_body_that_is_cut(head: str, polite: bool) -> None:
    await _cut(f"HTTP/1.1 200 OK\r\n{head}".encode(), polite=polite)


async def test_a_body_without_length_that_is_reset() -> None:
    await _cut(b"HTTP/1.1 200 OK\r\n\r\nabc", polite=False)


async def _cut(told: bytes, *, polite: bool) -> None:
    seen = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(told)
        await seen.wait()
        if not polite:
            peer.reset()

    async with asking(script) as asked:
        async with asked.client.read(IMAGE, CALLER, None) as body:
            pieces = body.pieces()
            assert await anext(pieces) == b"abc"
            seen.set()
            with pytest.raises(UpstreamUnreachableError):
                await anext(pieces)
        assert asked.board.total(UPSTREAM_BYTES) == 3


async def test_a_body_that_stalls() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
        await peer.closed_by_peer()

    async with asking(script, read_seconds=0.01) as asked:
        with pytest.raises(UpstreamSilentError):
            await everything(asked, None)
        assert asked.board.total(UPSTREAM_BYTES) == 3


async def test_an_upstream_that_is_away() -> None:
    async with asking(None) as asked:
        with pytest.raises(UpstreamNotReachedError):
            await everything(asked, None)


async def test_leaving_early_ends_the_transfer() -> None:
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
        await peer.closed_by_peer()
        gone.set()

    async with asking(script) as asked:
        async with asked.client.read(IMAGE, CALLER, None) as body:
            assert await anext(body.pieces()) == b"abc"
        await gone.wait()


async def test_large_bodies_come_in_large_pieces() -> None:
    data = bytes(range(256)) * 65536  # 16 MiB
    async with (
        asking(always(answer("200 OK", data))) as asked,
        asked.client.read(IMAGE, CALLER, None) as body,
    ):
        pieces = [piece async for piece in body.pieces()]
    assert b"".join(pieces) == data
    assert len(pieces) <= len(data) // (16 << 10)


async def test_no_credential_is_shown() -> None:
    async with asking(always(answer("404 Not Found", b"no"))) as asked:
        settings = UpstreamSettings("http://me:secret@glance.example/image")
        other = Upstream(settings, asked.board.meter(0))
        shown = [repr(other), repr(asked.client)]
        await other.close()
        with pytest.raises(UpstreamAnswerError) as caught:
            await everything(asked, None)
        shown += [repr(caught.value), str(caught.value)]
    assert not [text for text in shown if "secret" in text or "t0k3n" in text]
    assert "glance.example/image" in shown[0]


# Published manifests


async def test_a_manifest_is_asked_for_with_the_callers_credentials() -> None:
    async with asking(always(answer("200 OK", b"document")), path="/image") as asked:
        assert await asked.client.manifest(IMAGE, CALLER, None, 8) == b"document"
        assert await asked.client.manifest(IMAGE, CALLER, range(3, 5), 8) == b"document"
        assert asked.board.total(MANIFEST_BYTES) == 16
        assert asked.board.total(UPSTREAM_BYTES) == asked.board.total(UPSTREAM_REQUESTS) == 0
    root, pages = asked.origin.requests
    assert root.target == f"/image/v2/images/{IMAGE}/manifest"
    assert pages.target == f"/image/v2/images/{IMAGE}/manifest?page=3&pages=2"
    for request in (root, pages):
        assert request.one("x-auth-token") == "t0k3n"
        assert request.one("if-range") is None


async def test_a_manifest_that_is_too_long_is_not_read() -> None:
    async with asking(always(answer("200 OK", b"x" * 9))) as asked:
        with pytest.raises(UpstreamLiesError):
            await asked.client.manifest(IMAGE, CALLER, None, 8)
        assert asked.board.total(MANIFEST_BYTES) == 0


@pytest.mark.parametrize("status", ["204", "206", "301", "304", "401", "404", "500"])
async def test_only_200_is_a_manifest(status: str) -> None:
    body = b"" if status in ("204", "304") else b"document"
    async with asking(always(answer(f"{status} X", body, length=bool(body)))) as asked:
        with pytest.raises(UpstreamAnswerError) as raised:
            await asked.client.manifest(IMAGE, CALLER, None, 8)
        assert raised.value.status == int(status)
