"""Fills from the real Glance: tokens that end in the middle, stores without ranges, its own cache."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.downloads import Clients, clients
from harness.gate import Gate, gate
from harness.glance import WITH_CACHE, WITH_KEYSTONE, FileServer, _glance
from harness.images import random_bytes
from harness.images_api import ImagesApi
from harness.keystone import ADMIN, GLANCE, MEMBER, READER, Keystone
from harness.node import Node, async_node
from harness.waiting import until

MIB = 1 << 20
SIZE = 9 * MIB + 5
DATA = random_bytes(SIZE, seed=12)
CUT = 5 * MIB  # passed before the connection ends, the answer's head with it
SERVICE_USER = """
[service_user]
auth_url = {url}
username = {user.name}
password = {user.password}
project_name = {user.project}
"""


@dataclass(frozen=True, slots=True)
class Scene:
    """A node in front of a Glance, with a gate between."""

    node: Node
    between: Gate
    ask: Clients
    api: ImagesApi  # Glance itself, as a member

    async def upstream_bytes(self) -> float:
        samples = await asyncio.to_thread(self.node.metrics)
        return samples["cacheproxy_upstream_bytes_total"]

    async def idle(self) -> None:
        """Wait until no fill is in progress."""
        await asyncio.to_thread(
            until, "the fill's end", lambda: not self.node.metrics()["cacheproxy_flights"]
        )

    def chunk_files(self) -> int:
        return sum(1 for path in self.node.cache.glob("chunks/*/*") if path.is_file())

    def log(self) -> str:
        return self.node.program.log.read_text()


@pytest.fixture(scope="module")
def forgetful_glance(keystone: Keystone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a Glance with its own image cache that asks Keystone about a token each time."""
    directory = tmp_path_factory.mktemp("forgetful-glance")
    more = WITH_KEYSTONE + "token_cache_time = -1\n" + WITH_CACHE
    with _glance(directory, more, keystone=keystone.url) as url:
        yield url


@asynccontextmanager
async def scene(
    directory: Path, upstream: str, keystone: Keystone, more: str = ""
) -> AsyncIterator[Scene]:
    api = ImagesApi(upstream, {"X-Auth-Token": keystone.token(MEMBER)})
    async with (
        gate(upstream) as between,
        async_node(directory, between.url, more=more) as node,
        clients(node.url) as ask,
    ):
        yield Scene(node, between, ask, api)


def own_account(keystone: Keystone) -> str:
    return SERVICE_USER.format(url=keystone.url, user=GLANCE)


async def test_another_readers_token_goes_on_where_the_first_was_revoked(
    forgetful_glance: str, keystone: Keystone, tmp_path: Path
) -> None:
    async with scene(tmp_path, forgetful_glance, keystone) as told:
        image = await asyncio.to_thread(told.api.add, DATA)
        tokens = [await asyncio.to_thread(keystone.new_token, MEMBER) for _ in range(2)]
        told.between.hold_after(CUT)
        one = told.ask(image, token=tokens[0])
        await told.between.reached.wait()
        two = told.ask(image, f"bytes={6 * MIB}-", token=tokens[1])
        await asyncio.to_thread(
            until, "both", lambda: told.node.metrics()["cacheproxy_flights_joined_total"] >= 1
        )
        await asyncio.to_thread(keystone.revoke, tokens[0])
        told.between.cut()
        assert await one.body() == DATA
        assert await two.body() == DATA[6 * MIB :]
        await told.idle()
        assert await told.upstream_bytes() == SIZE  # at the byte
        # The revoked one is refused again, however warm the image is, once it is not believed.
        late = told.ask(image, token=await asyncio.to_thread(keystone.new_token, READER))
        await late.body()
        assert late.status == 403
        assert not any(token in told.log() for token in tokens)


