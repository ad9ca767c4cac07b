"""What makes the load: counts all that is right, and ends with the first answer that is not."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
from functools import partial

import pytest

from bench.load import Target, WrongAnswerError, percentiles
from bench.load import steady as steady_module
from bench.load.drain import Wanted, drained
from bench.load.ranges import check, random_ranges
from bench.load.steady import steady_ranges
from bench.load.whole import read_ranges, read_whole, sha512_of
from bench.server import Server
from harness.raw_origin import Peer, Script, always, raw_origin
from harness.services import unavailable
from harness.waiting import passing

DATA = bytes(range(251)) * 1000
IMAGE = Target("/v2/images/one/file", len(DATA))
PART = 4096


def whole(body: bytes = DATA, length: int = len(DATA), status: str = "200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (status.encode(), length) + body


async def ranges(peer: Peer, first_seconds: float = 0) -> None:
    """Serve the image's ranges, each answer in pieces; the first takes so long."""
    while True:
        asked = await peer.request()
        await passing(first_seconds)
        first_seconds = 0
        assert asked.one("x-auth-token")
        assert asked.target == IMAGE.path
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", asked.one("range") or "")
        assert match
        first, stop = int(match[1]), int(match[2]) + 1
        assert 0 <= first < stop <= len(DATA)
        body = DATA[first:stop]
        head = b"HTTP/1.1 206 Partial Content\r\nETag: x\r\ncontent-length: %d\r\n\r\n"
        await peer.send((head % len(body)) + body[:10])
        await peer.send(body[10:])


def server(url: str) -> Server:
    return Server("origin", url, os.getpid())


async def test_whole_images_are_counted() -> None:
    async with raw_origin(always(whole())) as origin:
        node = server(origin.url)
        found = await asyncio.to_thread(read_whole, node, [IMAGE], connections=3, times=2)
        assert found.bytes == 6 * len(DATA)
        assert len(found.done) == 3
        assert list(found.done) == sorted(found.done)
        assert found.done[-1] == found.seconds
        assert len(origin.requests) == 6
        assert origin.connections == 3


async def test_a_whole_image_is_hashed() -> None:
    async with raw_origin(always(whole())) as origin:
        found = await asyncio.to_thread(sha512_of, server(origin.url), IMAGE)
    assert found == hashlib.sha512(DATA).hexdigest()


async def test_a_head_in_pieces_and_a_body_byte_by_byte() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        for byte in whole(b"abc", 3):
            await peer.send(bytes([byte]))
            await asyncio.sleep(0)

    async with raw_origin(script) as origin:
        found = await asyncio.to_thread(read_whole, server(origin.url), [Target("/x", 3)])
    assert found.bytes == 3


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (whole(status="404 Not Found"), "404"),
        (whole(status="206 Partial Content"), "206"),
        (whole(length=len(DATA) - 1), "another length"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "another length"),
        (b"x" * 10_000, "no answer"),
    ],
)
async def test_a_wrong_answer_ends_it(answer: bytes, told: str) -> None:
    async with raw_origin(always(answer)) as origin:
        for read in (read_whole, lambda node, targets: sha512_of(node, targets[0])):
            with pytest.raises(WrongAnswerError, match=told):
                await asyncio.to_thread(read, server(origin.url), [IMAGE])


async def test_an_early_end_ends_it() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(whole(DATA[:-1]))

    async with raw_origin(script) as origin:
        for read in (read_whole, lambda node, targets: sha512_of(node, targets[0])):
            with pytest.raises(WrongAnswerError, match="early"):
                await asyncio.to_thread(read, server(origin.url), [IMAGE])


async def test_ranges_are_counted_and_timed() -> None:
    async with raw_origin(ranges) as origin:
        node = server(origin.url)
        wanted = [[Wanted.part(node, IMAGE, 10 * n, 100) for n in range(5)] for _ in range(2)]
        found = await asyncio.to_thread(drained, node, wanted)
        assert found.bytes == 1000
        assert len(found.latencies) == 10
        assert all(0 < each <= found.seconds for each in found.latencies)
        some = await asyncio.to_thread(
            partial(read_ranges, node, [IMAGE], PART, seconds=0.01, connections=4)
        )
        assert some.requests == len(origin.requests) - 10 >= 4


