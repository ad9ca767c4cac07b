"""Opening chunks: only proven bytes, and each proof made when it is needed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cacheproxy.errors import ChunkLostError
from cacheproxy.metrics import VERIFY_FAILURES
from cacheproxy.store import provenchunks
from cacheproxy.store.digest import digest_of
from cacheproxy.store.proving import read_proven
from contracts.cancelling import cancelled_everywhere
from harness.damage import rot
from harness.store_case import CHUNK, StoreCase, chunk, chunk_path, open_descriptors, opened

DATA = chunk(1)
DIGEST = digest_of(DATA)
OTHER = chunk(2)


async def test_what_is_not_there_is_lost(case: StoreCase) -> None:
    with pytest.raises(ChunkLostError):
        await case.store.open_proven(DIGEST, CHUNK)
    with pytest.raises(ChunkLostError):
        await case.store.prove(DIGEST, CHUNK)


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

    def noting(
        fd: int, digest: bytes, size: int, on_error: Callable[[OSError], None]
    ) -> bytearray | None:
        seen.append(digest)
        return read_proven(fd, digest, size, on_error)

    monkeypatch.setattr(provenchunks, "read_proven", noting)
    return seen


async def test_what_was_just_written_is_proven(case: StoreCase, hashed: list[bytes]) -> None:
    await case.put(DATA)
    await case.read(DIGEST)
    assert hashed == []
    await case.store.prove(DIGEST, CHUNK)
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


async def test_never_verifying_believes_a_file_that_nobody_wrote_to(
    tmp_path: Path, hashed: list[bytes]
) -> None:
    async with opened(tmp_path) as case:
        await case.put(DATA)
        await case.put(OTHER)
    rot(chunk_path(tmp_path, DIGEST))
    cut = digest_of(OTHER)
    os.truncate(chunk_path(tmp_path, cut), CHUNK - 1)
    async with opened(tmp_path, verify="never") as case:
        await case.store.reconciled()
        assert await case.read(DIGEST) != DATA, "nobody looks"
        assert hashed == []
        # A size that is wrong, or a write that shows, is looked at all the same.
        with pytest.raises(ChunkLostError):
            await case.store.open_proven(cut, CHUNK)
        os.utime(case.path(DIGEST))
        with pytest.raises(ChunkLostError):
            await case.store.open_proven(DIGEST, CHUNK)
        assert hashed == [cut, DIGEST]
        assert case.total(VERIFY_FAILURES) == 2


async def test_a_proof_is_as_old_as_its_reading(case: StoreCase) -> None:
    await case.put(DATA)
    ages = []
    for _ in range(2):
        chunk = await case.store.open_proven(DIGEST, CHUNK)
        os.close(chunk.fd)
        ages.append(chunk.proven_at)
    assert ages[0] == ages[1]
    await case.store.prove(DIGEST, CHUNK)
    chunk = await case.store.open_proven(DIGEST, CHUNK)
    os.close(chunk.fd)
    assert chunk.proven_at > ages[0]


async def test_opening_cancelled_anywhere_leaves_no_descriptor(case: StoreCase) -> None:
    await case.put(DATA)
    case.some_time_later()
    before = open_descriptors()

    async def check() -> None:
        await case.settled()
        assert open_descriptors() == before
        assert case.store._holds.free(DIGEST)

    async def open_and_close() -> None:
        os.close((await case.store.open_proven(DIGEST, CHUNK)).fd)

    await cancelled_everywhere(open_and_close, check)
