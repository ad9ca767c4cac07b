"""Files of chunks that were stored just now: opened again at once, never instead of what is there."""

from __future__ import annotations

import fcntl
import os

import pytest

from cacheproxy.errors import ChunkLostError
from cacheproxy.store import openfiles
from harness.store_case import CHUNK, StoreCase, chunk, open_descriptors

DATA = chunk(1)


async def test_a_chunk_that_was_stored_is_open_at_once(case: StoreCase) -> None:
    digest = (await case.put(DATA)).digest
    opening = case.store.open_proven(digest, CHUNK)
    with pytest.raises(StopIteration) as done:
        opening.send(None)  # it does not wait for anything
    opened = done.value.value
    assert os.pread(opened.fd, CHUNK, 0) == DATA
    os.close(opened.fd)


async def test_every_reader_has_an_open_file_of_his_own(case: StoreCase) -> None:
    digest = (await case.put(DATA)).digest
    readers = [await case.store.open_proven(digest, CHUNK) for _ in range(2)]
    try:
        fcntl.flock(readers[0].fd, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError):
            fcntl.flock(readers[1].fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    finally:
        for reader in readers:
            os.close(reader.fd)


async def test_an_open_file_takes_no_room_of_what_was_evicted(case: StoreCase) -> None:
    before = open_descriptors()
    digest = (await case.put(DATA)).digest
    assert open_descriptors() == before + 1
    await case.store.drop([digest])
    assert open_descriptors() == before


async def test_a_file_that_somebody_touched_is_not_believed(case: StoreCase) -> None:
    digest = (await case.put(DATA)).digest
    case.path(digest).chmod(0o640)
    with case.path(digest).open("r+b") as file:
        file.write(bytes([DATA[0] ^ 1]))
    with pytest.raises(ChunkLostError):
        await case.store.open_proven(digest, CHUNK)
    digest = (await case.put(DATA)).digest
    case.path(digest).unlink()
    with pytest.raises(ChunkLostError):
        await case.store.open_proven(digest, CHUNK)


async def test_only_the_latest_are_kept(case: StoreCase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openfiles, "FILES_MAX", 3)
    before = open_descriptors()
    digests = await case.fill(range(5))
    assert open_descriptors() == before + 3
    for number, digest in enumerate(digests):
        assert await case.read(digest) == chunk(number)
