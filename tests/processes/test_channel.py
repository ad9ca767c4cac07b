"""Channels over real socket pairs: messages whole and in order, descriptors owned, ends noticed.

The rules of every test see to it that no descriptor is left behind.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import resource
import socket
from pathlib import Path

import pytest

from cacheproxy.processes.channel import (
    QUEUE_FDS_MAX,
    QUEUE_MESSAGES_MAX,
    Channel,
    ChannelFullError,
)
from cacheproxy.processes.packets import (
    FDS_MAX,
    MESSAGE_BYTES_MAX,
    BrokenChannelError,
    receive_packet,
    send_packet,
    socket_pair,
)
from harness.rules import open_descriptors

PATIENCE_SECONDS = 20.0  # only a broken channel takes so long


class End:
    """A started channel that notes what it hears."""

    def __init__(self, sock: socket.socket) -> None:
        self.heard: asyncio.Queue[tuple[bytes, list[int]]] = asyncio.Queue()
        self.closes = 0
        self.closed = asyncio.Event()
        self.channel = Channel(
            sock, lambda data, fds: self.heard.put_nowait((data, fds)), self._end
        )
        self.channel.start()

    def _end(self) -> None:
        self.closes += 1
        self.closed.set()

    async def hear(self) -> tuple[bytes, list[int]]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.heard.get()

    async def end(self) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.closed.wait()
        assert self.closes == 1
        assert self.channel.closed


def file_saying(text: bytes) -> int:
    """Return a descriptor of a file with this text, whose end of file deletes it."""
    fd = os.memfd_create("note")
    os.pwrite(fd, text, 0)
    return fd


def read_and_close(fd: int) -> bytes:
    try:
        assert not os.get_inheritable(fd), "received descriptors are close-on-exec"
        return os.pread(fd, 100, 0)
    finally:
        os.close(fd)


async def test_messages_arrive_whole_and_in_order_both_ways() -> None:
    left, right = map(End, socket_pair())
    sent = [b"a", b"\0" * MESSAGE_BYTES_MAX, b"end"]
    for data in sent:
        left.channel.send(data)
        right.channel.send(data[::-1])
    assert [await right.hear() for _ in sent] == [(data, []) for data in sent]
    assert [await left.hear() for _ in sent] == [(data[::-1], []) for data in sent]
    left.channel.close()
    await right.end()
    assert left.closes == 1
    left.channel.close()
    left.channel.send(b"nobody hears")
    assert left.closes == 1


async def test_descriptors_ride_along_and_the_sender_keeps_its_own() -> None:
    left, right = map(End, socket_pair())
    mine = [file_saying(b"%d" % i) for i in range(FDS_MAX)]
    left.channel.send(b"files", mine)
    data, theirs = await right.hear()
    assert data == b"files"
    assert [read_and_close(fd) for fd in theirs] == [b"%d" % i for i in range(FDS_MAX)]
    assert [read_and_close(fd) for fd in mine] == [b"%d" % i for i in range(FDS_MAX)]
    left.channel.close()
    right.channel.close()


async def test_what_the_peer_does_not_take_waits_with_its_descriptors() -> None:
    near, far = socket_pair()
    left = End(near)
    count = 0
    while "0 queued" in repr(left.channel) or count < 20:
        fd = file_saying(b"%d" % count)
        left.channel.send(b"%d" % count + b" " * 60_000, [fd])
        os.close(fd)  # the channel has its own copy by now
        count += 1
    right = End(far)
    for number in range(count):
        data, fds = await right.hear()
        assert data == b"%d" % number + b" " * 60_000
        assert [read_and_close(fd) for fd in fds] == [b"%d" % number]
    assert repr(left.channel) == "<Channel 0 queued>"
    left.channel.close()
    right.channel.close()


@pytest.mark.parametrize(("size", "fds_each"), [(1, 0), (MESSAGE_BYTES_MAX, 0), (1, FDS_MAX)])
async def test_the_queue_is_bounded_and_a_refused_message_leaves_nothing(
    size: int, fds_each: int
) -> None:
    near, far = socket_pair()
    left = End(near)
    note = file_saying(b"x")

    def flood() -> None:
        for _ in range(10 * QUEUE_MESSAGES_MAX):
            left.channel.send(b"x" * size, [note] * fds_each)

    with pytest.raises(ChannelFullError):
        flood()
    assert len(left.channel._queue) <= QUEUE_MESSAGES_MAX
    open_before = open_descriptors()
    assert sum(len(fds) for _, fds in left.channel._queue) <= QUEUE_FDS_MAX
    with pytest.raises(ChannelFullError):
        left.channel.send(b"x" * size, [note] * fds_each)
    assert open_descriptors() == open_before
    assert not left.channel.closed
    left.channel.close()  # drops the queue; what the socket holds goes with its other end
    far.close()
    os.close(note)


async def test_messages_of_a_dead_peer_are_delivered_before_its_end() -> None:
    near, far = socket_pair()
    left = End(near)
    left.channel.send(b"it never reads this")
    for data in (b"one", b"two"):
        send_packet(far, data)
    far.close()  # with an unread message: the kernel tells us of a reset first
    left.channel.send(b"nor this")
    assert not left.channel.closed
    assert [await left.hear(), await left.hear()] == [(b"one", []), (b"two", [])]
    await left.end()


async def test_a_queue_for_a_dead_peer_is_dropped() -> None:
    near, far = socket_pair()
    left = End(near)
    note = file_saying(b"x")
    while "0 queued" in repr(left.channel):
        left.channel.send(b"x" * MESSAGE_BYTES_MAX, [note])
    os.close(note)
    far.close()
    await left.end()
    assert not left.channel._queue


async def test_close_inside_a_message_ends_the_reading() -> None:
    near, far = socket_pair()
    heard: list[bytes] = []
    ended = asyncio.Event()

    def once(data: bytes, fds: list[int]) -> None:
        assert not fds
        heard.append(data)
        channel.close()

    channel = Channel(near, once, ended.set)
    for data in (b"one", b"two"):
        send_packet(far, data)
    channel.start()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await ended.wait()
    far.close()
    assert heard == [b"one"]


@pytest.mark.parametrize(
    ("data", "fds"), [(b"", 0), (b"x" * (MESSAGE_BYTES_MAX + 1), 0), (b"x", FDS_MAX + 1)]
)
async def test_what_is_no_message_is_refused(data: bytes, fds: int) -> None:
    left, right = map(End, socket_pair())
    with pytest.raises(ValueError, match="not a message"):
        left.channel.send(data, [0] * fds)
    left.channel.send(b"fine")
    assert await right.hear() == (b"fine", [])
    left.channel.close()
    right.channel.close()


async def test_a_message_that_is_too_long_ends_the_channel_and_its_descriptors() -> None:
    near, far = socket_pair()
    note = file_saying(b"x")
    send_packet(far, b"x" * (MESSAGE_BYTES_MAX + 1), [note])
    os.close(note)
    left = End(near)
    await left.end()
    assert left.heard.empty()
    far.close()


def test_a_process_without_free_descriptors_keeps_none_of_a_message() -> None:
    near, far = socket_pair()
    note = file_saying(b"x")
    send_packet(far, b"x", [note, note, note])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = next(n for n in itertools.count() if not Path(f"/proc/self/fd/{n}").exists())
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, hard))  # room for one of the three
    try:
        with pytest.raises(BrokenChannelError):
            receive_packet(near)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for fd in (note, near.fileno(), far.fileno()):
        os.fstat(fd)  # ours are still there
    near.close()
    far.close()
    os.close(note)
