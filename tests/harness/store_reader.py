"""A node that reads the stores of a real Glance, as that one's own file configures them.

async with store_reader(directory, glance, keystone) as told:
    image = await told.add(stores["swift"])
    assert await told.ask(image, token=told.token()).body() == DATA
    assert await told.upstream_bytes() == 0
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.downloads import Clients, clients
from harness.glance import Glance
from harness.images import random_bytes
from harness.images_api import ImagesApi
from harness.keystone import GLANCE, MEMBER, Keystone, User
from harness.node import Node, async_node
from harness.stores import Store
from harness.waiting import until

MIB = 1 << 20
SIZE = 9 * MIB + 5  # ten chunks, and as many segments
DATA = random_bytes(SIZE, seed=61)
SECRET = re.compile(r"^s3_store_secret_key = (.+)$", re.MULTILINE)
IN_LOCATIONS = f"{GLANCE.name}:{GLANCE.password}@"  # of Swift, from which a password is read
SERVICE_USER = f"""
[service_user]
auth_url = {{keystone}}
username = {GLANCE.name}
password = {GLANCE.password}
project_name = {GLANCE.project}
"""
STORES = """
[stores]
config_file = {files}
stall_seconds = {seconds}
[cache]
complete_in_background = false
"""


@dataclass(frozen=True, slots=True)
class StoreReader:
    """A running node, who asks it, and Glance behind it."""

    node: Node
    ask: Clients
    glance: Glance
    keystone: Keystone

    def token(self, user: User = MEMBER) -> str:
        """Return a token of this user."""
        return self.keystone.token(user)

    async def metric(self, name: str) -> float:
        """Return a sample of the node's metrics."""
        return (await asyncio.to_thread(self.node.metrics)).get(name, 0.0)

    async def direct_bytes(self, store: Store) -> float:
        """Return what came from stores of this kind so far."""
        return await self.metric(f'cacheproxy_direct_bytes_total{{kind="{store.kind}"}}')

    async def failures(self, store: Store) -> float:
        """Return how many reads of stores of this kind have failed."""
        return await self.metric(f'cacheproxy_direct_failures_total{{kind="{store.kind}"}}')

    async def until_failed(self, store: Store) -> None:
        """Wait until a read of the store was given up."""
        name = f'cacheproxy_direct_failures_total{{kind="{store.kind}"}}'
        await asyncio.to_thread(
            until, "a failed read", lambda: self.node.metrics().get(name, 0.0) >= 1
        )

    async def until_sent(self, image: str) -> None:
        """Wait until Glance has logged that it sent the whole of an image."""
        await asyncio.to_thread(
            until, "Glance's answer", lambda: self.glance.sent(image).count(200) == 1
        )

    async def upstream_bytes(self) -> float:
        """Return what came through Glance."""
        return await self.metric("cacheproxy_upstream_bytes_total")

    async def add(self, store: Store, data: bytes = DATA) -> str:
        """Add an image of the member's project that is in this store, and return its id."""
        return await asyncio.to_thread(self._added, store, data)

    def _added(self, store: Store, data: bytes) -> str:
        api = ImagesApi(self.glance.url, self.glance.headers)
        image = api.create(name=store.name)
        store.upload(api, image, data)
        return image


@asynccontextmanager
async def store_reader(
    directory: Path,
    glance: Glance,
    keystone: Keystone,
    *more: Path,
    account: bool = True,
    stall_seconds: float = 60.0,
    upstream: str = "",
) -> AsyncIterator[StoreReader]:
    """Run a node that has Glance's own file of stores, and files that tell what differs from it.

    It reaches Glance by way of `upstream`.  No secret of a store is in its log afterwards.
    """
    files = ",".join(str(path) for path in (glance.directory / "glance-api.conf", *more))
    told = STORES.format(files=files, seconds=stall_seconds)
    if account:
        told += SERVICE_USER.format(keystone=keystone.url)
    async with (
        async_node(directory, upstream or glance.url, more=told) as node,
        clients(node.url) as asking,
    ):
        yield StoreReader(node, asking, glance, keystone)
    said = node.program.log.read_text()
    secrets = SECRET.findall((glance.directory / "glance-api.conf").read_text())
    assert not any(secret in said for secret in (*secrets, IN_LOCATIONS))
