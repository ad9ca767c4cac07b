"""Equal bytes under two ids, and images that claim the hash of another."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from harness.images import random_bytes
from harness.origin import OriginImage
from harness.story import CHUNK, figure, story

SIZE = 3 * CHUNK + 99
DATA = random_bytes(SIZE, seed=4)
OTHER = random_bytes(SIZE, seed=5)
BEFORE_LAST = 3 * CHUNK


def claim(image: OriginImage) -> dict[str, Any]:
    """Return the fields by which another image claims to be the same."""
    return {name: image.record[name] for name in ("checksum", "os_hash_algo", "os_hash_value")}


async def test_equal_content_is_stored_once_and_fetched_for_each(tmp_path: Path) -> None:
    async with story(tmp_path) as told:
        first, second = told.glance.add(DATA), told.glance.add(DATA)
        assert await told.ask(first.id).body() == DATA
        alone = await told.idle()
        assert await told.ask(second.id).body() == DATA
        both = await told.idle()
        assert told.chunk_files() == 4
        assert figure(both, "chunks_stored_total") == 4
        await told.shrunk(alone)
        assert first.sent_bytes == second.sent_bytes == SIZE
        for image in (first, second):
            assert await told.ask(image.id).body() == DATA
        assert await told.ended("hit") == 2


async def test_two_ids_at_once_are_stored_once(tmp_path: Path) -> None:
    async with story(tmp_path, workers=3) as told:
        images = [told.glance.add(DATA) for _ in range(3)]
        bodies = await asyncio.gather(*(told.ask(image.id).body() for image in images))
        assert bodies == [DATA] * 3
        await told.idle()
        assert told.chunk_files() == 4
        assert [image.sent_bytes for image in images] == [SIZE] * 3


async def test_trusted_hashes_are_fetched_once(tmp_path: Path) -> None:
    async with story(tmp_path, workers=3, trust_upstream_hashes=True) as told:
        first, second, third = (told.glance.add(DATA) for _ in range(3))
        hold = first.hold_at(CHUNK + 1)
        one = told.ask(first.id)
        await hold.reached.wait()
        two = told.ask(second.id)  # joins the fill of the first
        await told.counted("flights_joined_total", 1)
        hold.release.set()
        assert await one.body() == DATA
        assert await two.body() == DATA
        await told.idle()
        assert await told.ask(third.id).body() == DATA
        await told.idle()
        assert (first.sent_bytes, second.sent_bytes, third.sent_bytes) == (SIZE, 0, 0)
        assert await told.ended("hit") == 1


@pytest.mark.parametrize("workers", [1, 3])
async def test_who_claims_what_is_here_gets_its_own_bytes_and_no_end(
    tmp_path: Path, workers: int
) -> None:
    async with story(tmp_path, workers=workers) as told:
        honest = told.glance.add(DATA)
        liar = told.glance.add(OTHER, record=claim(honest))
        assert await told.ask(honest.id).body() == DATA
        before = await told.idle()
        caught = told.ask(liar.id)
        assert await caught.ended() == "reset"
        assert len(caught.data) <= BEFORE_LAST
        assert OTHER.startswith(caught.data)
        after = await told.idle()
        await told.shrunk(before)
        assert told.chunk_files() == 4
        assert figure(after, "verify_failures_total") == 1
        assert figure(after, "fill_duration_seconds_count", result="mismatch") == 1
        assert figure(after, "requests_total", result="error") == 1
        # The other one is as it was.
        assert await told.ask(honest.id).body() == DATA
        assert honest.sent_bytes == SIZE
        assert await told.ended("hit") == 1


async def test_who_claims_a_hash_first_harms_nobody(tmp_path: Path) -> None:
    async with story(tmp_path) as told:
        honest = told.glance.add(DATA)
        liar = told.glance.add(OTHER, record=claim(honest))
        empty = await told.idle()
        assert await told.ask(liar.id).ended() == "reset"
        await told.idle()
        await told.shrunk(empty)
        assert told.chunk_files() == 0
        assert await told.ask(honest.id).body() == DATA
        again = told.ask(honest.id)
        assert await again.body() == DATA
        assert again.headers["etag"] == f'"{honest.id}"'
        assert honest.sent_bytes == SIZE


async def test_both_at_once_do_not_meet(tmp_path: Path) -> None:
    async with story(tmp_path, workers=3) as told:
        honest = told.glance.add(DATA)
        liar = told.glance.add(OTHER, record=claim(honest))
        holds = [image.hold_at(SIZE - 1) for image in (honest, liar)]
        good, bad = told.ask(honest.id), told.ask(liar.id)
        for hold in holds:
            await hold.reached.wait()
        await told.counted("flights", 2)
        for hold in reversed(holds):
            hold.release.set()
        assert await good.body() == DATA
        assert await bad.ended() == "reset"
        assert OTHER.startswith(bad.data)
        await told.idle()
        assert told.chunk_files() == 4


async def test_a_liar_that_shares_chunks_takes_none_of_them_away(tmp_path: Path) -> None:
    async with story(tmp_path) as told:
        honest = told.glance.add(DATA)
        mixed = DATA[: 2 * CHUNK] + OTHER[2 * CHUNK :]
        liar = told.glance.add(mixed, record=claim(honest))
        assert await told.ask(honest.id).body() == DATA
        assert await told.ask(liar.id).ended() == "reset"
        await told.idle()
        assert told.chunk_files() == 4
        assert await told.ask(honest.id).body() == DATA
        assert honest.sent_bytes == SIZE
