"""A node's follower at a real catalog: both sides of the feed's contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cacheproxy import follower as module
from cacheproxy.account import Account
from cacheproxy.config import ServiceUserSettings
from cacheproxy.core.facts import image_facts
from cacheproxy.core.records import FeedPosition, ImageRecord
from cacheproxy.fill.gone import GoneImages
from cacheproxy.follower import Follower
from cacheproxy.meter import Board
from cacheproxy.store.recordbook import RecordBook
from registry.upkeep import renew_changes


class Node:
    """What a follower uses of its node: an upstream, records, and something that forgets images."""

    def __init__(self, client: Any, held: dict[str, ImageRecord]) -> None:
        self.client = client
        self.held = held
        self.position: FeedPosition | None = None
        self.moved = asyncio.Event()

    @asynccontextmanager
    async def exchange(self, method: str, target: str, _headers: Any) -> AsyncIterator[Any]:
        async with self.client.session.request(method, target) as answer:
            yield SimpleNamespace(status=answer.status, piece=answer.content.readany)

    async def images(self) -> AsyncIterator[tuple[str, ImageRecord]]:
        for item in list(self.held.items()):
            yield item

    def image(self, image_id: str) -> ImageRecord | None:
        return self.held.get(image_id)

    def feed_position(self) -> FeedPosition | None:
        return self.position

    def put_feed_position(self, position: FeedPosition) -> None:
        self.position = position
        self.moved.set()

    async def forget(self, image_ids: Collection[str]) -> set[str]:
        for image_id in image_ids:
            self.held.pop(image_id, None)
        return set()

    def tell(self, image_ids: Collection[str]) -> None:
        assert not image_ids

    async def until_moved(self) -> None:
        await self.moved.wait()
        self.moved.clear()


async def record(client: Any, image_id: str) -> ImageRecord:
    """Return what a node notes of an image that the catalog shows."""
    answer = await client.call("GET", f"/{image_id}")
    facts = image_facts(image_id, answer.json())
    assert facts is not None
    return ImageRecord(
        *(facts.size, facts.checksum, facts.hash_algo, facts.hash_value, "x"),
        seen=True,
        created_at=facts.created_at,
    )


async def test_a_node_follows_through_deletions_and_a_restored_database(
    client: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUESTION_PAUSE_SECONDS", 0.0)
    first, second, third, kept = [await client.add(b"data") for _ in range(4)]
    node = Node(client, {each: await record(client, each) for each in (first, second, third, kept)})
    assert (await client.call("DELETE", f"/{first}")).status == 204
    follower = Follower(
        node,
        Account(ServiceUserSettings()),
        cast("RecordBook", node),
        cast("GoneImages", node),
        poll_seconds=0.0,
        read_timeout_seconds=60.0,
        on_change=lambda _: None,
        meter=Board.create(1).meter(0),
    )
    following = asyncio.create_task(follower.run())
    try:
        await node.until_moved()  # began where the feed stands, and looked at all images once
        assert set(node.held) == {second, third, kept}
        began = node.position
        assert (await client.call("DELETE", f"/{second}")).status == 204
        await node.until_moved()
        assert set(node.held) == {third, kept}
        # The operator restores a backup and says so: the node begins anew.
        await renew_changes(settings)
        await node.until_moved()
        assert (began is not None, node.position is not None) == (True, True)
        assert cast("FeedPosition", node.position).epoch != cast("FeedPosition", began).epoch
        assert (await client.call("DELETE", f"/{third}")).status == 204
        await node.until_moved()
        assert set(node.held) == {kept}
    finally:
        following.cancel()
        await asyncio.wait({following})
