"""A child's end of its control channel, spoken to as the supervisor does."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator

import pytest

from cacheproxy.processes.channel import Channel
from cacheproxy.processes.control import Control
from cacheproxy.processes.orders import (
    AnyReport,
    Connection,
    ConnectionClosed,
    Drain,
    Heartbeat,
    KeeperLink,
    LinkLost,
    Order,
    Purge,
    Purged,
    Ready,
    Tell,
    Told,
    WorkerLink,
    decode_report,
    encode,
)
from cacheproxy.processes.packets import send_packet, socket_pair
from harness.rules import open_descriptors

PATIENCE_SECONDS = 20.0


class Child:
    """A control that notes the orders it gets, and the supervisor's end, which notes the reports."""

    def __init__(self) -> None:
        self.orders: asyncio.Queue[tuple[object, ...]] = asyncio.Queue()
        self.reports: asyncio.Queue[AnyReport] = asyncio.Queue()
        near, far = socket_pair()
        note = self.orders.put_nowait
        self.control = Control(
            near,
            on_connection=lambda sock, kind: note(("connection", sock, kind)),
            on_link=lambda sock, worker: note(("link", sock, worker)),
            on_drain=lambda: note(("drain",)),
            on_purged=lambda image: note(("purged", image)),
            on_told=lambda *told: note(("told", *told)),
            on_lost=lambda: note(("lost",)),
        )
        self.supervisor = Channel(
            far, lambda data, _: self.reports.put_nowait(decode_report(data)), lambda: None
        )

    async def order(self) -> tuple[object, ...]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.orders.get()

    async def report(self, *, beats: bool = False) -> AnyReport:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while isinstance(report := await self.reports.get(), Heartbeat) and not beats:
                continue
            return report

    def say(self, order: Order, *socks: socket.socket) -> None:
        self.supervisor.send(encode(order), [sock.fileno() for sock in socks])


@pytest.fixture
async def child() -> AsyncIterator[Child]:
    made = Child()
    made.control.start()
    made.supervisor.start()
    yield made
    made.control.close()
    made.supervisor.close()
    assert made.orders.empty()


async def test_it_beats_at_once_and_again(child: Child) -> None:
    assert await child.report(beats=True) == Heartbeat()
    assert await child.report(beats=True) == Heartbeat()


async def test_reports(child: Child) -> None:
    child.control.ready()
    child.control.connection_closed()
    child.control.connection_closed()
    assert child.control.purge("an image")
    assert child.control.purge(None)
    child.control.tell("a grant", [("X-Auth-Token", "secret")], 7)
    child.control.link_lost()
    assert [await child.report() for _ in range(7)] == [
        Ready(),
        ConnectionClosed(1),
        ConnectionClosed(2),
        Purge("an image"),
        Purge(None),
        Tell("a grant", [("X-Auth-Token", "secret")], 7),
        LinkLost(0),
    ]


async def test_orders_without_descriptors(child: Child) -> None:
    child.say(Purged("an image"))
    child.say(Purged(None))
    child.say(Told("a grant", [("X-Auth-Token", "secret")], 7))
    child.say(Drain())
    assert [await child.order() for _ in range(4)] == [
        ("purged", "an image"),
        ("purged", None),
        ("told", "a grant", [("X-Auth-Token", "secret")], 7),
        ("drain",),
    ]


def test_credentials_are_not_shown() -> None:
    for message in (
        Tell("a grant", [("X-Auth-Token", "secret")], 7),
        Told("g", [("a", "secret")], 7),
    ):
        assert "secret" not in repr(message)


@pytest.mark.parametrize("kind", ["api", "metrics"])
async def test_a_connection_is_handed_over(child: Child, kind: str) -> None:
    client, accepted = socket.socketpair()
    child.say(Connection("api" if kind == "api" else "metrics"), accepted)
    accepted.close()
    name, mine, told = await child.order()
    assert (name, told) == ("connection", kind)
    assert isinstance(mine, socket.socket)
    assert not mine.getblocking()
    mine.send(b"hello")
    assert client.recv(10) == b"hello"
    mine.close()
    assert client.recv(10) == b""  # nobody else holds it
    client.close()


async def test_links_tell_who_is_at_the_other_end_and_are_named_when_lost(child: Child) -> None:
    ends = socket_pair()
    child.say(WorkerLink(3, 77), ends[0])
    child.say(KeeperLink(7), ends[1])
    first, second = await child.order(), await child.order()
    assert (first[0], first[2]) == ("link", WorkerLink(3, 77))
    assert (second[0], second[2]) == ("link", None)
    child.control.link_lost()
    assert await child.report() == LinkLost(7)
    for sock in (first[1], second[1], *ends):
        assert isinstance(sock, socket.socket)
        sock.close()


async def test_the_supervisors_death_is_told_once(child: Child) -> None:
    child.say(Drain())
    child.supervisor.close()
    assert [await child.order(), await child.order()] == [("drain",), ("lost",)]
    child.control.connection_closed()  # nobody hears, nothing breaks


async def test_closing_is_not_losing() -> None:
    child = Child()
    child.control.start()
    child.control.close()
    child.control.ready()
    child.supervisor.close()
    assert child.orders.empty()


@pytest.mark.parametrize(
    ("data", "socks"),
    [
        (b"\xff", 1),  # no msgpack
        (encode(["coffee"]), 1),  # no order
        (encode(Connection("api")), 0),
        (encode(Connection("api")), 2),
        (encode(Drain()), 1),
    ],
)
async def test_what_cannot_be_understood_ends_the_channel(
    child: Child, data: bytes, socks: int
) -> None:
    before = open_descriptors()
    ends = socket.socketpair()
    child.supervisor.send(data, [end.fileno() for end in ends][:socks])
    for end in ends:
        end.close()
    assert await child.order() == ("lost",)
    assert len(open_descriptors()) == len(before) - 1  # the channel's own


async def test_a_child_that_takes_no_connections_refuses_them() -> None:
    near, far = socket_pair()
    lost = asyncio.Event()
    keeper = Control(
        near,
        on_link=lambda sock, _: sock.close(),
        on_drain=lambda: None,
        on_lost=lost.set,
    )
    client, accepted = socket.socketpair()
    send_packet(far, encode(Connection("api")), [accepted.fileno()])
    accepted.close()
    keeper.start()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await lost.wait()
    assert client.recv(10) == b""
    client.close()
    far.close()


async def test_a_supervisor_that_stands_still_does_not_stop_its_child() -> None:
    child = Child()
    child.control.start()  # but the supervisor's end is not: nobody reads
    before = os.listdir("/proc/self/fd")  # noqa: PTH208  (a count)
    for _ in range(5000):
        child.control.connection_closed()
    assert not child.control._channel.closed
    child.supervisor.start()
    total = 0
    while total < 4000:  # those that were dropped are counted in the next
        report = await child.report()
        assert isinstance(report, ConnectionClosed)
        total = max(total, report.total)
        if child.reports.empty() and total < 4000:
            child.control.connection_closed()
    assert len(os.listdir("/proc/self/fd")) == len(before)  # noqa: PTH208  (a count)
    child.control.close()
    child.supervisor.close()
