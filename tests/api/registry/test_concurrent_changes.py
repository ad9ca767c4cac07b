"""Many who change one image at once, by two instances: nobody's change is lost, no limit exceeded."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from api.registry.conftest import Answer, Client
from backends.configuration import StoresSettings
from harness.catalog_database import IN_EVERY_RUN, server_of
from harness.databases import Server
from registry.app import listening
from registry.config import LimitSettings, Settings
from registry.upkeep import sync_database

DATA = bytes(range(256)) * 8192  # 2 MiB
WRITERS = 12  # of each kind
LIMIT = 5
LIMITS = LimitSettings(image_property_quota=LIMIT, image_tag_quota=LIMIT, image_member_quota=LIMIT)


@pytest.fixture(scope="session", params=IN_EVERY_RUN)
def server(request: pytest.FixtureRequest) -> Server | None:
    """Return what the database is on: each kind has locks of its own."""
    return server_of(request)


class Both:
    """Clients of two instances, in turn."""

    def __init__(self, clients: tuple[Client, Client]) -> None:
        self._clients = clients
        self._count = 0

    def next(self) -> Client:
        self._count += 1
        return self._clients[self._count % 2]


async def instances(stack: AsyncExitStack, settings: Settings, stores: StoresSettings) -> Both:
    await sync_database(settings)
    clients = []
    for _ in range(2):
        host, port = await stack.enter_async_context(listening(settings, stores))
        session = aiohttp.ClientSession(
            f"http://{host}:{port}", connector=aiohttp.TCPConnector(limit=0)
        )
        clients.append(Client(await stack.enter_async_context(session)))
    return Both((clients[0], clients[1]))


@pytest.fixture
async def both(settings: Settings, stores: StoresSettings) -> AsyncIterator[Both]:
    async with AsyncExitStack() as stack:
        yield await instances(stack, settings, stores)


@pytest.fixture
async def limited(settings: Settings, stores: StoresSettings) -> AsyncIterator[Both]:
    async with AsyncExitStack() as stack:
        yield await instances(stack, replace(settings, limits=LIMITS), stores)


def add(name: str, value: str) -> dict[str, str]:
    return {"op": "add", "path": f"/{name}", "value": value}


def member(both: Both, image_id: str, number: int) -> Awaitable[Answer]:
    return both.next().call("POST", f"/{image_id}/members", json={"member": f"project-{number}"})


def tag(both: Both, image_id: str, number: int) -> Awaitable[Answer]:
    return both.next().call("PUT", f"/{image_id}/tags/tag-{number}")


def prop(both: Both, image_id: str, number: int) -> Awaitable[Answer]:
    return both.next().patch(image_id, add(f"property-{number}", f"{number}"))


async def statuses(answers: Iterable[Awaitable[Answer]]) -> Counter[int]:
    return Counter(answer.status for answer in await asyncio.gather(*answers))


async def members_of(both: Both, image_id: str) -> set[str]:
    told = (await both.next().call("GET", f"/{image_id}/members")).json()["members"]
    return {each["member_id"] for each in told}


def properties_of(record: Any) -> dict[str, str]:
    return {name: value for name, value in record.items() if name.startswith("property-")}


async def test_what_differs_is_all_kept(both: Both) -> None:
    image_id = await both.next().create(visibility="shared")
    numbers = range(WRITERS)
    found = await statuses(
        change(both, image_id, number) for number in numbers for change in (prop, tag, member)
    )
    assert found == {200: 2 * WRITERS, 204: WRITERS}
    record = await both.next().show(image_id)
    assert properties_of(record) == {f"property-{number}": f"{number}" for number in numbers}
    assert set(record["tags"]) == {f"tag-{number}" for number in numbers}
    assert await members_of(both, image_id) == {f"project-{number}" for number in numbers}


async def test_of_those_that_differ_about_the_same_one_is_last(both: Both) -> None:
    image_id = await both.next().create(name="none", k="none")
    values = [f"value-{number}" for number in range(WRITERS)]
    found = await statuses(
        both.next().patch(
            image_id,
            {"op": "replace", "path": "/name", "value": value},
            {"op": "replace", "path": "/k", "value": value},
        )
        for value in values
    )
    assert found == {200: WRITERS}
    record = await both.next().show(image_id)
    assert record["name"] == record["k"]  # of one of them, and not of two
    assert record["k"] in values


async def test_what_is_removed_twice_is_removed_once(both: Both) -> None:
    image_id = await both.next().create(k="v", tags=["t"], visibility="shared")
    assert (await member(both, image_id, 1)).status == 200
    found = await statuses(
        both.next().patch(image_id, {"op": "remove", "path": "/k"}) for _ in range(WRITERS)
    )
    assert found == {200: 1, 409: WRITERS - 1}
    found = await statuses(
        both.next().call("DELETE", f"/{image_id}/tags/t") for _ in range(WRITERS)
    )
    assert found == {204: 1, 404: WRITERS - 1}
    path = f"/{image_id}/members/project-1"
    found = await statuses(both.next().call("DELETE", path) for _ in range(WRITERS))
    assert found == {204: 1, 404: WRITERS - 1}


async def test_a_deletion_among_changes(both: Both, stores: Any) -> None:
    image_id = await both.next().add(DATA[: 1 << 18])
    changes = [change(both, image_id, number) for number in range(4) for change in (prop, tag)]
    later = [change(both, image_id, number) for number in range(4, 8) for change in (prop, tag)]
    deletions = [both.next().call("DELETE", f"/{image_id}") for _ in range(2)]
    answers = await asyncio.gather(*changes, *deletions, *later)
    deleted = Counter(answer.status for answer in answers[len(changes) : -len(later)])
    assert deleted == {204: 1, 404: 1}
    changed = {answer.status for answer in (*answers[: len(changes)], *answers[-len(later) :])}
    assert changed <= {200, 204, 404}
    assert (await both.next().call("GET", f"/{image_id}")).status == 404
    assert list(stores.stores[0].options.directories[0].path.rglob("*")) == []


async def test_changes_while_data_comes(both: Both) -> None:
    image_id = await both.next().create()
    at_end = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield DATA[:-1]
        await at_end.wait()
        yield DATA[-1:]

    uploading = asyncio.create_task(both.next().upload(image_id, body()))
    while (await both.next().show(image_id))["status"] != "saving":
        pass
    changes = [
        change(both, image_id, number) for number in range(WRITERS) for change in (prop, tag)
    ]
    changing = asyncio.create_task(statuses(changes))
    at_end.set()  # it ends among them
    assert await changing == {200: WRITERS, 204: WRITERS}
    assert (await uploading).status == 204
    record = await both.next().show(image_id)
    assert (record["status"], record["size"]) == ("active", len(DATA))
    assert record["os_hash_value"] == hashlib.sha512(DATA).hexdigest()
    assert len(properties_of(record)) == len(record["tags"]) == WRITERS
    assert (await both.next().download(image_id)).body == DATA


async def test_two_uploads_of_one_image(both: Both) -> None:
    image_id = await both.next().create()
    bodies = [bytes([number]) * 100_000 for number in range(6)]
    answers = await asyncio.gather(*(both.next().upload(image_id, body) for body in bodies))
    assert Counter(answer.status for answer in answers) == {204: 1, 409: len(bodies) - 1}
    (kept,) = (body for body, answer in zip(bodies, answers, strict=True) if answer.status == 204)
    assert (await both.next().download(image_id)).body == kept


async def test_limits_hold(limited: Both) -> None:
    image_id = await limited.next().create(visibility="shared")
    for change, good in ((prop, 200), (tag, 204), (member, 200)):
        found = await statuses(change(limited, image_id, number) for number in range(WRITERS))
        assert found == {good: LIMIT, 413: WRITERS - LIMIT}
    record = await limited.next().show(image_id)
    assert len(properties_of(record)) == len(record["tags"]) == LIMIT
    assert len(await members_of(limited, image_id)) == LIMIT
