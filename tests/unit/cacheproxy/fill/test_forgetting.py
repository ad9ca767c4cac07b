"""Which chunks only some contents need."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from backends.manifest import PAGE_DIGESTS
from cacheproxy.core.records import ContentRecord
from cacheproxy.fill import forgetting
from cacheproxy.fill.forgetting import unlisted, unshared
from cacheproxy.store.chunkstore import ChunkStore
from harness.store_case import CHUNK, opened


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[ChunkStore]:
    async with opened(tmp_path) as case:
        yield case.store


def digest(number: int) -> bytes:
    return (number + 1).to_bytes(32)


def digests(*numbers: int) -> set[bytes]:
    return {digest(number) for number in numbers}


def add(store: ChunkStore, key: str, numbers: Sequence[int | None]) -> None:
    """Write a content whose chunks have these digests, None: not known yet."""
    record = ContentRecord(len(numbers) * CHUNK, CHUNK, proven=True, published=False)
    store.put_content(key, record)
    packed = b"".join(bytes(32) if number is None else digest(number) for number in numbers)
    for page in range(-(-len(numbers) // PAGE_DIGESTS)):
        of_page = packed[page * PAGE_DIGESTS * 32 : (page + 1) * PAGE_DIGESTS * 32]
        store.put_manifest_page(key, page, of_page)


async def all_unshared(store: ChunkStore, *contents: str) -> set[bytes]:
    blocks = [block async for block in unshared(store, contents)]
    assert sum(map(len, blocks)) == len(set().union(*blocks)), "a digest was given twice"
    return set().union(*blocks)


async def test_what_another_content_lists_stays(store: ChunkStore) -> None:
    add(store, "a", [1, 2, 3, None, 2])
    add(store, "b", [3, 4, None])
    add(store, "c", [1])
    assert await all_unshared(store, "a") == digests(2)
    assert await all_unshared(store, "b") == digests(4)
    assert await all_unshared(store, "c") == set()
    assert await all_unshared(store, "never was") == set()


async def test_contents_that_go_together_do_not_keep_what_they_share(store: ChunkStore) -> None:
    add(store, "a", [1, 2])
    add(store, "b", [2, 3])
    add(store, "c", [3])
    assert await all_unshared(store, "a", "b") == digests(1, 2)
    assert await all_unshared(store, "a", "b", "c") == digests(1, 2, 3)


async def test_a_long_manifest_is_looked_at_in_blocks(
    store: ChunkStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "BLOCK_DIGESTS", PAGE_DIGESTS)
    count = 3 * PAGE_DIGESTS + 5
    add(store, "long", range(count))
    add(store, "other", range(0, count, 2))
    blocks = [block async for block in unshared(store, ["long"])]
    assert len(blocks) == 4
    assert max(map(len, blocks)) <= PAGE_DIGESTS
    assert set().union(*blocks) == digests(*range(1, count, 2))


async def test_what_no_content_lists(store: ChunkStore) -> None:
    add(store, "a", [1, 2])
    assert await unlisted(store, digests(2, 3, 4)) == digests(3, 4)
    assert await unlisted(store, digests(2, 3), besides=["a"]) == digests(2, 3)
    assert await unlisted(store, []) == set()
