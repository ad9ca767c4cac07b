"""The fast lane when clients leave or take nothing, and when the worker stops: nothing is left."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator

import pytest

from backends.spans import Span
from cacheproxy.errors import KeeperError
from cacheproxy.metrics import LEASES
from cacheproxy.web import front
from fuzz.sides import soon
from fuzz.world import Reader
from harness.lane_case import LARGE, SIZE, World, asked

# --- clients that leave -----------------------------------------------------------------------------


async def test_who_leaves_while_others_send_is_counted_as_served_by_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bypass is not a hit because its client did not stay to the end."""
    client = await world.connect(narrow=True)
    await world.taken_in_part(client)

    def away(*_: object) -> Reader:
        raise KeeperError("away")

    monkeypatch.setattr(world.side.keeper, "read", away)
    world.side.hot.clear()
    world.nothing_is_in_memory()
    (lane,) = world.lanes
    await soon(lambda: bool(client.read(2000)) and bool(world.side.fast._tasks))
    await soon(lambda: ("stream", "large") in [told[:2] for told in world.told])  # it is asked
    client.leave(politely=False)
    await world.gone()
    assert not lane.sending
    assert (world.total("hit"), world.total("bypass")) == (0, 1)
    assert [told[0].result for told in world.sent] == ["bypass"]


async def test_who_resets_in_the_midst_leaves_nothing(world: World) -> None:
    client = await world.connect(narrow=True)
    await world.taken_in_part(client)
    assert world.side.board.total(LEASES) > 0
    client.leave(politely=False)
    await world.gone()
    assert world.total("hit") == 1
    assert world.sent[0][0].sent_bytes < SIZE


# --- ends ---------------------------------------------------------------------------------------------


async def test_a_drain_waits_for_what_is_being_sent(world: World) -> None:
    sending, idle = await world.connect(narrow=True), await world.connect()
    idle.send(asked(Span(0, 10)))
    await world.read(idle)
    await world.taken_in_part(sending)
    draining = asyncio.create_task(world.side.door.drain(60))
    await soon(lambda: world.side.door.fast is None)
    await asyncio.sleep(0)
    assert not draining.done()
    (answer,) = await world.read(sending)
    assert answer.body == LARGE
    await draining
    await soon(lambda: sending.read() | idle.read() and sending.ended and idle.ended)


async def test_a_drain_of_both_lanes(world: World) -> None:
    fast, slow = await world.connect(narrow=True), await world.connect(narrow=True)
    slow.send(asked().replace(b"/file HTTP", b"/file? HTTP"))
    await soon(lambda: any(lane.outlet.full for lane in world.lanes))
    await world.taken_in_part(fast)
    draining = asyncio.create_task(world.side.door.drain(60))
    await soon(lambda: world.side.door.fast is None)
    (answer,) = await world.read(fast)
    assert answer.body == LARGE
    assert not draining.done()
    (answer,) = await world.read(slow)
    assert answer.body == LARGE
    await draining


async def test_a_drain_that_takes_too_long_resets(world: World) -> None:
    client = await world.connect(narrow=True)
    await world.taken_in_part(client)
    await world.side.door.drain(0)
    await world.gone()
    with pytest.raises(ConnectionResetError):
        read_all(client.sock)


async def test_a_mistake_of_ours_resets_and_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> AsyncGenerator[bytes]:
        yield b"some"
        raise ZeroDivisionError("a mistake")

    monkeypatch.setattr(world.side.images.chunks, "pieces", broken)
    client = await world.connect(narrow=True)
    client.send(asked().replace(b"/file HTTP", b"/file? HTTP"))
    await soon(lambda: any(record.exc_info for record in caplog.records))
    await world.gone()
    with pytest.raises(ConnectionResetError):
        read_all(client.sock)
    caplog.clear()


async def test_who_leaves_while_the_first_byte_is_brought_is_no_mistake(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def left(*_: object) -> AsyncGenerator[bytes]:
        for lane in world.lanes:
            lane.transport.abort()
        yield b"some"

    monkeypatch.setattr(world.side.images.chunks, "pieces", left)
    client = await world.connect(narrow=True)
    client.send(asked().replace(b"/file HTTP", b"/file? HTTP"))
    await soon(lambda: client.read() and client.ended)
    await world.gone()
    assert [record for record in caplog.records if record.exc_info] == []
    assert world.total("hit") == 1


def read_all(sock: socket.socket) -> None:
    while sock.recv(1 << 20):
        pass


async def test_a_sweep_ends_what_is_idle_and_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sending, idle = await world.connect(narrow=True), await world.connect()
    idle.send(asked(Span(0, 10)))
    await world.read(idle)
    await world.taken_in_part(sending)
    monkeypatch.setattr(front, "KEEPALIVE_SECONDS", -1.0)
    sweep(world)
    await soon(lambda: idle.read() and idle.ended)
    (answer,) = await world.read(sending)
    assert answer.body == LARGE
    sweep(world)
    await soon(lambda: sending.read() and sending.ended)


@pytest.mark.parametrize("sent", [False, True])
async def test_a_sweep_resets_who_takes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, sent: bool
) -> None:
    """Also where only the transport has something left, and nobody waits for it to go."""
    client = await world.connect(narrow=True)
    if sent:
        client.send(asked(Span(0, 10)))
        await world.read(client)
        (lane,) = world.lanes
        lane.outlet.write(LARGE)  # as the end of an answer that the socket did not take
    else:
        await world.taken_in_part(client)
        (lane,) = world.lanes
    assert lane.outlet.full
    sweep(world)
    assert world.lanes == {lane}
    if sent:
        lane.close()  # a polite end waits until all is taken
    monkeypatch.setattr(front, "STALL_SECONDS_MAX", -1.0)
    sweep(world)
    await world.gone()
    await soon(lambda: client.read() and client.ended)
    assert world.total("hit") == 1


def sweep(world: World) -> None:
    timer = world.side.door._sweeping
    assert timer is not None
    timer.cancel()
    world.side.door._sweep()
