"""What imports bring is held to the quota of the project, to the byte, over two instances."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import sqlalchemy as sa
from aiohttp import web

from backends.configuration import StoreSettings, StoresSettings
from backends.options import DataDirectory, FilesystemOptions
from harness.web_imports import WebOrigin, begin, ended
from registry.app import listening
from registry.config import Settings
from registry.db.database import Connection, Database
from registry.db.tables import image_locations, images, quota_reservations
from registry.domain.quota import Resource
from registry.fetching.options import FilterSettings
from registry.imports.options import ImportSettings
from registry.quotas.options import QuotaSettings

DATA = bytes(range(256)) * 1024
ROOM = 5  # copies of the data
MANY = 8
METHODS = ("web-download", "copy-image", "glance-direct")


@pytest.fixture
def stores(tmp_path: Path) -> StoresSettings:
    def store(name: str) -> StoreSettings:
        return StoreSettings(name, "file", FilesystemOptions((DataDirectory(tmp_path / name),)))

    return StoresSettings((store("fast"), store("slow")), "fast", True)


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return replace(
        settings,
        web=FilterSettings(allowed_hosts=("127.0.0.1",), allowed_ports=()),
        imports=ImportSettings(methods=METHODS, staging_directory=tmp_path / "staging"),
        quotas=QuotaSettings(storage=ROOM * len(DATA)),
    )


@pytest.fixture
async def clients(
    client: Any, settings: Settings, stores: StoresSettings
) -> AsyncIterator[tuple[Any, Any]]:
    """Two instances on one database."""
    async with (
        listening(settings, stores) as (host, port),
        aiohttp.ClientSession(f"http://{host}:{port}") as session,
    ):
        yield client, type(client)(session)


@pytest.fixture
async def database(catalog: object, settings: Settings) -> AsyncIterator[Database]:
    del catalog
    database = await asyncio.to_thread(Database, settings.database)
    yield database
    await database.aclose()


async def copies(database: Database) -> float:
    """Return how often the data is there, as quotas count it; nothing is reserved any more."""

    async def counted(connection: Connection) -> tuple[int, int]:
        size = sa.select(sa.func.sum(images.c.size)).select_from(images.join(image_locations))
        stored = quota_reservations.c.resource == Resource.SIZE
        reserved = sa.select(sa.func.count()).select_from(quota_reservations).where(stored)
        return (
            int((await connection.execute(size)).scalar_one() or 0),
            int((await connection.execute(reserved)).scalar_one()),
        )

    size, reserved = await database.query(counted)
    assert reserved == 0
    return size / len(DATA)


def serve(origin: WebOrigin, at_once: int, *, known: bool) -> None:
    """Let nobody have the data before so many want it."""
    barrier = asyncio.Barrier(at_once)

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        if known:
            response.content_length = len(DATA)
        await barrier.wait()
        await response.prepare(request)
        await response.write(DATA)
        return response

    origin.answers["/data"] = answer


async def imported(client: Any, image: str, origin: WebOrigin, **more: Any) -> bool:
    answer = await begin(client, image, "web-download", uri=origin.uri("/data"), **more)
    assert answer.status == 202, answer.text
    return str((await ended(client, image))["status"]) == "active"


async def reason(client: Any, image: str) -> str:
    """Return why the last import of an image has failed."""
    tasks = (await client.call("GET", f"/{image}/tasks")).json()["tasks"]
    last = max(tasks, key=lambda task: task["created_at"])
    assert last["status"] == "failure"
    return str(last["message"])


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("width", [1, 2])
async def test_many_at_once(
    clients: tuple[Any, Any], origin: WebOrigin, database: Database, *, known: bool, width: int
) -> None:
    fitting = ROOM // width
    wide: dict[str, Any] = {"stores": ["fast", "slow"][:width]}
    made = [(clients[number % 2], await clients[0].create()) for number in range(MANY)]
    serve(origin, MANY, known=known)
    came = await asyncio.gather(*(imported(*each, origin, **wide) for each in made))
    refused = [each for each, is_there in zip(made, came, strict=True) if not is_there]
    there = await copies(database)
    assert there == (MANY - len(refused)) * width
    # Of unknown size, several may stand in the way of each other.
    assert there == fitting * width if known else there <= fitting * width
    assert "exceeds the storage quota" in await reason(*refused[0])
    serve(origin, 1, known=known)
    for each in refused:  # … but what is refused leaves nothing behind
        if not await imported(*each, origin, **wide):
            break
    assert await copies(database) == fitting * width


async def test_copies(clients: tuple[Any, Any], database: Database) -> None:
    made = [(clients[number % 2], await clients[0].add(DATA)) for number in range(ROOM - 2)]
    begun = [await begin(*each, "copy-image", stores=["slow"]) for each in made]
    assert [answer.status for answer in begun] == [202, 202, 202]
    shown = [await ended(*each) for each in made]
    assert {image["status"] for image in shown} == {"active"}
    assert sorted(image["stores"] for image in shown) == ["fast", "fast,slow", "fast,slow"]
    assert await copies(database) == ROOM
    refused = next(
        each for each, image in zip(made, shown, strict=True) if image["stores"] == "fast"
    )
    assert "exceeds the storage quota" in await reason(*refused)
    other = next(image for client, image in made if image != refused[1])
    assert (await clients[0].call("DELETE", f"/{other}")).status == 204
    assert (await begin(*refused, "copy-image", stores=["slow"])).status == 202
    assert (await ended(*refused))["stores"] == "fast,slow"
    assert await copies(database) == ROOM - 1


async def test_stores_that_may_fail_are_left_out_where_there_is_no_room(
    client: Any, origin: WebOrigin, database: Database
) -> None:
    for _ in range(ROOM - 1):
        await client.add(DATA)
    serve(origin, 1, known=True)
    image = await client.create()
    more = {"all_stores": True, "all_stores_must_succeed": False}
    assert await imported(client, image, origin, **more)
    shown = await client.show(image)
    assert (shown["stores"], shown["os_glance_failed_import"]) == ("fast", "slow")
    assert await copies(database) == ROOM


async def test_staged_data(clients: tuple[Any, Any], database: Database) -> None:
    """It is refused as its import is asked for."""
    octets = {"Content-Type": "application/octet-stream"}
    made = [(clients[number % 2], await clients[0].create()) for number in range(4)]
    for client, image in made:
        assert (
            await client.call("PUT", f"/{image}/stage", data=DATA, headers=octets)
        ).status == 204
    begun = [begin(*each, "glance-direct", stores=["fast", "slow"]) for each in made]
    assert sorted(answer.status for answer in await asyncio.gather(*begun)) == [202, 202, 413, 413]
    shown = [await ended(*each) for each in made]
    assert sorted(image["status"] for image in shown) == ["active"] * 2 + ["uploading"] * 2
    assert await copies(database) == ROOM - 1
