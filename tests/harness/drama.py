"""Instances of a catalog behind HAProxy, their customers, and mayhem among them.

async with drama(tmp_path, server, keystone, seed=1) as played:
    await played.rage(seconds=300)
    figures = await played.audit()
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from harness.audit import Audit, opened
from harness.customers import Customer
from harness.databases import Server
from harness.fleet import Fleet, running_fleet
from harness.image_clients import LibraryClient, PlainClient, SdkClient
from harness.keystone import ADMIN, MEMBER, PARTNER, STRANGER, Keystone
from harness.ledger import Data, Entry, Ledger, Register
from harness.mayhem import Mayhem
from harness.web_imports import web_origin
from registry.db.database import Database

CUSTOMERS = 7
COMMON = 2  # images that all customers write to
USERS = (MEMBER, STRANGER, PARTNER)
QUOTA = "100GB"  # so that all that is stored is counted
LEFT_BYTES = 1000  # of the quota in the end


class Pages(dict[str, Callable[[web.BaseRequest], web.Response]]):
    """What the web has for imports: at /SEED/SIZE such data."""

    def __missing__(self, path: str) -> Callable[[web.BaseRequest], web.Response]:
        seed, size = map(int, path.strip("/").split("/"))
        return lambda _request: web.Response(body=Data(seed, size).content)


@dataclass(frozen=True, slots=True)
class Drama:
    """All of it."""

    fleet: Fleet
    mayhem: Mayhem
    ledger: Ledger
    customers: tuple[Customer, ...]
    admins: list[PlainClient]  # one at each instance
    member: PlainClient  # at the first instance
    database: Database
    database_url: str
    keystone: Keystone

    async def rage(self, seconds: float, *, database_restarts: int | None = None) -> None:
        """Let the customers live among mayhem for so long, and tell their stories to the end."""
        over = asyncio.Event()
        living = [asyncio.create_task(each.live(over)) for each in self.customers]
        try:
            await self.mayhem.rage(seconds, database_restarts=database_restarts)
            over.set()
            await asyncio.gather(*living)
        finally:
            for task in living:
                task.cancel()
            await asyncio.gather(*living, return_exceptions=True)

    async def audit(self) -> dict[str, Any]:
        """See that everything is as it was acknowledged; return figures."""
        audit = Audit(self.fleet, self.database, self.ledger, self.admins)
        figures = await audit.hold()
        await self._hold_to_quota(audit)
        return {"mayhem": dict(sorted(self.mayhem.deeds.items())), **figures}

    async def _hold_to_quota(self, audit: Audit) -> None:
        """See that a project's images are counted to the byte, in each store."""
        project = await asyncio.to_thread(self.keystone.project_id, MEMBER)
        own = [
            image for image in await audit.every_record(self.admins[0]) if image["owner"] == project
        ]
        used = sum((image["size"] or 0) * len(image.get("stores", "").split(",")) for image in own)
        instance = self.fleet.instances[0]
        quota = f"{used + LEFT_BYTES}B"
        self.fleet.configure(self.database_url, self.keystone.url, quota)
        await asyncio.to_thread(instance.stop)
        await asyncio.to_thread(instance.start)
        for size, expected in ((LEFT_BYTES + 1, 413), (LEFT_BYTES, 204), (1, 413)):
            image = (await self.member.create({"name": "the last"})).body["id"]
            reply = await self.member.upload(image, bytes(size))
            assert reply.status == expected, (size, reply)


@asynccontextmanager
async def drama(
    directory: Path, server: Server, keystone: Keystone, seed: int
) -> AsyncIterator[Drama]:
    """Set the stage, on an empty database of a server."""
    name = await asyncio.to_thread(server.create)
    async with AsyncExitStack() as stack:
        running = running_fleet(directory, server.url(name), keystone.url, QUOTA)
        fleet = await asyncio.to_thread(running.__enter__)
        stack.push_async_callback(asyncio.to_thread, running.__exit__, None, None, None)
        connector = aiohttp.TCPConnector(limit=0, force_close=True)  # so that nothing is repeated
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        origin = await stack.enter_async_context(web_origin())
        origin.answers = Pages()
        database = await stack.enter_async_context(opened(server.url(name)))
        ledger = Ledger()
        token = await asyncio.to_thread(keystone.token, ADMIN)
        admins = [PlainClient(session, instance.url, token) for instance in fleet.instances]
        ledger.common += [await _common(admins[0]) for _ in range(COMMON)]
        customers = []
        for number in range(CUSTOMERS):
            user, neighbour = USERS[number % 3], USERS[(number + 1) % 3]
            clients = await asyncio.to_thread(_clients, session, fleet.url, keystone, user)
            for client in clients:
                stack.callback(client.close)
            its_token = await asyncio.to_thread(keystone.token, neighbour)
            customers.append(
                Customer(
                    *(number, seed, ledger),
                    clients=clients,
                    neighbour=PlainClient(session, fleet.url, its_token),
                    admin=PlainClient(session, fleet.url, token),
                    neighbours_project=await asyncio.to_thread(keystone.project_id, neighbour),
                    origin=origin,
                )
            )
        yield Drama(
            *(fleet, Mayhem(fleet, server, seed), ledger, tuple(customers), admins),
            member=PlainClient(session, fleet.instances[0].url, keystone.token(MEMBER)),
            database=database,
            database_url=server.url(name),
            keystone=keystone,
        )


def _clients(
    session: aiohttp.ClientSession, url: str, keystone: Keystone, user: Any
) -> tuple[PlainClient, ...]:
    token = keystone.token(user)
    return (
        PlainClient(session, url, token),
        LibraryClient(session, url, token),
        SdkClient(session, url, keystone, user),
    )


async def _common(admin: PlainClient) -> Entry:
    reply = await admin.create({"name": "common"})
    assert reply.status == 201, reply
    return Entry(reply.body["id"], -1, Data(0, 0), status=Register("queued"))
