"""Several upstreams, of which some are away or frozen; a keeper that hangs while requests pass through."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from harness.downloads import Clients, clients
from harness.node import Node, async_node
from harness.restless import IMAGE_BYTES, Restless, image_data, image_id, restless
from harness.storm import put
from harness.story import READY, STARTED, figure
from harness.waiting import until

# None of these is waited for where all is well; a keeper that hangs is left alone.
SETTINGS = """
[DEFAULT]
hang_seconds = 600
[upstream]
connect_timeout_seconds = 1
read_timeout_seconds = 2
failover_seconds = 1
permission_seconds = 0
[cache]
keeper_wait_seconds = 2
"""


@dataclass
class Scene:
    """A node in front of several upstreams, which hold the same images."""

    upstreams: list[Restless]
    node: Node
    ask: Clients

    async def read(self, number: int, wanted: str | None = None) -> int:
        """Download an image that must be right if it comes; return the status."""
        download = self.ask(image_id(number), wanted)
        assert await download.ended() == "whole"
        if download.status == 200:
            assert download.data == image_data(number)
        return download.status

    async def metric(self, name: str, **labels: str) -> float:
        return figure(await asyncio.to_thread(self.node.metrics), name, **labels)

    async def used(self, place: int, *, again: bool) -> None:
        """Wait until a URL is used by every process, or not by every one."""

        def settled() -> bool:
            unused = figure(self.node.metrics(), "upstream_unused", upstream=str(place + 1))
            return (unused == 0) is again

        await asyncio.to_thread(until, "an upstream to be used or not", settled)

    def process(self, name: str) -> int:
        return int(dict(STARTED.findall(self.node.program.log.read_text()))[name])


@asynccontextmanager
async def scene(directory: Path, count: int) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        upstreams = []
        for number in range(count):
            place = directory / str(number)
            await asyncio.to_thread(place.mkdir)
            running = restless(place)
            upstreams.append(await asyncio.to_thread(running.__enter__))
            stack.push_async_callback(asyncio.to_thread, running.__exit__, None, None, None)
        urls = ", ".join(each.url for each in upstreams)
        node = await stack.enter_async_context(async_node(directory, urls, more=SETTINGS))
        log = node.program.log
        await asyncio.to_thread(until, "all processes", lambda: READY in log.read_text())
        yield Scene(upstreams, node, await stack.enter_async_context(clients(node.url)))


async def test_the_preferred_upstream_is_away_and_comes_back(tmp_path: Path) -> None:
    async with scene(tmp_path, 2) as told:
        first, second = told.upstreams
        assert await told.read(1) == 200
        await asyncio.to_thread(first.kill)
        # Nobody sees anything of it: neither who reads, nor who changes something.
        for number in range(6):
            assert await told.read(number) == 200
            assert await put(told.node.url, f"while-away-{number}", b"x" * number) == 204
        assert len(second.arrived()) == 6
        await told.used(0, again=False)
        await asyncio.to_thread(first.start)
        await told.used(0, again=True)
        assert await put(told.node.url, "afterwards", b"y") == 204
        assert first.arrived() == [("afterwards", hashlib.sha256(b"y").hexdigest())]
        assert await told.metric("requests_total", result="error") == 0


async def test_the_preferred_upstream_is_frozen(tmp_path: Path) -> None:
    async with scene(tmp_path, 2) as told:
        first, second = told.upstreams
        first.freeze()
        try:
            # Who reads waits for `failover_seconds` at most, and has his answer from the other one.
            assert await told.read(1) == 200
            await told.used(0, again=False)
            assert await put(told.node.url, "upload", b"x") == 204
            assert len(second.arrived()) == 1
        finally:
            first.thaw()
        await told.used(0, again=True)


async def test_all_upstreams_are_away(tmp_path: Path) -> None:
    async with scene(tmp_path, 2) as told:
        assert await told.read(1) == 200
        for upstream in told.upstreams:
            await asyncio.to_thread(upstream.kill)
        for _ in range(9):
            refused = told.ask(image_id(1))
            assert await refused.ended() == "whole"
            assert refused.status == 503
            assert 1 <= int(refused.headers["retry-after"]) <= 5
        assert await told.metric("upstream_down_total") > 0
        for upstream in told.upstreams:
            await asyncio.to_thread(upstream.start)
        await told.used(0, again=True)
        await told.used(1, again=True)
        assert await told.read(1) == 200


async def test_a_frozen_upstream_holds_nobody_past_the_deadline(tmp_path: Path) -> None:
    async with scene(tmp_path, 1) as told:
        (upstream,) = told.upstreams
        upstream.freeze()
        try:
            asked = [told.read(number) for number in range(6)]
            assert set(await asyncio.gather(*asked)) == {503}
            # From now on they fail at once, uploads too: nothing of them is sent.
            for _ in range(9):
                assert await told.read(1) == 503
            assert await put(told.node.url, "upload", b"x") == 503
        finally:
            upstream.thaw()
        await told.used(0, again=True)
        assert await told.read(1) == 200
        assert upstream.arrived() == []


async def test_what_passes_through_does_not_need_the_keeper(tmp_path: Path) -> None:
    async with scene(tmp_path, 1) as told:
        keeper = psutil.Process(told.process("keeper"))
        keeper.suspend()
        try:
            answers = [told.ask.send(_show(number)) for number in range(6)]
            for each in answers:
                assert await each.ended() == "whole"
                assert each.status == 200
            data = bytes(IMAGE_BYTES)
            uploads = [put(told.node.url, f"upload-{number}", data) for number in range(3)]
            assert await asyncio.gather(*uploads) == [204] * 3
            came = {hashlib.sha256(data).hexdigest()}
            assert {digest for _, digest in told.upstreams[0].arrived()} == came
            assert await told.read(1) == 200
        finally:
            keeper.resume()


def _show(number: int) -> str:
    return f"GET /v2/images/{image_id(number)} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n"
