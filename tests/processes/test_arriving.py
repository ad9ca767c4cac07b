"""Connections on their way into a worker: TLS that is never agreed on, unix sockets, a stop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from aiohttp import web

from cacheproxy.certificate import Certificate
from cacheproxy.meter import Board
from cacheproxy.processes import worker as module
from cacheproxy.processes.link import KeeperLink
from cacheproxy.processes.worker import Purgeable, Worker
from cacheproxy.web.front import Door
from harness.authority import Authority

SECONDS = 20.0


class Case:
    """A worker that shows a certificate, without a keeper and a supervisor."""

    def __init__(self, certificate: Certificate) -> None:
        self.closed = asyncio.Event()  # a connection was told to have ended
        self.worker = Worker(0, cast("KeeperLink", None), cast("Purgeable", None), 0)
        self.worker.connection_closed = self.closed.set  # type: ignore[method-assign]  # no control
        self.worker.certify(certificate)
        self.door = Door(self._answer, Board.create(1).meter(0), self.closed.set, log=False)
        self.worker._doors = {"api": self.door, "metrics": self.door}

    async def _answer(self, _: web.BaseRequest) -> web.Response:
        return web.Response(text="here")

    def accept(self, listener: socket.socket, client: socket.socket) -> None:
        """Have a client's connection handed in."""
        client.connect(listener.getsockname())
        client.setblocking(False)
        sock, _ = listener.accept()
        sock.setblocking(False)
        self.worker._accepted(sock, "api")


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    file = Authority(tmp_path).together()
    file.chmod(0o600)
    return Certificate.read(file, None, None)


@pytest.fixture
def client() -> Iterator[socket.socket]:
    with socket.socket() as sock:
        yield sock


async def test_who_never_agrees_is_left(
    certificate: Certificate, client: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HANDSHAKE_SECONDS", 0.01)
    case = Case(certificate)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        case.accept(listener, client)
        async with asyncio.timeout(SECONDS):
            await case.closed.wait()
            assert await asyncio.get_running_loop().sock_recv(client, 1) == b""
    assert not case.worker._arriving


async def test_a_stop_does_not_wait_for_him(
    certificate: Certificate, client: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ARRIVING_SECONDS", 0.01)
    case = Case(certificate)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        case.accept(listener, client)
        async with asyncio.timeout(SECONDS):
            await case.worker._let_arrive()
            await case.closed.wait()
            assert await asyncio.get_running_loop().sock_recv(client, 1) == b""


async def test_a_unix_socket_has_no_tls(certificate: Certificate, tmp_path: Path) -> None:
    case = Case(certificate)
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(str(tmp_path / "api.sock"))
        listener.listen()
        case.accept(listener, client)
        async with asyncio.timeout(SECONDS):
            await loop.sock_sendall(client, b"GET / HTTP/1.0\r\n\r\n")
            assert (await loop.sock_recv(client, 4096)).startswith(b"HTTP/1.0 200 ")
        client.close()
        await case.closed.wait()
        await case.door.drain(1)
