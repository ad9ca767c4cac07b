"""Manifests: pages, what is known, and what a content is called."""

from __future__ import annotations

import pytest

from backends.manifest import PAGE_DIGESTS
from cacheproxy.core.facts import ImageFacts
from cacheproxy.core.geometry import Grid
from cacheproxy.core.manifest import Manifest, content_id

DIGEST = bytes(range(32))
COUNT = PAGE_DIGESTS + 3


def facts(algorithm: str | None, value: str | None) -> ImageFacts:
    return ImageFacts(image_id="i", size=1, checksum=None, hash_algo=algorithm, hash_value=value)


def test_what_is_learnt_is_saved_once_by_page_and_loaded_again() -> None:
    pages: dict[int, bytes] = {}
    manifest = Manifest(Grid(COUNT, 1), pages.get)
    assert manifest.digest(0) is None
    manifest.learn(PAGE_DIGESTS + 2, DIGEST)
    saved = list(manifest.changed_pages())
    assert [number for number, _ in saved] == [1]
    assert list(manifest.changed_pages()) == []
    pages.update(saved)
    again = Manifest(Grid(COUNT, 1), pages.get)
    assert again.digest(PAGE_DIGESTS + 2) == DIGEST
    assert again.digest(PAGE_DIGESTS + 1) is None
    assert [number for number, _ in again.pages()] == [0, 1]


def test_a_known_digest_is_never_replaced() -> None:
    manifest = Manifest(Grid(2, 1), lambda _: None)
    manifest.learn(1, DIGEST)
    manifest.learn(1, DIGEST)
    with pytest.raises(ValueError, match="chunk 1"):
        manifest.learn(1, bytes([1]) * 32)
    assert manifest.digest(1) == DIGEST


def test_a_page_of_another_length_counts_as_unknown() -> None:
    manifest = Manifest(Grid(2, 1), lambda _: DIGEST)
    assert manifest.digest(0) is None


def test_content_is_named_by_a_hash_that_can_be_computed() -> None:
    assert content_id(facts("sha512", "ab" * 64)) == "sha512:" + "ab" * 64
    assert content_id(facts("sha512", "ab" * 32)) is None
    assert content_id(facts("md5", "ab" * 16)) is None
    assert content_id(facts("whirlpool", "ab" * 64)) is None
    assert content_id(facts(None, None)) is None
