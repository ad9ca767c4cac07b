"""Records of images and contents, and the pages of manifests."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from backends.manifest import PAGE_DIGESTS
from cacheproxy.core.records import ContentRecord, ImageRecord
from cacheproxy.store import recordbook
from harness.store_case import CHUNK, StoreCase, opened

IMAGE = ImageRecord(9, None, "sha512", "ff", "sha512:ff/262144")
CONTENT = ContentRecord(9, CHUNK, proven=True, published=False)


async def test_records_are_found_at_once_and_after_a_restart(tmp_path: Path) -> None:
    async def check(case: StoreCase) -> None:
        assert case.store.image("i") == IMAGE
        assert case.store.content(IMAGE.content) == CONTENT
        assert case.store.manifest_page(IMAGE.content, 300) == b"page"
        assert case.store.manifest_page(IMAGE.content, 0) is None
        assert case.store.image("j") is None

    async with opened(tmp_path) as case:
        case.store.put_image("i", IMAGE)
        case.store.put_content(IMAGE.content, CONTENT)
        case.store.put_manifest_page(IMAGE.content, 300, b"page")
        await check(case)
    async with opened(tmp_path) as case:
        await check(case)


@pytest.mark.parametrize("committed", [False, True])
async def test_forgetting_a_content_forgets_its_pages_only(
    case: StoreCase, committed: bool
) -> None:
    for key in ("a", "ab"):
        case.store.put_content(key, CONTENT)
        for page in (0, 1, 300):
            case.store.put_manifest_page(key, page, b"page")
    case.store.put_image("i", IMAGE)
    if committed:
        await case.store.sync()
    case.store.forget_content("a")
    case.store.forget_content("never was")
    assert case.store.content("a") is None
    assert [case.store.manifest_page("a", page) for page in (0, 1, 300)] == [None] * 3
    assert [case.store.manifest_page("ab", page) for page in (0, 1, 300)] == [b"page"] * 3
    case.store.forget_image("i")
    assert case.store.image("i") is None


@pytest.mark.parametrize("name", ["", "x" * 481, "é" * 241])
async def test_a_name_that_the_index_cannot_hold(case: StoreCase, name: str) -> None:
    assert case.store.image(name) is None
    assert case.store.content(name) is None
    with pytest.raises(ValueError, match="cannot hold"):
        case.store.put_image(name, IMAGE)


async def test_records_are_walked_in_slices(
    case: StoreCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordbook, "WALK_NAMES", 2)
    names = [f"image {number}" for number in range(5)]
    for name in names:
        case.store.put_image(name, IMAGE)
        case.store.put_content(f"content of {name}", CONTENT)
    await case.store.sync()
    case.store.forget_image(names.pop(1))
    assert [name async for name, _ in case.store.images()] == names
    assert {record async for _, record in case.store.contents()} == {CONTENT}
    await case.store.sync()
    assert case.store.records() == (4, 5)


async def test_the_loop_has_its_turn_between_two_slices(
    case: StoreCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordbook, "WALK_NAMES", 1)
    for name in ("a", "b", "c"):
        case.store.put_image(name, IMAGE)
    walked: list[str] = []

    async def walk() -> None:
        walked.extend([name async for name, _ in case.store.images()])

    task = asyncio.create_task(walk())
    await asyncio.sleep(0)
    case.store.forget_image("c")
    await task
    assert walked == ["a", "b"]


async def test_the_pages_of_a_manifest_are_walked(case: StoreCase) -> None:
    chunks = 2 * PAGE_DIGESTS + 1
    record = ContentRecord(chunks * CHUNK - 1, CHUNK, proven=True, published=False)
    case.store.put_content("c", record)
    case.store.put_manifest_page("c", 0, b"first")
    case.store.put_manifest_page("c", 2, b"third")
    case.store.put_manifest_page("c", 3, b"beyond the end")
    assert [page async for page in case.store.manifest_pages("c", record)] == [b"first", b"third"]
