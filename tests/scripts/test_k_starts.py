"""What the program makes of the upstream that it is given: no Glance, an ill one, one with a path."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from harness.downloads import clients
from harness.node import Node, async_node
from harness.origin import VERSIONS
from harness.program import REPOSITORY, free_port
from harness.raw_origin import Peer, always, raw_origin
from harness.waiting import until

START_SECONDS = 60.0


def page(status: str, body: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


@asynccontextmanager
async def started(directory: Path, upstream: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start a program that will end by itself."""
    file = directory / "cacheproxy.conf"
    file.write_text(
        f"[DEFAULT]\nbind_port = 0\n[upstream]\nurl = {upstream}\n"
        f"[cache]\ndirectory = {directory}/cache\n[metrics]\nbind_port = 0\n"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cacheproxy", "serve", "--config-file", str(file)),
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize(
    "answer",
    [
        page("200 OK", "<html>It works!</html>"),
        page("404 Not Found", "no"),
        page("300 Multiple Choices", json.dumps({"versions": {"values": [{"id": "v3.14"}]}})),
    ],
)
async def test_what_is_definitely_no_glance_ends_the_start(tmp_path: Path, answer: bytes) -> None:
    async with raw_origin(always(answer)) as other, started(tmp_path, other.url) as process:
        out, error = await asyncio.wait_for(process.communicate(), START_SECONDS)
        assert process.returncode == 1
        assert out == b""
        (line,) = error.decode().splitlines()
        assert re.search(r"error: (.*cacheproxy\.conf: )?\[upstream\] url = ", line), line
        assert "that is no Glance" in line
        assert "expected the base URL of a Glance" in line
        assert not (tmp_path / "cache" / "cacheproxy.store").exists()


async def warned(node: Node) -> None:
    """Wait for the word of the start check: the listeners are there before it."""
    warning = "warning: [upstream] url = "
    await asyncio.to_thread(until, "a warning", lambda: warning in node.program.tail())


async def test_an_ill_or_absent_one_is_warned_about_and_served_when_it_is_well(
    tmp_path: Path,
) -> None:
    well = False

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(page("200 OK", "well") if well else page("503 Later", "ill"))

    async with (
        raw_origin(script) as upstream,
        async_node(tmp_path / "ill", upstream.url) as node,
        clients(node.url) as ask,
    ):
        await warned(node)
        well = True
        answer = ask.send("GET /v2/images HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")
        assert await answer.body() == b"well"
    nobody = f"http://127.0.0.1:{free_port()}"
    async with async_node(tmp_path / "absent", nobody) as node, clients(node.url) as ask:
        await warned(node)
        for path in ("/v2/images", "/v2/images/i/file"):
            answer = ask.send(f"GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")
            await answer.body()
            assert answer.status == 503
            assert answer.headers["retry-after"] == "1"
        assert "Traceback" not in node.program.tail()


async def test_a_glance_below_a_path(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            known = request.target == "/image/versions"
            body = json.dumps(VERSIONS) if known else request.target
            await peer.send(page("200 OK", body))

    async with (
        raw_origin(script) as upstream,
        async_node(tmp_path, f"{upstream.url}/image") as node,
        clients(node.url) as ask,
    ):
        assert "warning" not in node.program.tail()
        answer = ask.send("GET /v2/images?a=b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert await answer.body() == b"/image/v2/images?a=b"
