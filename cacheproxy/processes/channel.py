"""One end of a message channel between two processes, on an asyncio loop.

A channel is an AF_UNIX SOCK_SEQPACKET socket pair: a message is a packet, whole or not at all, and
open descriptors ride along with it.  Sending never blocks and never waits: what the socket does not
take at once is queued, within bounds, because a peer that reads nothing must not hold us up.

Life: made -> start() -> messages… -> closed.  It is closed by close(), by the peer's end of file, by
a message that did not arrive whole, or by a failure to send.  `on_close` is called exactly once, from
inside close() or from the loop, never from inside send().  Messages that the peer sent before it
died are still delivered.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence

from cacheproxy.errors import ProxyError
from cacheproxy.processes.packets import (
    FDS_MAX,
    MESSAGE_BYTES_MAX,
    BrokenChannelError,
    close_all,
    prepare,
    receive_packet,
    send_packet,
)

QUEUE_MESSAGES_MAX = 1024  # waiting because the peer does not read
QUEUE_BYTES_MAX = 4 << 20
QUEUE_FDS_MAX = 1024

_READS_AT_ONCE = 32  # messages taken before other callbacks of the loop have their turn


class ChannelFullError(ProxyError):
    """The peer has not read for so long that the queue is full; treat it as gone."""


class Channel:
    """One end of a channel; belongs to the loop that runs while it is started."""

    def __init__(
        self,
        sock: socket.socket,
        on_message: Callable[[bytes, list[int]], None],
        on_close: Callable[[], None],
    ) -> None:
        """Take over `sock`.  `on_message` owns the descriptors that it is given."""
        prepare(sock)
        self._sock = sock
        self._on_message = on_message
        self._on_close = on_close
        self._loop: asyncio.AbstractEventLoop | None = None
        self._queue: deque[tuple[bytes, list[int]]] = deque()
        self._queued_bytes = 0
        self._queued_fds = 0
        self._peer_reads = True
        self._closed = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._queue)} queued"
        return f"<Channel {state}>"

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent or received any more."""
        return self._closed

    def start(self) -> None:
        """Begin to receive, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._sock.fileno(), self._readable)

    def send(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Send a message, now or as soon as the peer reads; after the end, do nothing.

        The caller keeps its descriptors and may close them at once.  ChannelFullError where the
        queue is full (nothing of the message is sent then); ValueError for what cannot be sent.
        """
        if not 0 < len(data) <= MESSAGE_BYTES_MAX or len(fds) > FDS_MAX:
            raise ValueError(f"not a message: {len(data)} bytes, {len(fds)} descriptors")
        if self._closed or not self._peer_reads:
            return
        if not self._queue and self._sent(data, fds):
            return
        self._enqueue(data, fds)

    def close(self) -> None:
        """End the channel; what is queued is dropped.  Again: nothing."""
        if self._closed:
            return
        self._closed = True
        self._drop_queue()
        if self._loop is not None:
            self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        self._on_close()

    def _sent(self, data: bytes, fds: Sequence[int]) -> bool:
        try:
            send_packet(self._sock, data, fds)
        except BlockingIOError:
            return False
        except (BrokenPipeError, ConnectionResetError):
            # The peer is gone.  What it said before is still to be read, then comes its end of file.
            self._peer_reads = False
            self._drop_queue()
        except OSError:  # no buffers, or too many descriptors in flight
            self._peer_reads = False
            self._drop_queue()
            if self._loop is not None:
                self._loop.call_soon(self.close)
        return True

    def _enqueue(self, data: bytes, fds: Sequence[int]) -> None:
        if (
            len(self._queue) >= QUEUE_MESSAGES_MAX
            or self._queued_bytes + len(data) > QUEUE_BYTES_MAX
            or self._queued_fds + len(fds) > QUEUE_FDS_MAX
        ):
            raise ChannelFullError(f"the peer has left {len(self._queue)} messages unread")
        copies: list[int] = []
        try:
            for fd in fds:
                copies.append(os.dup(fd))  # noqa: PERF401  (what was dup'ed must be closed on error)
        except OSError:
            close_all(copies)
            raise
        if not self._queue:
            assert self._loop is not None, "send() on a channel that was not started"
            self._loop.add_writer(self._sock.fileno(), self._writable)
        self._queue.append((data, copies))
        self._queued_bytes += len(data)
        self._queued_fds += len(copies)

    def _writable(self) -> None:
        while self._queue:
            data, copies = self._queue[0]
            if not self._sent(data, copies):
                return
            if self._queue:  # else the peer was found gone
                self._forget_first()
        self._drop_queue()

    def _forget_first(self) -> None:
        data, copies = self._queue.popleft()
        self._queued_bytes -= len(data)
        self._queued_fds -= len(copies)
        close_all(copies)

    def _drop_queue(self) -> None:
        while self._queue:
            self._forget_first()
        if self._loop is not None and self._sock.fileno() >= 0:
            self._loop.remove_writer(self._sock.fileno())

    def _readable(self) -> None:
        for _ in range(_READS_AT_ONCE):
            if self._closed:
                return
            try:
                data, fds = receive_packet(self._sock)
            except BlockingIOError:
                return
            except ConnectionResetError:
                continue  # told once, if the peer died with messages unread; then comes what it sent
            except (BrokenChannelError, OSError):
                self.close()
                return
            if not data:
                close_all(fds)
                self.close()
                return
            self._on_message(data, fds)
