"""Records of images and contents, and the pages of manifests."""

from __future__ import annotations

from pathlib import Path

import pytest

from cacheproxy.core.records import ContentRecord, ImageRecord
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
