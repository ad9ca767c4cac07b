"""A child's end of its control channel: the supervisor's orders in, its own reports out.

Heartbeats go out from the loop itself, so a loop that stands still is noticed and the process
replaced.  The end of the channel means that the supervisor is gone: `on_lost` should then drain.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence

import msgspec

from cacheproxy.processes.channel import Channel, ChannelFullError
from cacheproxy.processes.orders import (
    HEARTBEAT_SECONDS,
    AnyReport,
    Certify,
    Connection,
    ConnectionClosed,
    ConnectionKind,
    Drain,
    Heartbeat,
    KeeperLink,
    LetGo,
    LinkLost,
    Purge,
    Purged,
    Ready,
    Reload,
    Reloaded,
    Tell,
    Told,
    Waiting,
    WorkerLink,
    decode_order,
    encode,
)
from cacheproxy.processes.packets import close_all


def _refuse(*_: object) -> None:
    """Stand in for a handler of orders that this kind of child never gets."""


class Control:
    """The child's side; belongs to the loop that runs while it is started.

    `on_connection(sock, kind)` and `on_link(sock, worker)` own the socket that they are given
    (not blocking); `worker` tells of the worker at the other end, None in a worker.
    `on_reload(order)` tells whether it took what the order says.
    """

    def __init__(  # noqa: PLR0913  (one callback for each kind of order)
        self,
        sock: socket.socket,
        *,
        on_link: Callable[[socket.socket, WorkerLink | None], None],
        on_drain: Callable[[], None],
        on_lost: Callable[[], None],
        on_connection: Callable[[socket.socket, ConnectionKind], None] | None = None,
        on_purged: Callable[[str | None], None] = _refuse,
        on_let_go: Callable[[], None] = _refuse,
        on_certify: Callable[[Certify], None] = _refuse,
        on_reload: Callable[[Reload], bool] = lambda _: False,
        on_told: Callable[[str, list[tuple[str, str]], int], None] = _refuse,
    ) -> None:
        self._channel = Channel(sock, self._receive, self._lost)
        self._on_link = on_link
        self._on_drain = on_drain
        self._on_lost = on_lost
        self._on_connection = on_connection
        self._on_purged = on_purged
        self._on_let_go = on_let_go
        self._on_certify = on_certify
        self._on_reload = on_reload
        self._on_told = on_told
        self._connections_closed = 0
        self._link_serial = 0
        self._closing = False
        self._beat: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to receive orders and to send heartbeats, on the running loop."""
        self._channel.start()
        self._heartbeat()

    def ready(self) -> None:
        """Report that this child serves."""
        self._send(Ready())

    def waiting(self) -> None:
        """Report that this child cannot serve for now, and goes on trying."""
        self._send(Waiting())

    def connection_closed(self) -> None:
        """Report that one of the connections handed in has ended."""
        self._connections_closed += 1
        self._send(ConnectionClosed(self._connections_closed))

    def link_lost(self) -> None:
        """Report that the link to the keeper ended, so that another one comes (if a keeper lives)."""
        self._send(LinkLost(self._link_serial))

    def purge(self, image: str | None) -> bool:
        """Have all other workers forget what they believe about an image, or about all.

        False: the supervisor stands still, and was not told.
        """
        return self._send(Purge(image))

    def tell(self, name: str, headers: Sequence[tuple[str, str]], until: int) -> None:
        """Have all other workers know what stands for a signed URL, and until when."""
        self._send(Tell(name, list(headers), until))

    def close(self) -> None:
        """End the channel and the heartbeats; `on_lost` is not called."""
        self._closing = True
        self._stop_beating()
        self._channel.close()

    def _send(self, report: AnyReport) -> bool:
        # A full channel means that the supervisor stands still.  We serve on, and it will learn what
        # it needs: totals are told anew, beats beat again, a lost purge costs `permission_seconds`.
        try:
            self._channel.send(encode(report))
        except ChannelFullError:
            return False
        return True

    def _heartbeat(self) -> None:
        self._send(Heartbeat())
        loop = asyncio.get_running_loop()
        self._beat = loop.call_later(HEARTBEAT_SECONDS, self._heartbeat)

    def _stop_beating(self) -> None:
        if self._beat is not None:
            self._beat.cancel()
            self._beat = None

    def _lost(self) -> None:
        self._stop_beating()
        if not self._closing:
            self._on_lost()

    def _receive(self, data: bytes, fds: list[int]) -> None:  # noqa: PLR0912  (one branch an order)
        try:
            order = decode_order(data)
        except msgspec.DecodeError:
            close_all(fds)
            self._channel.close()
            return
        socks = []
        for fd in fds:
            sock = socket.socket(fileno=fd)
            sock.setblocking(False)
            socks.append(sock)
        match order, socks:
            case Connection(kind), [sock] if self._on_connection is not None:
                self._on_connection(sock, kind)
            case KeeperLink(serial), [sock]:
                self._link_serial = serial
                self._on_link(sock, None)
            case WorkerLink() as worker, [sock]:
                self._on_link(sock, worker)
            case Drain(), []:
                self._on_drain()
            case Purged(image), []:
                self._on_purged(image)
            case Told(name, headers, until), []:
                self._on_told(name, headers, until)
            case LetGo(), []:
                self._on_let_go()
            case Certify() as order, []:
                self._on_certify(order)
            case Reload() as reload, []:
                self._send(Reloaded(self._on_reload(reload)))
            case _:
                for sock in socks:
                    sock.close()
                self._channel.close()