@pytest.mark.parametrize("store", ["file", "http"])
async def test_the_proxys_own_account_goes_on(
    forgetful_glance: str,
    keystone: Keystone,
    file_server: FileServer,
    tmp_path: Path,
    store: str,
) -> None:
    async with scene(tmp_path, forgetful_glance, keystone, own_account(keystone)) as told:
        if store == "file":
            image = await asyncio.to_thread(told.api.add, DATA)
        else:
            image = await asyncio.to_thread(_located, told.api, keystone, file_server)
        token = await asyncio.to_thread(keystone.new_token, MEMBER)
        told.between.hold_after(CUT)
        reader = told.ask(image, token=token)
        await told.between.reached.wait()
        await asyncio.to_thread(keystone.revoke, token)
        told.between.cut()
        assert await reader.body() == DATA
        await told.idle()
        fetched = await told.upstream_bytes()
        # Without ranges it is read again from its first byte, and what is there compared.
        assert fetched == SIZE if store == "file" else SIZE < fetched <= SIZE + CUT
        assert told.chunk_files() == 10
        assert token not in told.log()


async def test_one_reader_alone_is_reset_and_the_next_goes_on(
    forgetful_glance: str, keystone: Keystone, tmp_path: Path
) -> None:
    async with scene(tmp_path, forgetful_glance, keystone) as told:
        image = await asyncio.to_thread(told.api.add, DATA)
        token = await asyncio.to_thread(keystone.new_token, MEMBER)
        told.between.hold_after(CUT)
        reader = told.ask(image, token=token)
        await told.between.reached.wait()
        await asyncio.to_thread(keystone.revoke, token)
        told.between.cut()
        assert await reader.ended() != "whole"
        assert bytes(reader.data) == DATA[: len(reader.data)]
        assert len(reader.data) <= CUT
        await told.idle()
        there = told.chunk_files()
        assert there == CUT // MIB - 1  # the head of the answer was a part of what passed
        before = await told.upstream_bytes()
        assert await told.ask(image, token=keystone.token(MEMBER)).body() == DATA
        await told.idle()
        assert await told.upstream_bytes() - before == SIZE - there * MIB


@pytest.mark.parametrize("store", ["file", "http"])
async def test_a_glance_that_caches_itself(
    forgetful_glance: str,
    keystone: Keystone,
    file_server: FileServer,
    tmp_path: Path,
    store: str,
) -> None:
    """Its answers without a range come from its cache, or fill it; those with one pass by it."""
    async with scene(tmp_path, forgetful_glance, keystone) as told:
        if store == "file":
            image = await asyncio.to_thread(told.api.add, DATA)
        else:
            image = await asyncio.to_thread(_located, told.api, keystone, file_server)
        token = keystone.token(MEMBER)
        part = told.ask(image, f"bytes={7 * MIB}-{8 * MIB - 1}", token=token)
        assert await part.body() == DATA[7 * MIB : 8 * MIB]
        assert await told.ask(image, token=token).body() == DATA
        await told.idle()
        assert await told.upstream_bytes() == SIZE
        # In Glance's cache now, if it was read whole; in ours the whole anyway.
        assert (await asyncio.to_thread(told.api.download, image)).body == DATA
        again = told.ask(image, "bytes=5-", token=token)
        assert await again.body() == DATA[5:]
        assert again.headers["etag"] == f'"{image}"'
        assert await told.upstream_bytes() == SIZE
    async with scene(tmp_path / "another", forgetful_glance, keystone) as told:
        # A second node reads what Glance has in its cache by now.
        assert await told.ask(image, token=token).body() == DATA
        await told.idle()
        assert await told.upstream_bytes() == SIZE


def _located(api: ImagesApi, keystone: Keystone, server: FileServer) -> str:
    """Add an image whose data stay behind a web server that knows no ranges."""
    (server.directory / "fills").write_bytes(DATA)
    admin = ImagesApi(api.url, {"X-Auth-Token": keystone.token(ADMIN)})
    return admin.add_located(f"{server.url}/fills", DATA, visibility="public")
