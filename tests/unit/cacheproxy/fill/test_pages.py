"""Manifest pages: few in memory, checked where they were published, and never stale."""

from __future__ import annotations

import pytest
from blake3 import blake3
from msgspec.structs import replace

from backends.manifest import (
    DIGEST_BYTES,
    PAGE_BYTES,
    ManifestRoot,
    ManifestShape,
)
from cacheproxy.core.records import ContentRecord
from cacheproxy.fill import pages as module
from cacheproxy.fill.pages import ManifestPages
from harness.fill_case import CHUNK, Case
from harness.images import random_bytes

KEY = "sha512:ab/1"
COUNT = 5
DIGESTS = random_bytes(COUNT * PAGE_BYTES)
PAGES = [DIGESTS[at : at + PAGE_BYTES] for at in range(0, len(DIGESTS), PAGE_BYTES)]
SHAPE = ManifestShape(COUNT * (PAGE_BYTES // DIGEST_BYTES) * CHUNK, CHUNK)
ROOT = ManifestRoot(SHAPE, b"".join(blake3(page).digest() for page in PAGES))
RECORD = ContentRecord(
    size=SHAPE.size,
    chunk_bytes=CHUNK,
    proven=True,
    published=True,
    root=blake3(ROOT.pack()).digest(),
)


def published(case: Case) -> ManifestPages:
    pages = ManifestPages(case.store)
    pages.publish(KEY, ROOT)
    case.store.put_content(KEY, RECORD)
    return pages


async def test_few_are_kept_in_memory(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGES_MAX", 2)
    monkeypatch.setattr(module, "ROOTS_MAX", 1)
    pages = published(case)
    for number, page in enumerate(PAGES):
        pages.put(KEY, number, page)
    assert [pages.page(KEY, number) for number in range(COUNT)] == PAGES
    assert repr(pages) == "<ManifestPages 2 pages, 1 roots>"
    pages.publish("another", ROOT)
    assert pages.root(KEY, RECORD) == ROOT  # read again
    assert repr(pages) == "<ManifestPages 2 pages, 1 roots>"


async def test_what_the_index_gives_is_held_against_the_root(case: Case) -> None:
    published(case).put(KEY, 1, PAGES[1])
    case.store.put_manifest_page(KEY, 2, PAGES[1])
    case.store.put_manifest_page(KEY, 3, PAGES[3][:-1])
    again = ManifestPages(case.store)
    assert [again.page(KEY, number) for number in range(COUNT)] == [
        *(None, PAGES[1], None, None, None)
    ]


async def test_a_root_that_is_not_the_one_of_the_record_is_none(case: Case) -> None:
    published(case).put(KEY, 0, PAGES[0])
    again = ManifestPages(case.store)
    other = replace(RECORD, root=None)
    assert again.root(KEY, other) is None
    case.store.put_content(KEY, other)
    assert again.page(KEY, 0) is None


async def test_what_is_forgotten_is_gone_at_once(case: Case) -> None:
    pages = published(case)
    pages.put(KEY, 0, PAGES[0])
    pages.forget(KEY)
    assert pages.page(KEY, 0) is None
    assert pages.root(KEY, RECORD) is None
    assert case.store.content(KEY) is None


async def test_what_is_published_decides_about_pages_that_were_learnt(case: Case) -> None:
    pages = ManifestPages(case.store)
    pages.put(KEY, 0, PAGES[0])
    pages.put(KEY, 1, PAGES[0])
    assert pages.page(KEY, 1) == PAGES[0]
    pages.publish(KEY, ROOT)
    case.store.put_content(KEY, RECORD)
    assert pages.page(KEY, 0) == PAGES[0]
    assert pages.page(KEY, 1) is None
