"""A worker: serves the connections that the supervisor hands it."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Protocol

from cacheproxy.certificate import Certificate
from cacheproxy.headers import Headers
from cacheproxy.processes.control import Control
from cacheproxy.processes.link import KeeperLink
from cacheproxy.processes.orders import Certify, ConnectionKind
from cacheproxy.web.front import Door

TOUCH_SECONDS = 0.25  # how often the use of chunks is told to the keeper, which must not evict them
HANDSHAKE_SECONDS = 10.0  # for a client to agree on TLS
FAREWELL_SECONDS = 5.0  # for the other side to close TLS in order
ARRIVING_SECONDS = 1.0  # a stop's patience with those who have not agreed yet

log = logging.getLogger(__name__)


class Purgeable(Protocol):
    """Remembers something about images."""

    def purge(self, image_id: str | None) -> None:
        """Forget it, of one image or all."""


class Worker:
    """Wires the supervisor's orders, the keeper's link and the two doors; made on its loop."""

    def __init__(
        self,
        number: int,
        link: KeeperLink,
        permissions: Purgeable,
        drain_seconds: float,
    ) -> None:
        self._number = number
        self._link = link
        self.beliefs = [permissions]  # all that is purged when an image changes
        self._drain_seconds = drain_seconds
        self._tls: ssl.SSLContext | None = None
        self._doors: dict[ConnectionKind, Door] = {}
        self._control: Control | None = None
        self._stop = asyncio.Event()
        self._arriving: set[asyncio.Task[None]] = set()
        self.on_told: Callable[[str, Headers, int], None] = lambda *_: None

    def certify(self, certificate: Certificate) -> None:
        """Talk TLS with API clients who come from now on, and show this."""
        self._tls = certificate.context()

    def connection_closed(self) -> None:
        """A client has left."""
        if self._control is not None:
            self._control.connection_closed()

    def changed(self, image_id: str) -> None:
        """A request that passes through may change an image: nobody believes what he knew."""
        self._purge(image_id)
        if self._control is not None:
            self._control.purge(image_id)

    def tell(self, name: str, headers: Headers, until: int) -> None:
        """A signed URL was given, or renewed: all workers shall honour it."""
        if self._control is not None:
            self._control.tell(name, headers, until)

    def deleted(self, image_id: str) -> None:
        """A request that passed through has deleted an image."""
        self._link.gone(image_id)

    async def run(self, control: socket.socket, api: Door, metrics: Door) -> None:
        """Serve until told to drain, or until the supervisor is gone."""
        self._doors = {"api": api, "metrics": metrics}
        self._control = Control(
            control,
            on_connection=self._accepted,
            on_link=lambda sock, _: self._link.connect(sock),
            on_drain=self._stop.set,
            on_purged=self._purge,
            on_told=self._told,
            on_let_go=self._link.hot.clear,
            on_certify=self._certify,
            on_lost=self._stop.set,
        )
        self._link.on_lost = self._control.link_lost
        touching = asyncio.create_task(self._touch())
        try:
            self._control.start()
            self._control.ready()
            await self._stop.wait()
            await self._let_arrive()
            await asyncio.gather(*(door.drain(self._drain_seconds) for door in (api, metrics)))
        finally:
            touching.cancel()
            self._link.disconnect()
            self._control.close()

    def _told(self, name: str, headers: Headers, until: int) -> None:
        self.on_told(name, headers, until)

    def _purge(self, image_id: str | None) -> None:
        for each in self.beliefs:
            each.purge(image_id)

    def _certify(self, order: Certify) -> None:
        self.certify(Certificate(order.chain, order.key, order.authorities))

    async def _let_arrive(self) -> None:
        if self._arriving:
            await asyncio.wait(self._arriving, timeout=ARRIVING_SECONDS)
        for task in self._arriving:
            task.cancel()

    def _accepted(self, sock: socket.socket, kind: ConnectionKind) -> None:
        # Who may reach a unix socket needs no proof that it is ours.
        tls = self._tls if kind == "api" and sock.family != socket.AF_UNIX else None
        task = asyncio.create_task(self._serve(sock, self._doors[kind], tls))
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)

    async def _serve(self, sock: socket.socket, door: Door, tls: ssl.SSLContext | None) -> None:
        try:
            if sock.family in (socket.AF_INET, socket.AF_INET6):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().connect_accepted_socket(
                partial(door, sock if tls is None else None),
                sock,
                ssl=tls,
                ssl_handshake_timeout=None if tls is None else HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=None if tls is None else FAREWELL_SECONDS,
            )
        except (
            OSError,
            asyncio.CancelledError,
        ) as error:  # it left, or is left, before it was here
            log.debug("worker %d: a connection was lost on its way in: %s", self._number, error)
            sock.close()
            self.connection_closed()

    async def _touch(self) -> None:
        while True:
            await asyncio.sleep(TOUCH_SECONDS)
            self._link.flush_touches()
