"""Digests: the published test vectors of BLAKE3, and zeros."""

from __future__ import annotations

import pytest

from cacheproxy.store.digest import Hashing, digest_of, zero_digest

# https://github.com/BLAKE3-team/BLAKE3, test_vectors.json: the input is 0, 1, … 250, 0, 1, …
VECTORS = {
    0: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
    1: "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
    1024: "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
}


@pytest.mark.parametrize(("size", "digest"), VECTORS.items())
def test_vectors(size: int, digest: str) -> None:
    data = bytes(i % 251 for i in range(size))
    assert digest_of(data).hex() == digest


def test_pieces_make_the_same_digest() -> None:
    data = bytes(range(256)) * 1000
    hashing = Hashing()
    hashing.update(data[:1])
    hashing.update(memoryview(data)[1:])
    assert hashing.digest() == digest_of(data)


@pytest.mark.parametrize("size", [1, 65_535, 65_536, 65_537, 1 << 20])
def test_zeros(size: int) -> None:
    assert zero_digest(size) == digest_of(bytes(size))
