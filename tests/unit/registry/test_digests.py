"""Manifests computed from streams, against the same said plainly over whole data."""

from __future__ import annotations

import hashlib
import random
from itertools import pairwise

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from backends.manifest import (
    CHUNK_BYTES,
    PAGE_DIGESTS,
    ManifestName,
    ManifestRoot,
    ManifestShape,
)
from registry.domain.manifest import Manifest
from registry.service import digests
from registry.service.digests import ChunkDigests, Digests, Hashing

KIB = 1 << 10
PAGE_OF_DATA = PAGE_DIGESTS * 256 * KIB
DATA = random.Random(1).randbytes(3 * 256 * KIB + 17)


def digest(data: bytes) -> bytes:
    return blake3(data).digest()


def plain_manifest(data: bytes, chunk_bytes: int) -> tuple[str, tuple[bytes, ...]]:
    """Return the name and the pages of the manifest of `data`."""
    chunks = [
        digest(data[start : start + chunk_bytes]) for start in range(0, len(data), chunk_bytes)
    ]
    pages = tuple(
        b"".join(chunks[start : start + PAGE_DIGESTS])
        for start in range(0, len(chunks), PAGE_DIGESTS)
    )
    root = ManifestRoot(ManifestShape(len(data), chunk_bytes), b"".join(map(digest, pages)))
    return str(ManifestName(chunk_bytes, digest(root.pack()))), pages


def streamed(pieces: list[bytes], chunk_bytes: int) -> Manifest:
    hashing = ChunkDigests(chunk_bytes)
    for piece in pieces:
        hashing.update(piece)
    manifest = hashing.finish()
    assert manifest is not None
    return manifest


def assert_plain(manifest: Manifest, data: bytes, chunk_bytes: int) -> None:
    name, pages = plain_manifest(data, chunk_bytes)
    assert manifest.name == name
    assert tuple(page.chunk_digests for page in manifest.pages) == pages
    assert [page.digest for page in manifest.pages] == [digest(page) for page in pages]


@given(
    st.lists(st.integers(0, len(DATA)), max_size=12).map(sorted),
    st.integers(0, len(DATA)),
    st.sampled_from(CHUNK_BYTES),
)
def test_the_pieces_do_not_matter(cuts: list[int], size: int, chunk_bytes: int) -> None:
    bounds = [0, *(min(cut, size) for cut in cuts), size]
    pieces = [DATA[start:stop] for start, stop in pairwise(bounds)]
    assert_plain(streamed(pieces, chunk_bytes), DATA[:size], chunk_bytes)


@pytest.mark.parametrize("size", [0, 1, 256 * KIB - 1, 256 * KIB, 256 * KIB + 1, len(DATA)])
def test_byte_by_byte_at_the_borders(size: int) -> None:
    pieces = [DATA[: max(0, size - 3)], *(DATA[n : n + 1] for n in range(max(0, size - 3), size))]
    assert_plain(streamed(pieces, 256 * KIB), DATA[:size], 256 * KIB)


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_several_pages(more: int) -> None:
    zeros = bytes(PAGE_OF_DATA + more)
    assert_plain(streamed([zeros], 256 * KIB), zeros, 256 * KIB)


@pytest.mark.parametrize(("more", "fits"), [(0, True), (1, False), (PAGE_OF_DATA, False)])
def test_more_than_a_manifest_lists(
    monkeypatch: pytest.MonkeyPatch, more: int, *, fits: bool
) -> None:
    monkeypatch.setattr(digests, "PAGES_MAX", 1)
    hashing = ChunkDigests(256 * KIB)
    hashing.update(bytes(PAGE_OF_DATA + more))
    assert (hashing.finish() is not None) == fits


async def test_all_digests_at_once() -> None:
    all_of_them = Digests(Hashing("sha256", 1 << 20))
    for start in range(0, len(DATA), 100_000):
        for each in all_of_them.observers:
            await each.update(DATA[start : start + 100_000])
    assert all_of_them.fields() == {
        "checksum": hashlib.md5(DATA).hexdigest(),
        "os_hash_algo": "sha256",
        "os_hash_value": hashlib.sha256(DATA).hexdigest(),
    }
    manifest = all_of_them.manifest()
    assert manifest is not None
    assert_plain(manifest, DATA, 1 << 20)
