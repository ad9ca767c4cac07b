"""Who gets what comes in on a connection, and how it ends, with a fast lane that does as it is told."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from functools import partial

import pytest
from aiohttp import web

from cacheproxy.meter import Board
from cacheproxy.metrics import CONNECTIONS
from cacheproxy.web import front
from cacheproxy.web.front import Door
from cacheproxy.web.lane import HELD_MAX, Lane
from fuzz.sides import Client, soon, tcp_pair

FAST = b"GET /fast HTTP/1.1\r\nHost: h\r\n\r\n"
SLOW = b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"


class FastFake:
    """Begins to answer what is asked to the letter, and is told when to go on."""

    def __init__(self) -> None:
        self.lanes: list[Lane] = []
        self.ended = 0
        self.gone_on = 0

    def begin(self, lane: Lane, data: bytes) -> bool:
        if data != FAST:
            return False
        lane.outlet.write(b"fast")
        self.lanes.append(lane)
        lane.sends(self)
        return True

    def go_on(self) -> None:
        self.gone_on += 1

    def end(self) -> None:
        self.ended += 1


class Case:
    """A door with a connection, and who answers."""

    def __init__(self) -> None:
        self.board = Board.create(1)
        self.fast = FastFake()
        self.closed = 0
        self.answered: list[str] = []
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.door = Door(self._handle, self.board.meter(0), self._closed, log=False, fast=self.fast)
        self.clients: list[Client] = []

    async def connect(self) -> Client:
        ours, theirs = tcp_pair(4096)
        for end in (ours, theirs):
            end.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(partial(self.door, theirs), theirs)
        self.clients.append(Client(ours))
        return self.clients[-1]

    @property
    def lane(self) -> Lane:
        (lane,) = self.door._lanes
        return lane

    def holds(self, count: int) -> bool:
        return len(self.lane._held) == count

    async def came(self, client: Client, *ends: bytes) -> None:
        """Wait until what came is this, answer for answer."""

        def there() -> bool:
            client.read()
            at = 0
            for end in ends:
                at = bytes(client.received).find(end, at) + len(end)
                if at < len(end):
                    return False
            return at == len(client.received)

        await soon(there)
        client.received.clear()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.set()
        await self.may_answer.wait()
        self.answered.append(request.path)
        response = web.Response(text="slow" + (await request.text()))
        if request.path == "/last":
            response.force_close()
        return response

    def _closed(self) -> None:
        self.closed += 1


@pytest.fixture
async def case() -> AsyncIterator[Case]:
    made = Case()
    yield made
    for client in made.clients:
        client.leave()
    await soon(lambda: not made.door._lanes)
    await made.door.drain(0)
    assert made.closed == len(made.clients)
    assert made.board.total(CONNECTIONS) == 0
    assert made.door._sweeping is None


async def test_idle_connections_are_the_fast_lanes(case: Case) -> None:
    client = await case.connect()
    for count in range(1, 4):
        client.send(FAST)
        await case.came(client, b"fast")
        assert (repr(case.lane), case.lane.idle_since) == ("<Lane sending>", None)
        case.lane.sent()
        assert repr(case.lane) == "<Lane idle>"
        assert case.lane.idle_since is not None
        assert case.fast.gone_on == count, "it is called once, at once"
    assert case.answered == []


async def test_between_whole_requests_of_aiohttps_it_stays_so(case: Case) -> None:
    client = await case.connect()
    for _ in range(2):
        client.send(SLOW)
        await case.came(client, b"\r\n\r\nslow")
        client.send(FAST)
        await case.came(client, b"fast")
        case.lane.sent()
    assert case.answered == ["/slow"] * 2


async def test_while_aiohttp_answers_all_is_its(case: Case) -> None:
    client = await case.connect()
    case.may_answer.clear()
    client.send(SLOW)
    await case.asked.wait()
    assert (repr(case.lane), case.lane.idle_since) == ("<Lane within>", None)
    for _ in range(2):  # each comes for itself: it is known where the parser stands
        asked = case.lane._asked
        client.send(FAST)
        await soon(lambda asked=asked: case.lane._asked > asked)  # type: ignore[misc]  # a lambda
    case.may_answer.set()
    await case.came(client, *[b"\r\n\r\nslow"] * 3)
    assert case.answered == ["/slow", "/fast", "/fast"]
    assert repr(case.lane) == "<Lane idle>"
    client.send(FAST)
    await case.came(client, b"fast")
    case.lane.sent()


@pytest.mark.parametrize("data", [POST, SLOW + SLOW, SLOW + FAST, FAST + FAST, b"\r\n" + SLOW])
async def test_after_anything_else_all_of_the_connection_is_its(case: Case, data: bytes) -> None:
    client = await case.connect()
    client.send(data)
    await soon(lambda: len(case.answered) == data.count(b"HTTP/1.1"))
    client.send(FAST)
    await soon(lambda: case.answered[-1] == "/fast" and len(case.answered) > data.count(b"HTTP/"))
    assert not case.fast.lanes


@pytest.mark.parametrize("place", range(1, len(FAST)))
async def test_a_request_in_two_parts_is_aiohttps(case: Case, place: int) -> None:
    client = await case.connect()
    client.send(FAST[:place])
    await soon(lambda: case.lane._inner is not None)
    client.send(FAST[place:])
    await case.came(client, b"\r\n\r\nslow")
    assert case.answered == ["/fast"]
    assert not case.fast.lanes


async def test_after_its_last_answer_nothing_is_taken(case: Case) -> None:
    client = await case.connect()
    client.send(LAST)
    await soon(lambda: client.read() and client.ended)
    assert client.received.endswith(b"slow")
    assert not case.fast.lanes


async def test_what_comes_early_is_held_and_no_more_is_read(case: Case) -> None:
    client = await case.connect()
    client.send(FAST)
    await case.came(client, b"fast")
    for count in range(HELD_MAX):
        assert case.lane.transport.is_reading()
        client.send(SLOW[count : count + 1])
        await soon(partial(case.holds, count + 1))
    assert not case.lane.transport.is_reading()
    client.send(SLOW[HELD_MAX:])
    case.lane.sent()
    assert case.lane.transport.is_reading()
    await case.came(client, b"\r\n\r\nslow")
    assert case.fast.ended == 0


async def test_who_has_said_all_gets_all(case: Case) -> None:
    client = await case.connect()
    client.send(FAST)
    await case.came(client, b"fast")
    client.say_all()
    await soon(lambda: case.lane._closing)
    case.lane.outlet.write(b"more")
    case.lane.sent()
    await soon(lambda: client.read() and client.ended)
    assert client.received == b"more"
    assert case.fast.ended == 0


async def test_over_tls_who_has_said_all_is_left(case: Case) -> None:
    """The loop knows no half of such a connection, and would complain."""
    client = await case.connect()
    client.send(FAST)
    await case.came(client, b"fast")
    case.lane._sock = None
    client.say_all()
    await soon(lambda: not case.door._lanes)
    assert case.fast.ended == 1


async def test_who_has_said_all_and_asked_nothing_is_left(case: Case) -> None:
    client = await case.connect()
    client.say_all()
    await soon(lambda: client.read() and client.ended)


async def test_who_leaves_ends_his_answer(case: Case) -> None:
    client = await case.connect()
    client.send(FAST)
    await case.came(client, b"fast")
    client.leave(politely=False)
    await soon(lambda: not case.door._lanes)
    assert case.fast.ended == 1


async def test_a_close_waits_for_the_answer(case: Case) -> None:
    client = await case.connect()
    client.send(FAST)
    await case.came(client, b"fast")
    case.lane.close()
    case.lane.outlet.write(b"more")
    await case.came(client, b"more")
    case.lane.sent()
    await soon(lambda: client.read() and client.ended)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
async def test_what_is_broken_is_reset(case: Case, family: socket.AddressFamily) -> None:
    client = await case.connect()
    client.send(FAST)
    await case.came(client, b"fast")
    lane = case.lane
    if family is socket.AF_UNIX:
        lane._sock = None  # which knows no reset
    lane.broken()
    await soon(lambda: not case.door._lanes)
    if family is socket.AF_UNIX:
        assert client.sock.recv(1) == b""
    else:
        with pytest.raises(ConnectionResetError):
            client.sock.recv(1)
    assert case.fast.ended == 0, "it knows"


async def test_a_drain_ends_when_both_have_answered(case: Case) -> None:
    fast, slow, idle = [await case.connect() for _ in range(3)]
    idle.send(SLOW)
    await case.came(idle, b"\r\n\r\nslow")
    case.may_answer.clear()
    case.asked.clear()
    slow.send(SLOW)
    await case.asked.wait()
    fast.send(FAST)
    await case.came(fast, b"fast")
    draining = asyncio.create_task(case.door.drain(60))
    await soon(lambda: case.door.fast is None)
    case.may_answer.set()
    await case.came(slow, b"\r\n\r\nslow")
    assert not draining.done()
    (lane,) = case.fast.lanes
    lane.sent()
    await draining
    assert not case.door._lanes
    for client in (fast, slow, idle):
        await soon(lambda client=client: client.read() and client.ended)  # type: ignore[misc]  # a lambda


async def test_while_draining_new_requests_are_aiohttps_and_the_last(case: Case) -> None:
    fast, other = [await case.connect() for _ in range(2)]
    fast.send(FAST)
    await case.came(fast, b"fast")
    draining = asyncio.create_task(case.door.drain(60))
    await soon(lambda: case.door.fast is None)
    other.send(FAST)
    await soon(lambda: other.read() and other.ended)
    assert other.received.endswith(b"slow")
    fast.leave(politely=False)
    await draining
    assert case.answered == ["/fast"]
    assert len(case.fast.lanes) == 1


def sweep(case: Case) -> None:
    timer = case.door._sweeping
    assert timer is not None
    timer.cancel()
    case.door._sweep()


async def test_a_sweep_lets_answers_be(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "KEEPALIVE_SECONDS", -1.0)
    fast, slow, idle = [await case.connect() for _ in range(3)]
    case.may_answer.clear()
    slow.send(SLOW)
    await case.asked.wait()
    fast.send(FAST)
    await case.came(fast, b"fast")
    sweep(case)
    await soon(lambda: idle.read() and idle.ended)
    assert len(case.door._lanes) == 2
    case.may_answer.set()
    await case.came(slow, b"\r\n\r\nslow")
    case.fast.lanes[0].sent()
    sweep(case)
    for client in (fast, slow):
        await soon(lambda client=client: client.read() and client.ended)  # type: ignore[misc]  # a lambda
