"""Packets with descriptors over AF_UNIX SOCK_SEQPACKET socket pairs: whole or not at all.

Light on purpose: the supervisor imports this, and must not import asyncio.
"""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Sequence

from cacheproxy.errors import ProxyError

MESSAGE_BYTES_MAX = 128 << 10
FDS_MAX = 64  # descriptors of one message; the kernel's own limit is 253

_BUFFER_BYTES = 2 * MESSAGE_BYTES_MAX  # of the socket; the kernel adds its overhead, may clip it
_FD_BYTES = array.array("i").itemsize
_ANCILLARY_BYTES = socket.CMSG_SPACE(FDS_MAX * _FD_BYTES)


class BrokenChannelError(ProxyError):
    """A message did not arrive whole: the channel is of no more use."""


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected ends, close-on-exec, not blocking, with room for the largest message."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        prepare(end)
    return ends


def prepare(sock: socket.socket) -> None:
    """Make an end ready for use here: not blocking, with room for the largest message."""
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)


def send_packet(sock: socket.socket, data: bytes, fds: Sequence[int] = ()) -> None:
    """Send one message at once; BlockingIOError where the socket's buffer is full."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([data], rights)


def receive_packet(sock: socket.socket) -> tuple[bytes, list[int]]:
    """Take one message with its descriptors (close-on-exec, now ours); `b""` at the end of file.

    BlockingIOError where there is none; BrokenChannelError where it did not arrive whole (too long,
    or this process has no descriptor left).
    """
    data, ancillary, flags, _ = sock.recvmsg(
        MESSAGE_BYTES_MAX, _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC
    )
    fds = array.array("i")
    for level, kind, payload in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(payload[: len(payload) - len(payload) % _FD_BYTES])
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        close_all(fds)
        raise BrokenChannelError("a message did not arrive whole")
    return data, list(fds)


def close_all(fds: Sequence[int]) -> None:
    """Close received descriptors that nobody wants."""
    for fd in fds:
        os.close(fd)
