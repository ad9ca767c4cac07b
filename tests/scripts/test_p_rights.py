"""Who may download, where the upstream is odd, slow to tell, or away."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

import pytest

from harness.downloads import Download, clients
from harness.forwarder import forwarding
from harness.images import random_bytes
from harness.node import LIMIT_BYTES, async_node
from harness.origin import OriginImage, origin
from harness.story import CHUNK, Story, figure, story

SIZE = 4 * CHUNK + 5
DATA = random_bytes(SIZE, seed=9)
ASK_EVERY_TIME = "[upstream]\npermission_seconds = 0\n"
GO_ON = ASK_EVERY_TIME + "on_upstream_failure = serve-recently-allowed\n"
VOLATILE = {"date", "x-openstack-request-id"}
NODES = "cacheproxy_disk_free_"  # of the machine: whatever else it does


async def refusal(told: Story, image_id: str, **how: Any) -> tuple[object, ...]:
    """Be refused; everything that anybody could see of it."""
    before, seen = await told.idle(), len(told.glance.raw.heads)
    asked = told.ask(image_id, token="other", **how)
    body = await asked.body()
    fields = {name: value for name, value in asked.headers.items() if name not in VOLATILE}
    after = await told.idle()
    counted = {
        name: after[name] - before.get(name, 0.0)
        for name in after
        if after[name] != before.get(name, 0.0) and not name.startswith(NODES)
    }
    questions = [
        (head.method, head.target.replace(image_id, "IMAGE"), sorted(head.fields))
        for head in told.glance.raw.heads[seen:]
    ]
    return asked.status, body, fields, counted, questions


@pytest.mark.parametrize("how", [{}, {"wanted": "bytes=0-0"}, {"method": "HEAD"}])
async def test_not_yours_and_not_there_are_the_same(tmp_path: Path, how: dict[str, Any]) -> None:
    """Cached or not: the same questions, answer, headers and figures."""
    async with story(tmp_path, more=ASK_EVERY_TIME) as told:
        cached, uncached = (
            told.glance.add(random_bytes(SIZE, seed=seed), tokens={"member"}, refusal=404)
            for seed in (1, 2)
        )
        await told.ask(cached.id, token="member").body()
        assert figure(await told.idle(), "requests_total", result="miss") == 1
        nowhere = str(uuid.uuid4())
        first, *others = [
            await refusal(told, image_id, **how)
            for image_id in (cached.id, uncached.id, nowhere, cached.id)
        ]
        for other in others:
            assert other == first
        assert first[0] == (405 if "method" in how else 404)
        assert len(first[-1]) == 2  # type: ignore[arg-type]  # the question, and his own request
        assert uncached.shows == cached.shows - 1 == 0


@pytest.mark.parametrize(
    ("status", "record"), [(204, {"status": "active"}), (204, {"status": "uploading"}), (503, {})]
)
async def test_a_permission_is_no_promise_of_data(
    tmp_path: Path, status: int, record: dict[str, str]
) -> None:
    """Lost, staged or unreachable data: in the upstream's own words."""
    async with story(tmp_path) as told:
        image = told.glance.add(DATA, record=record, data_status=status)
        for _ in range(2):
            asked = told.ask(image.id)
            await asked.body()
            assert asked.status == status
        assert (await told.idle())["cacheproxy_cache_bytes"] < CHUNK


async def test_an_image_without_a_size_is_passed_through(tmp_path: Path) -> None:
    """Glance cannot judge a range of it, and says so only to those who may."""
    async with story(tmp_path) as told:
        image = told.glance.add(DATA, record={"size": None}, tokens={"member"})
        image.question_status = 500
        for _ in range(2):
            assert await told.ask(image.id, token="member").body() == DATA
        refused = told.ask(image.id, token="other")
        await refused.body()
        assert refused.status == 403
        samples = await told.idle()
        assert figure(samples, "requests_total", result="bypass") == 2
        assert figure(samples, "requests_total", result="refused") == 1


async def test_an_old_glance_that_ignores_ranges_and_closes(tmp_path: Path) -> None:
    """HTTP/1.0, no length: a yes each time, and nothing of what it begins to send is read."""
    async with story(tmp_path) as told:
        image = told.glance.add(DATA, ranges="ignored", framing="close", tokens={"member"})
        for _ in range(3):
            assert await told.ask(image.id, token="member").body() == DATA
        refused = told.ask(image.id, token="other")
        await refused.body()
        assert refused.status == 403
        assert image.questions == 4
        assert image.sent_bytes == SIZE
        samples = await told.idle()
        assert figure(samples, "requests_total", result="hit") == 2


async def test_while_the_upstream_is_away(tmp_path: Path) -> None:
    """What is there is served to who was allowed; all else is a 503 that says to come back."""
    async with (
        origin() as glance,
        forwarding(glance.url) as network,
        async_node(tmp_path, network.url, more=GO_ON) as node,
        clients(node.url) as ask,
    ):
        told = Story(glance, node, ask, LIMIT_BYTES)
        whole = glance.add(DATA, tokens={"member"})
        part = glance.add(random_bytes(SIZE, seed=4), tokens={"member"})
        part.publish(CHUNK)
        assert await ask(whole.id, token="member").body() == DATA
        beginning = await ask(part.id, "bytes=0-9", token="member").body()
        await told.idle()
        await network.down()

        async def answer(image: OriginImage, wanted: str | None, token: str) -> Download:
            asked = ask(image.id, wanted, token=token)
            await asked.ended()
            return asked

        assert (await answer(whole, None, "member")).data == DATA
        assert (await answer(whole, f"bytes={CHUNK}-", "member")).data == DATA[CHUNK:]
        assert (await answer(part, "bytes=0-9", "member")).data == beginning
        for image, wanted, token in (
            (whole, None, "other"),
            (whole, "bytes=0-9", "other"),
            (part, f"bytes={3 * CHUNK}-", "member"),
        ):
            asked = await answer(image, wanted, token)
            assert asked.status == 503
            assert int(asked.headers["retry-after"]) > 0
        assert figure(await told.idle(), "recently_allowed_total") == 4

        await network.up()
        tail = await answer(part, f"bytes={3 * CHUNK}-", "member")
        assert tail.data == part.content.read(3 * CHUNK, SIZE)
        whole.tokens = set()
        assert (await answer(whole, None, "member")).status == 403
        await network.down()
        assert (await answer(whole, None, "member")).status == 503  # he was refused since
        await told.idle()


async def test_while_the_upstream_says_nothing(tmp_path: Path) -> None:
    """Whoever was allowed is served before it has answered, and its answer counts when it comes."""
    async with (
        origin() as glance,
        forwarding(glance.url) as network,
        async_node(tmp_path, network.url, more=GO_ON) as node,
        clients(node.url) as ask,
    ):
        told = Story(glance, node, ask, LIMIT_BYTES)
        image = glance.add(DATA, tokens={"member"})
        assert await ask(image.id, token="member").body() == DATA
        await told.idle()
        network.silence()
        for _ in range(3):
            assert await ask(image.id, token="member").body() == DATA
        assert network.held == 1  # one question for all of them, and none besides
        samples = await asyncio.to_thread(node.metrics)
        assert figure(samples, "recently_allowed_total") == 3
        image.tokens = set()
        network.speak()
        while True:  # the question that was held may have been asked before
            asked = ask(image.id, token="member")
            await asked.body()
            if asked.status == 403:
                break
        await network.down()
        asked = ask(image.id, token="member")
        await asked.body()
        assert asked.status == 503
        await told.idle()
