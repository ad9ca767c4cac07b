"""One client, one image: fetched once, kept, found again, and described as Glance describes it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from harness.downloads import clients
from harness.images import random_bytes
from harness.node import async_node
from harness.origin import origin
from harness.story import CHUNK, figure, story

SIZE = 3 * CHUNK + 4321
DATA = random_bytes(SIZE, seed=1)
ORIGINS: dict[str, dict[str, Any]] = {
    "ranges": {"ranges": "yes"},
    "no ranges": {"ranges": "refused"},
    "ranges ignored": {"ranges": "ignored"},
    "no length": {"ranges": "refused", "framing": "chunked"},
    "no end": {"ranges": "ignored", "framing": "close"},
}


@pytest.mark.parametrize("kind", ORIGINS)
async def test_a_miss_and_then_a_hit(tmp_path: Path, kind: str) -> None:
    async with story(tmp_path) as told:
        image = told.glance.add(DATA, **ORIGINS[kind])
        cold = told.ask(image.id)
        assert await cold.body() == DATA
        before = await told.idle()
        assert figure(before, "requests_total", result="miss") == 1
        assert figure(before, "served_bytes_total", source="fill") == SIZE
        assert figure(before, "upstream_bytes_total") == image.sent_bytes == SIZE
        assert figure(before, "chunks_stored_total") == told.chunk_files() == 4
        shows, requests = image.shows, len(image.data_requests)

        warm = told.ask(image.id)
        assert await warm.body() == DATA
        after = await told.idle()
        assert figure(after, "requests_total", result="hit") == 1
        assert figure(after, "served_bytes_total", source="cache") == SIZE
        assert figure(after, "upstream_bytes_total") == SIZE
        assert (image.shows, len(image.data_requests)) == (shows, requests)

        for answer in (cold, warm):
            assert answer.status == 200
            assert answer.headers["content-type"] == "application/octet-stream"
            assert answer.headers["content-length"] == str(SIZE)
            assert answer.headers["content-md5"] == hashlib.md5(DATA).hexdigest()
            assert answer.headers["accept-ranges"] == "bytes"
            assert answer.headers["x-openstack-request-id"].startswith("req-")
        # Only what was proven before the answer began has a tag.
        assert "etag" not in cold.headers
        assert warm.headers["etag"] == f'"{image.id}"'


async def test_a_part_brings_the_whole_and_the_rest_is_a_hit(tmp_path: Path) -> None:
    async with story(tmp_path) as told:
        image = told.glance.add(DATA)
        part = told.ask(image.id, f"bytes={CHUNK - 3}-{CHUNK + 2}")
        assert await part.body() == DATA[CHUNK - 3 : CHUNK + 3]
        assert part.status == 206
        assert part.headers["content-range"] == f"bytes {CHUNK - 3}-{CHUNK + 2}/{SIZE}"
        await told.idle()
        assert image.sent_bytes == SIZE
        assert await told.ask(image.id).body() == DATA
        assert await told.ended("miss") == 1
        assert await told.ended("hit") == 1
        assert image.sent_bytes == SIZE


async def test_the_next_program_finds_what_the_last_one_kept(tmp_path: Path) -> None:
    async with story(tmp_path) as told:
        image = told.glance.add(DATA)
        assert await told.ask(image.id).body() == DATA
    async with story(tmp_path) as told:
        told.glance.images[image.id] = image
        again = told.ask(image.id)
        assert await again.body() == DATA
        assert again.headers["etag"] == f'"{image.id}"'
        assert await told.ended("hit") == 1
        assert image.sent_bytes == SIZE
        assert await told.metric("upstream_requests_total") == 0


async def test_without_a_cache_everything_passes(tmp_path: Path) -> None:
    # Not a story: without a keeper there is nothing that could be left behind.
    off = "[cache]\nenabled = false\n"
    async with (
        origin() as glance,
        async_node(tmp_path, glance.url, more=off) as node,
        clients(node.url) as ask,
    ):
        image = glance.add(DATA)
        for _ in range(2):
            assert await ask(image.id).body() == DATA
        assert image.sent_bytes == 2 * SIZE
        assert list(node.cache.iterdir()) == []
