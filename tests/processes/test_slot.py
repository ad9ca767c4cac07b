"""One child's place, with a clock and a process of the test's own making."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator

import pytest

from cacheproxy.processes.orders import (
    AnyReport,
    Connection,
    ConnectionClosed,
    Heartbeat,
    Purged,
    Ready,
    decode_order,
    encode,
)
from cacheproxy.processes.packets import receive_packet, send_packet, socket_pair
from cacheproxy.processes.slot import (
    BACK_OFF_SECONDS_MAX,
    LATE_SECONDS,
    ORDERS_QUEUED_MAX,
    SETTLED_SECONDS,
    START_SECONDS,
    Slot,
)


def exited(code: int) -> int:
    return code << 8  # a wait status


@pytest.fixture
def slot() -> Iterator[Slot]:
    made = Slot("worker 0", row=2)
    yield made
    made.drop_control()


@pytest.fixture
def child(slot: Slot) -> Iterator[socket.socket]:
    """The other end of the control of a child that is started at 100."""
    ours, theirs = socket_pair()
    slot.started(os.getpid(), ours, 100.0)
    yield theirs
    theirs.close()


def delays(slot: Slot, lives: list[float]) -> list[float]:
    """Start and end the child; how long after each life it is started again."""
    found: list[float] = []
    for life in lives:
        ours, theirs = socket_pair()
        theirs.close()
        slot.started(os.getpid(), ours, 1000.0)
        assert slot.start_at is None
        slot.died(exited(1), 1000.0 + life)
        assert slot.start_at is not None
        found.append(round(slot.start_at - (1000.0 + life), 3))
    return found


def test_restarts_back_off_to_a_bound_and_start_over_after_a_long_life(slot: Slot) -> None:
    assert delays(slot, [1.0] * 8) == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, BACK_OFF_SECONDS_MAX]
    assert delays(slot, [SETTLED_SECONDS, 1.0]) == [0.1, 0.2]


def test_a_child_is_given_time_to_start_and_then_must_be_heard(
    slot: Slot, child: socket.socket
) -> None:
    assert slot.hangs_at(5.0) == 100.0 + START_SECONDS
    assert slot.hangs_at(60.0) == 160.0
    send_packet(child, encode(Heartbeat()))
    assert list(slot.reports(107.0)) == [Heartbeat()]
    assert slot.hangs_at(5.0) == 112.0
    assert not slot.late(107.0 + LATE_SECONDS)
    assert slot.late(107.1 + LATE_SECONDS)


def test_what_was_said_while_nobody_listened_counts(slot: Slot, child: socket.socket) -> None:
    """A supervisor that stood still for a minute does not take its children for dead."""
    send_packet(child, encode(Heartbeat()))
    list(slot.reports(101.0))
    send_packet(child, encode(Heartbeat()))
    list(slot.reports(161.0))
    hangs_at = slot.hangs_at(5.0)
    assert hangs_at is not None
    assert hangs_at > 161.0


def test_an_empty_slot_neither_hangs_nor_takes_orders(slot: Slot) -> None:
    assert slot.hangs_at(5.0) is None
    mine, other = socket.socketpair()
    assert not slot.send(Connection("api"), mine)
    mine.close()  # still ours
    other.close()


def test_why_it_ended(slot: Slot) -> None:
    def reason(status: int) -> str:
        ours, theirs = socket_pair()
        theirs.close()
        slot.started(os.getpid(), ours, 0.0)
        return slot.died(status, 0.0)

    assert reason(exited(3)) == "exited with 3"
    assert reason(signal.SIGBUS) == "was killed by SIGBUS"
    assert (slot.pid, slot.control, slot.ready, slot.open) == (None, None, False, 0)


def test_connections_are_counted_by_totals(slot: Slot, child: socket.socket) -> None:
    """A total may be told twice, or skip some; it is never believed backwards by the supervisor."""
    for total in (1, 3):
        send_packet(child, encode(ConnectionClosed(total)))
    send_packet(child, encode(Ready()))
    heard: list[AnyReport] = list(slot.reports(101.0))
    assert heard == [ConnectionClosed(1), ConnectionClosed(3), Ready()]


def test_orders_wait_while_the_child_does_not_read_and_arrive_in_order(
    slot: Slot, child: socket.socket
) -> None:
    sent = 0
    while not slot.backlogged:
        assert slot.send(Purged(f"{sent} " + "x" * 10_000))
        sent += 1
    mine, other = socket.socketpair()
    assert slot.send(Connection("api"), mine)
    for number in range(sent):
        data, _ = receive_packet(child)
        order = decode_order(data)
        assert isinstance(order, Purged)
        assert order.image is not None
        assert order.image.split()[0] == str(number)
        slot.flush()
    assert not slot.backlogged
    data, (fd,) = receive_packet(child)
    assert decode_order(data) == Connection("api")
    assert mine.fileno() == -1  # ours is closed: the child's is the only one
    os.close(fd)
    assert other.recv(1) == b""
    other.close()


def test_a_child_that_never_reads_is_killed(
    slot: Slot, child: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append((pid, number)))
    while slot.send(Purged("x" * 10_000)):
        assert not killed
    assert not slot.send(Purged("x"))
    assert killed == [(os.getpid(), signal.SIGKILL)]
    assert len(slot._queue) == ORDERS_QUEUED_MAX
    assert slot.hangs_at(5.0) is None
    assert child.fileno() >= 0


@pytest.mark.parametrize("last", [b"\xff", encode(["coffee"])])
def test_a_child_that_cannot_be_understood_is_dropped(
    slot: Slot, child: socket.socket, last: bytes
) -> None:
    send_packet(child, encode(Ready()))
    send_packet(child, last)
    send_packet(child, encode(Ready()))
    assert list(slot.reports(101.0)) == [Ready()]
    assert slot.control is None
    assert slot.pid is not None  # it still runs, and will be silent


def test_what_a_dead_child_said_is_heard_and_what_waited_for_it_is_closed(
    slot: Slot, child: socket.socket
) -> None:
    mine, other = socket.socketpair()
    send_packet(child, encode(ConnectionClosed(5)))
    while not slot.backlogged:
        slot.send(Purged("x" * 10_000))
    slot.send(Connection("api"), mine)
    child.close()
    assert list(slot.reports(101.0)) == [ConnectionClosed(5)]
    assert slot.control is None
    assert other.recv(1) == b""
    other.close()
