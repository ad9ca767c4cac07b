"""The feed of changes over HTTP."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from registry.app import listening
from registry.service.changes import ChangeFeed
from registry.upkeep import renew_changes, sync_database

PATH = "/v2/cacheproxy/changes"
DOCUMENT = Path(__file__).parents[3] / "docs" / "changes.md"


async def get(client: Any, **query: Any) -> tuple[int, Any]:
    async with client.session.get(PATH, params=query) as answer:
        return answer.status, json.loads(await answer.read()) if answer.status == 200 else None


async def start(client: Any) -> dict[str, Any]:
    status, page = await get(client)
    assert (status, page["changes"]) == (200, [])
    return {"after": page["last"], "epoch": page["epoch"]}


async def test_a_deletion_is_told(client: Any) -> None:
    behind = await start(client)
    image_id = await client.add(b"data")
    assert (await client.call("DELETE", f"/{image_id}")).status == 204
    status, page = await get(client, **behind)
    assert (status, page) == (
        200,
        {
            "changes": [
                {"seq": 1, "image_id": image_id, "change": "data"},
                {"seq": 2, "image_id": image_id, "change": "deleted"},
            ],
            "last": 2,
            "epoch": behind["epoch"],
        },
    )
    status, page = await get(client, **behind, limit=1)
    assert [change["seq"] for change in page["changes"]] == [1]


async def test_the_documents_answer_has_our_form(client: Any) -> None:
    (text,) = re.findall(r"^(\{.*\})$", DOCUMENT.read_text(), re.MULTILINE)
    behind = await start(client)
    await client.call("DELETE", f"/{await client.create()}")
    (_, page), shown = await get(client, **behind), json.loads(text)
    assert page.keys() == shown.keys()
    assert page["changes"][0].keys() == shown["changes"][0].keys()
    assert page["changes"][0]["change"] == shown["changes"][0]["change"]


async def test_waiting(client: Any) -> None:
    behind = await start(client)
    image_id = await client.create()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(get(client, **behind, wait=60))
        await client.call("DELETE", f"/{image_id}")
    status, page = waiting.result()
    assert (status, page["changes"][0]["image_id"]) == (200, image_id)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"after": "x"}, 400),
        ({"after": "-1"}, 400),
        ({"after": ""}, 400),
        ({"after": "1" * 19}, 400),
        ({"limit": "0"}, 400),
        ({"limit": "x"}, 400),
        ({"wait": "0.5"}, 400),
        ({"limit": "99999", "wait": "99999"}, 200),
        ({"epoch": "other"}, 410),
        ({"epoch": "other", "wait": "60"}, 410),
        ({"after": "1"}, 410),
    ],
    ids=str,
)
async def test_questions(client: Any, query: dict[str, str], status: int) -> None:
    behind = await start(client)
    await client.call("DELETE", f"/{await client.create()}")
    asked = {**behind, **query}
    if query == {"after": "1"}:
        asked["after"] = 2
    assert (await get(client, **asked))[0] == status


async def test_the_number_and_its_epoch_belong_together(client: Any) -> None:
    behind = await start(client)
    for name in behind:
        assert (await get(client, **{name: behind[name]}))[0] == 400


@pytest.mark.parametrize("method", ["HEAD", "POST", "DELETE"])
async def test_it_is_only_read(client: Any, method: str) -> None:
    async with client.session.request(method, PATH) as answer:
        assert answer.status == 405
    async with client.session.get(PATH, data=b"body") as answer:
        assert answer.status == 400


async def test_answers_are_not_kept(client: Any) -> None:
    async with client.session.get(PATH) as answer:
        assert answer.headers["Cache-Control"] == "no-store"


async def test_a_stop_does_not_wait_for_those_who_wait(
    settings: Any, stores: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived = asyncio.Event()
    waiter = ChangeFeed._waiter

    @contextmanager
    def seen(feed: ChangeFeed) -> Iterator[None]:
        with waiter(feed):
            arrived.set()
            yield

    monkeypatch.setattr(ChangeFeed, "_waiter", seen)
    await sync_database(settings)
    async with aiohttp.ClientSession() as session:
        async with listening(settings, stores) as (host, port):
            async with session.get(f"http://{host}:{port}{PATH}") as answer:
                page = await answer.json()
            question = f"{PATH}?after=0&epoch={page['epoch']}&wait=60"
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(f"GET {question} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await arrived.wait()
        assert b" 200 " in await reader.readline()
        writer.close()


async def test_a_restored_database(settings: Any, stores: Any) -> None:
    await sync_database(settings)
    async with (
        listening(settings, stores) as (host, port),
        aiohttp.ClientSession(f"http://{host}:{port}") as session,
    ):
        async with session.get(PATH) as answer:
            page = await answer.json()
        query = {"after": page["last"], "epoch": page["epoch"]}
        async with session.get(PATH, params=query) as answer:
            assert answer.status == 200
        await renew_changes(settings)
        async with session.get(PATH, params=query) as answer:
            assert answer.status == 410
