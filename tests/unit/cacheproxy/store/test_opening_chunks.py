"""Opening chunks: only proven bytes, and each proof made when it is needed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cacheproxy.errors import ChunkLostError
from cacheproxy.metrics import VERIFY_FAILURES
from cacheproxy.store.digest import digest_of
from cacheproxy.store.files import ChunkFiles
from contracts.cancelling import cancelled_everywhere
from harness.store_case import CHUNK, StoreCase, chunk, open_descriptors, opened

DATA = chunk(1)
DIGEST = digest_of(DATA)


async def test_what_is_not_there_is_lost(case: StoreCase) -> None:
    with pytest.raises(ChunkLostError):
        await case.store.open_proven(DIGEST, CHUNK)
    with pytest.raises(ChunkLostError):
        await case.store.warm(DIGEST, CHUNK)


async def test_a_wrong_size_is_not_the_chunks_fault(case: StoreCase) -> None:
    await case.put(DATA)
    with pytest.raises(ChunkLostError):
        await case.store.open_proven(DIGEST, CHUNK - 1)
    assert await case.read(DIGEST) == DATA
    assert case.total(VERIFY_FAILURES) == 0


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Note which chunks are read and hashed."""
    seen: list[bytes] = []
    holds_digest = ChunkFiles.holds_digest

    def noting(self: ChunkFiles, fd: int, digest: bytes) -> bool:
        seen.append(digest)
        return holds_digest(self, fd, digest)

    monkeypatch.setattr(ChunkFiles, "holds_digest", noting)
    return seen


async def test_what_was_just_written_is_proven(case: StoreCase, hashed: list[bytes]) -> None:
    await case.put(DATA)
    await case.read(DIGEST)
    assert hashed == []
    await case.store.warm(DIGEST, CHUNK)
    assert hashed == [DIGEST]


async def test_the_first_reader_after_a_restart_proves(tmp_path: Path, hashed: list[bytes]) -> None:
    async with opened(tmp_path) as case:
        await case.put(DATA)
    async with opened(tmp_path) as case:
        assert await case.read(DIGEST) == DATA
        assert hashed == [DIGEST]
        assert await case.read(DIGEST) == DATA
        assert hashed == [DIGEST]


async def test_an_old_proof_is_made_again(tmp_path: Path, hashed: list[bytes]) -> None:
    async with opened(tmp_path, proof_seconds=0) as case:
        await case.put(DATA)
        await case.read(DIGEST)
        await case.read(DIGEST)
    assert hashed == [DIGEST, DIGEST]


async def test_a_touched_file_is_proven_again(case: StoreCase, hashed: list[bytes]) -> None:
    await case.put(DATA)
    os.utime(case.path(DIGEST))
    assert await case.read(DIGEST) == DATA
    assert await case.read(DIGEST) == DATA
    assert hashed == [DIGEST]
    assert case.total(VERIFY_FAILURES) == 0


async def test_opening_cancelled_anywhere_leaves_no_descriptor(case: StoreCase) -> None:
    await case.put(DATA)
    before = open_descriptors()

    async def check() -> None:
        await case.settled()
        assert open_descriptors() == before
        assert case.store._holds.free(DIGEST)

    async def open_and_close() -> None:
        os.close((await case.store.open_proven(DIGEST, CHUNK)).fd)

    await cancelled_everywhere(open_and_close, check)
