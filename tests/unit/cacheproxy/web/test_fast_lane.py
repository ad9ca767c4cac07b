"""The fast lane: what it sends, whom it believes, and what it leaves to aiohttp."""

from __future__ import annotations

import asyncio
import socket
import ssl
from functools import partial
from pathlib import Path

import pytest

from backends.spans import Span
from cacheproxy.config import CacheSettings
from cacheproxy.metrics import SERVED_BYTES
from cacheproxy.serve import Images
from cacheproxy.web import fast_lane
from cacheproxy.web.fast_lane import COPIED_BYTES_MAX
from fuzz.sides import soon
from fuzz.world import CHUNK_BYTES
from harness.authority import HERE, Authority
from harness.lane_case import FIELDS, LARGE, SIZE, WHOLE, World, asked

SPANS = [
    Span(0, 1),
    Span(SIZE - 1, SIZE),
    Span(5, COPIED_BYTES_MAX + 5),
    Span(5, COPIED_BYTES_MAX + 6),
    Span(0, CHUNK_BYTES),
    Span(CHUNK_BYTES, 2 * CHUNK_BYTES),
    Span(CHUNK_BYTES - 1, CHUNK_BYTES + 1),
    Span(CHUNK_BYTES - 1, 3 * CHUNK_BYTES + 1),
    Span(1, SIZE - 1),
    Span(SIZE // CHUNK_BYTES * CHUNK_BYTES, SIZE),
    WHOLE,
]


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("span", [None, *SPANS], ids=str)
async def test_every_span(world: World, span: Span | None, narrow: bool) -> None:
    client, of = await world.connect(narrow=narrow), WHOLE if span is None else span
    for _ in range(2):  # an answer leaves the connection as it was
        client.send(asked(span))
        (answer,) = await world.read(client)
        assert answer.status == (200 if span is None else 206)
        assert answer.body == LARGE[of.start : of.stop]
        shown = f"bytes {of.start}-{of.stop - 1}/{SIZE}".encode()
        assert dict(answer.fields).get(b"content-range") == (None if span is None else shown)
    client.leave()
    await world.gone()
    assert world.side.fast_requests == world.total("hit") == 2
    assert world.side.board.total(SERVED_BYTES, ("cache",)) == 2 * len(of)
    assert [told[0].sent_bytes for told in world.sent] == [len(of)] * 2


async def test_what_is_not_there_is_left_to_others(world: World) -> None:
    client = await world.connect()
    client.send(asked(Span(SIZE, SIZE + 1)))
    (answer,) = await world.read(client)
    assert answer.status == 416
    assert world.side.fast_requests == 0


async def test_a_range_that_runs_over_the_end_is_cut(world: World) -> None:
    client = await world.connect()
    client.send(asked(Span(SIZE - 10, SIZE + 10)))
    (answer,) = await world.read(client)
    assert answer.body == LARGE[-10:]
    assert world.side.fast_requests == 1


async def test_long_answers_lease_a_window_at_a_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cacheproxy.web.fast_lane.WINDOW_BYTES", SIZE // 3)
    monkeypatch.setattr("cacheproxy.web.answer.WINDOW_BYTES", SIZE // 5)
    monkeypatch.setattr("cacheproxy.web.answer.TURN_BYTES", SIZE // 7)
    client = await world.connect()
    for number, span in enumerate((WHOLE, Span(1, SIZE), Span(7, SIZE - 7)), 1):
        client.send(asked(span))
        (answer,) = await world.read(client)
        assert answer.body == LARGE[span.start : span.stop]
        assert world.side.fast_requests == number


async def test_over_tls(world: World, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    serving = asyncio.create_task(
        loop.connect_accepted_socket(partial(world.side.door, None), theirs, ssl=authority.server())
    )
    trusting = ssl.create_default_context(cafile=str(authority.cafile))
    reader, writer = await asyncio.open_connection(sock=ours, ssl=trusting, server_hostname=HERE)
    await serving
    for span in (Span(7, 7 + COPIED_BYTES_MAX), WHOLE, Span(0, 1)):
        writer.write(asked(span))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 206 ")
        assert await reader.readexactly(len(span)) == LARGE[span.start : span.stop]
    writer.close()
    await writer.wait_closed()
    await world.gone()
    assert world.side.fast_requests == 3


async def test_without_a_lane_everything_is_the_same(world: World) -> None:
    world.side.door.fast = None
    client = await world.connect(narrow=True)
    client.send(asked())
    (answer,) = await world.read(client)
    assert answer.body == LARGE
    client.leave()
    await world.gone()
    assert (world.side.fast_requests, world.total("hit")) == (0, 1)


# --- pipelines, and what aiohttp does beside it -------------------------------------------------------


async def test_a_request_that_comes_too_early_waits_and_is_aiohttps(world: World) -> None:
    client = await world.connect(narrow=True)
    await world.taken_in_part(client)
    client.send(asked(Span(0, 10)))
    (lane,) = world.lanes
    await soon(lambda: bool(lane._held))
    client.send(asked(Span(10, 20)))  # not read meanwhile
    first, second, third = await world.read(client, 3)
    assert (first.body, second.body, third.body) == (LARGE, LARGE[:10], LARGE[10:20])
    assert world.side.fast_requests == 1
    client.send(asked(Span(20, 30)))
    (answer,) = await world.read(client)
    assert answer.body == LARGE[20:30]


async def test_after_a_whole_request_within_the_fast_lane_goes_on(world: World) -> None:
    client = await world.connect()
    for expected in (0, 1, 1, 2):
        odd = b"GET /v2/images HTTP/1.1\r\n" + FIELDS
        client.send(asked(Span(0, 10)) if expected > world.side.fast_requests else odd)
        await world.read(client)
        assert world.side.fast_requests == expected


async def test_aiohttp_is_told_that_the_connection_is_full(world: World) -> None:
    """It may be made in the middle of that, when the fast lane has left something to the transport."""
    client = await world.connect(narrow=True)
    client.send(asked(Span(0, 10)))
    await world.read(client)
    (lane,) = world.lanes
    # As the end of an answer that the socket did not take.
    rest = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE + LARGE
    lane.outlet.write(rest)
    assert lane.outlet.full
    client.send(asked(Span(0, 10)))
    await soon(lambda: lane._inner is not None)
    assert lane.outlet.full
    first, second = await world.read(client, 2)
    assert (first.body, second.body) == (LARGE, LARGE[:10])
    assert not lane.outlet.full


# --- permission -------------------------------------------------------------------------------------


async def test_each_request_is_decided_anew(world: World) -> None:
    client = await world.connect()
    client.send(asked(Span(0, 10)))
    await world.read(client)
    questions = len(_questions(world))
    world.side.permissions.purge("large")
    client.send(asked(Span(0, 10)))
    await world.read(client)
    assert len(_questions(world)) == questions + 1
    assert world.side.fast_requests == 1
    world.side.images.memory.purge("large")
    client.send(asked(Span(0, 10)))
    await world.read(client)
    assert world.side.fast_requests == 1, "its record is looked at before"


def _questions(world: World) -> list[tuple[object, ...]]:
    return [told for told in world.told if told[0] == "may"]


async def test_another_token_on_the_same_connection_is_another_caller(world: World) -> None:
    client = await world.connect()
    client.send(asked(Span(0, 10)))
    await world.read(client)
    client.send(asked(Span(0, 10)).replace(b"member", b"stranger"))
    await world.read(client)
    assert world.side.fast_requests == 1
    assert ("X-Auth-Token", "stranger") in _questions(world)[-1][2]  # type: ignore[operator]  # its headers


@pytest.mark.parametrize(("verify", "fast"), [("always", 0), ("never", 1), ("disk-read", 1)])
async def test_verify(world: World, verify: str, fast: int) -> None:
    side = world.side
    settings = CacheSettings(verify=verify)  # type: ignore[arg-type]  # one of three words
    images = Images(side.keeper, side.upstream, side.upstream, settings, side.board.meter(0))
    side.images.chunks.close()
    side.images.chunks = images.chunks
    client = await world.connect()
    client.send(asked())
    (answer,) = await world.read(client)
    assert answer.body == LARGE
    client.leave()
    await world.gone()
    assert side.fast_requests == fast


async def test_a_connection_remembers_the_last_images_that_its_caller_may_have(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast_lane, "IMAGES_MAX", 2)
    client = await world.connect()
    (lane,) = world.lanes
    for image_id in ("small", "refused", "single", "large", "small"):
        client.send(asked(Span(0, 1), image_id))
        await world.read(client)
    assert isinstance(lane.memo, fast_lane.Memo)
    assert list(lane.memo.others) == ["large", "small"]
