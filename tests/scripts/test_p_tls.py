"""TLS on the listening side: downloads, certificates that change, clients that are slow or unknown."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from harness.authority import Authority
from harness.images import random_bytes
from harness.node import Node, async_node
from harness.origin import Origin, origin
from harness.waiting import until

MIB = 1 << 20
IMAGE_BYTES = 5 * MIB + 11


@dataclass
class Case:
    """A node that talks TLS, and those whom it may trust."""

    authority: Authority
    glance: Origin
    node: Node
    certificate: Path

    @property
    def url(self) -> str:
        return self.node.url.replace("http:", "https:")

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.removeprefix("https://").partition(":")
        return host, int(port)

    def renew(self) -> None:
        """Have it show a new certificate."""
        before = self.log().count("another certificate")
        self.authority.together().chmod(0o600)
        self.node.program.process.send_signal(signal.SIGHUP)
        until("it to be taken", lambda: self.log().count("another certificate") > before)

    def log(self) -> str:
        return self.node.program.log.read_text()

    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.authority.cafile)

    async def serial(self) -> str:
        """Return the serial number of the certificate that a new client is shown."""
        _, writer = await asyncio.open_connection(*self.address, ssl=self.trusting())
        shown = writer.get_extra_info("peercert")
        writer.close()
        await writer.wait_closed()
        return str(shown["serialNumber"])

    async def no_connections(self) -> None:
        """Wait until the node has none but the one that asks."""
        await asyncio.to_thread(
            until,
            "connections to end",
            lambda: self.node.metrics()["cacheproxy_connections"] == 1,
        )


@asynccontextmanager
async def case(directory: Path, *, ask_clients: bool = False) -> AsyncIterator[Case]:
    authority = Authority(directory)
    certificate = authority.together()
    certificate.chmod(0o600)
    more = f"[DEFAULT]\ncert_file = {certificate}\n"
    if ask_clients:
        more += f"ca_file = {authority.cafile}\n"
    async with origin() as glance, async_node(directory, glance.url, more=more) as node:
        yield Case(authority, glance, node, certificate)


async def test_downloads_and_certificates_that_change_under_them(tmp_path: Path) -> None:
    async with case(tmp_path) as told:
        data = random_bytes(IMAGE_BYTES, seed=1)
        image = told.glance.add(data)
        path = f"/v2/images/{image.id}/file"
        connector = aiohttp.TCPConnector(ssl=told.trusting())
        async with aiohttp.ClientSession(told.url, connector=connector) as session:
            async with session.get(path) as answer:  # cold
                assert await answer.read() == data
            first = await told.serial()
            async with session.get(path) as slow:  # on the same connection, in the middle
                start = await slow.content.readexactly(1000)
                await asyncio.to_thread(told.renew)
                assert start + await slow.read() == data
            async with session.get(path, headers={"Range": "bytes=7-1048586"}) as answer:
                assert await answer.read() == data[7:1048587]
            assert await told.serial() != first
        assert f"images at {told.url}" in await asyncio.to_thread(told.log)
        await told.no_connections()


async def test_what_is_no_certificate_changes_nothing(tmp_path: Path) -> None:
    async with case(tmp_path) as told:
        first = await told.serial()
        await asyncio.to_thread(told.certificate.write_text, "half a file")
        told.node.program.process.send_signal(signal.SIGHUP)
        await asyncio.to_thread(
            until, "the refusal", lambda: "the certificate is not changed" in told.log()
        )
        assert await told.serial() == first
        # A worker that is started now has the one that is in force.
        worker = next(
            each
            for each in told.node.program.children()
            if f"worker 0 started (process {each.pid})" in told.log()
        )
        worker.kill()
        await asyncio.to_thread(
            until, "another worker", lambda: told.log().count("worker 0 started") == 2
        )
        assert await told.serial() == first


async def test_who_does_not_agree_on_tls_is_nobodys_burden(tmp_path: Path) -> None:
    async with case(tmp_path) as told:
        _, silent = await asyncio.open_connection(*told.address)
        plain_reader, plain = await asyncio.open_connection(*told.address)
        plain.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        with suppress(ConnectionResetError):
            assert not (await plain_reader.read()).startswith(b"HTTP")
        data = random_bytes(MIB, seed=2)
        image = told.glance.add(data)
        connector = aiohttp.TCPConnector(ssl=told.trusting())
        async with (
            aiohttp.ClientSession(told.url, connector=connector) as session,
            session.get(f"/v2/images/{image.id}/file") as answer,
        ):
            assert await answer.read() == data
        for writer in (plain, silent):
            writer.close()
        await told.no_connections()
        _, waits = await asyncio.open_connection(*told.address)  # a stop does not wait for it
        await told.serial()
    waits.close()


async def test_clients_without_a_certificate_are_refused_where_one_is_wanted(
    tmp_path: Path,
) -> None:
    async with case(tmp_path, ask_clients=True) as told:
        known = told.trusting()
        known.load_cert_chain(told.authority.together("client"))
        for context, good in ((known, True), (told.trusting(), False)):
            connector = aiohttp.TCPConnector(ssl=context)
            async with aiohttp.ClientSession(told.url, connector=connector) as session:
                if good:
                    async with session.get("/versions") as answer:
                        assert answer.status == 200
                else:
                    with pytest.raises(aiohttp.ClientError):
                        await session.get("/versions")
        await told.no_connections()
