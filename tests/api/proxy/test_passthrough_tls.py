"""Uploads to an upstream over TLS that are refused in the middle: by a server that leaves, by nginx."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import ssl
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cacheproxy.config import UpstreamSettings
from cacheproxy.meter import Board
from cacheproxy.upstream import Upstream
from harness.authority import Authority
from harness.program import Program, free_port
from harness.raw_origin import LINGER_AND_RESET, Peer, Script, listener
from harness.relay import relaying, request, turns

MIB = 1 << 20
UPLOAD_BYTES = 32 * MIB
PUT = "PUT /v2/images/i/file HTTP/1.1\nContent-Type: application/octet-stream\n"

# As nginx stands before a Glance: it limits uploads, and passes them on as they come.
NGINX = """
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
{user}
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/t1; proxy_temp_path {directory}/t2;
    fastcgi_temp_path {directory}/t3; uwsgi_temp_path {directory}/t4; scgi_temp_path {directory}/t5;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        lingering_close {lingering};
        client_max_body_size 1m;
        location / {{ return 404; }}
    }}
}}
"""


def refusing(end: str, after: int) -> Script:
    """Read a little of an upload, refuse it and leave."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.reader.readexactly(after)
        await peer.send(b"HTTP/1.1 409 Conflict\r\nContent-Length: 6\r\n\r\nno way")
        if end == "reset":
            peer.reset()
        elif end == "stays":
            await peer.closed_by_peer()
        # Else it is closed with a part of the upload unread.

    return script


@contextmanager
def nginx(directory: Path, authority: Authority, lingering: str) -> Iterator[int]:
    """Run nginx and give its port."""
    binary = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if binary is None:
        reason = "nginx is not installed: apt-get install nginx-light"
        if os.environ.get("CACHEPROXY_REQUIRE_SERVICES"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    certificate, key = authority.files()
    port = free_port()
    configuration = directory / "nginx.conf"
    configuration.write_text(
        NGINX.format(
            directory=directory,
            port=port,
            certificate=certificate,
            key=key,
            lingering=lingering,
            user="user root;" if os.geteuid() == 0 else "",
        )
    )
    command: list[str | Path] = [
        binary,
        "-p",
        directory,
        "-c",
        configuration,
        "-e",
        directory / "error.log",
    ]
    program = Program("nginx", command, directory=directory)
    try:
        program.wait_for_port(port)
        yield port
    finally:
        program.stop()


@pytest.mark.parametrize("end", ["closes", "reset", "stays"])
@pytest.mark.parametrize("after", [0, MIB, 5 * MIB])
async def test_a_refusal_is_delivered(tmp_path: Path, end: str, after: int) -> None:
    authority = Authority(tmp_path)
    async with relaying(refusing(end, after), authority=authority) as relay:
        client = await relay.client()
        await client.send(request(f"{PUT}Content-Length: {UPLOAD_BYTES}"))
        sending = asyncio.create_task(client.send(b"x" * UPLOAD_BYTES))
        reply = await client.reply()
        assert (reply.status, reply.body) == (409, b"no way")
        sending.cancel()
        await asyncio.wait([sending])
        assert relay.origin.connections == 1


@pytest.mark.parametrize("politely", [True, False], ids=["unread", "reset"])
@pytest.mark.parametrize("turns_between", [1, 2, 3])
async def test_a_refusal_that_the_upload_runs_into(
    tmp_path: Path, turns_between: int, politely: bool
) -> None:
    """The reset came right behind the answer, and both in the turn in which the next piece is sent."""
    authority = Authority(tmp_path)
    with listener() as listening:

        def accept() -> ssl.SSLSocket:
            plain, _ = listening.accept()
            # Else the answer waits until TLS's session tickets are acknowledged, and is lost here.
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = authority.server().wrap_socket(plain, server_side=True)
            assert connection.recv(10)
            connection.setblocking(False)
            return connection

        def strike(connection: ssl.SSLSocket) -> None:
            connection.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
            if not politely:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_AND_RESET)
            connection.close()  # with some of the upload unread

        async def body() -> AsyncGenerator[bytes]:
            yield b"x" * 1000
            strike(await accepting)
            while True:
                yield b"x" * 1000
                await turns(turns_between)

        accepting = asyncio.create_task(asyncio.to_thread(accept))
        url = f"https://127.0.0.1:{listening.getsockname()[1]}"
        upstream = Upstream(
            UpstreamSettings(url, cafile=authority.cafile), Board.create(1).meter(0)
        )
        try:
            async with upstream.exchange("PUT", "/", [], body()) as answer:
                assert (answer.status, await answer.piece()) == (413, b"big")
        finally:
            await upstream.close()


@pytest.fixture(params=["on", "off"])
def strict_nginx(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[int, Authority]]:
    authority = Authority(tmp_path)
    with nginx(tmp_path, authority, request.param) as port:
        yield port, authority


@pytest.mark.parametrize(
    "framing", [f"Content-Length: {UPLOAD_BYTES}", "Transfer-Encoding: chunked"]
)
async def test_nginx_refuses_an_upload(strict_nginx: tuple[int, Authority], framing: str) -> None:
    port, authority = strict_nginx
    piece = b"x" * MIB
    if "chunked" in framing:
        piece = b"%x\r\n%b\r\n" % (len(piece), piece)
    async with relaying(port, authority=authority) as relay:
        for _ in range(10):
            client = await relay.client()
            await client.send(request(PUT + framing))
            sending = asyncio.create_task(client.send(piece * (UPLOAD_BYTES // MIB)))
            reply = await client.reply()
            assert reply.status == (413 if "Length" in framing else 404)
            assert b"nginx" in reply.body
            sending.cancel()
            await asyncio.wait([sending])