async def test_a_constant_rate_is_kept() -> None:
    async with raw_origin(ranges) as origin:
        node = server(origin.url)
        found = await asyncio.to_thread(
            partial(steady_ranges, node, [IMAGE], PART, 500, seconds=0.1, connections=3)
        )
        assert found.requests == len(origin.requests) == 50
        assert origin.connections == 3
        assert found.seconds >= 49 / 500
        assert found.latencies.p50 <= found.latencies.p99 <= found.latencies.p999


async def test_what_a_slow_answer_holds_up_is_not_left_out() -> None:
    async with raw_origin(partial(ranges, first_seconds=0.2)) as origin:
        found = await asyncio.to_thread(
            partial(
                steady_ranges, server(origin.url), [IMAGE], PART, 100, seconds=0.3, connections=1
            )
        )
    # Due each 10 ms; the first 20 wait for what is left of 200: half of all for some 50 ms.
    assert found.requests == 30
    assert found.latencies.p50 >= 0.04
    assert found.latencies.p99 >= 0.19


@pytest.mark.parametrize(
    "answer",
    [
        whole(b"x" * PART, PART),
        whole(b"x" * PART, PART + 1, "206 Partial Content"),
        whole(b"", 0, "416 Range Not Satisfiable"),
    ],
)
async def test_a_wrong_answer_ends_a_constant_rate(answer: bytes) -> None:
    async with raw_origin(always(answer)) as origin:
        with pytest.raises(WrongAnswerError):
            await asyncio.to_thread(
                partial(steady_ranges, server(origin.url), [IMAGE], PART, 100, seconds=0.1)
            )


async def test_a_server_that_does_not_bear_the_rate_ends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.closed_by_peer()

    monkeypatch.setattr(steady_module, "LATE_MAX", 0.1)
    async with raw_origin(script) as origin:
        with pytest.raises(WrongAnswerError, match="0 of 10 requests answered"):
            await asyncio.to_thread(
                partial(steady_ranges, server(origin.url), [IMAGE], PART, 100, seconds=0.1)
            )


def test_percentiles_are_nearest_ranks() -> None:
    found = percentiles([float(each) for each in range(1000)])
    assert (found.p50, found.p99, found.p999) == (500.0, 990.0, 999.0)
    assert percentiles([7.0]).p999 == 7.0


RIGHT = {
    "requests": 10,
    "bytes": 10 * (PART + 300),
    **dict.fromkeys(("connect", "read", "write", "status", "timeout"), 0),
}


def test_what_wrk_saw_may_end_in_the_middle_of_answers() -> None:
    check("x", RIGHT, PART, 16)
    check("x", {**RIGHT, "bytes": 10 * (PART + 300) + 16 * PART}, PART, 16)


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": 1},
        {"timeout": 1},
        {"read": 1},
        {"requests": 0, "bytes": 0},
        {"bytes": 10 * PART - 1},
        {"bytes": 10 * len(DATA)},  # all of the image each time
    ],
)
def test_what_wrk_saw_is_looked_at(wrong: dict[str, int]) -> None:
    with pytest.raises(WrongAnswerError):
        check("x", {**RIGHT, **wrong}, PART, 1)


async def wrk(script: Script) -> int:
    if shutil.which("wrk") is None:
        unavailable("no wrk here: make bench-deps")
    async with raw_origin(script) as origin:
        found = await asyncio.to_thread(
            partial(random_ranges, server(origin.url), [IMAGE, IMAGE], PART, seconds=1)
        )
        assert found.rate > 0
        assert found.latencies.p50 <= found.latencies.p99 <= found.latencies.p999
        assert found.requests <= len(origin.requests)
        return found.requests


async def test_wrk_asks_for_random_ranges() -> None:
    assert await wrk(ranges)


@pytest.mark.parametrize("answer", [whole(), whole(b"", 0, "503 Service Unavailable")])
async def test_wrk_meets_a_wrong_answer(answer: bytes) -> None:
    with pytest.raises(WrongAnswerError):
        await wrk(always(answer))
