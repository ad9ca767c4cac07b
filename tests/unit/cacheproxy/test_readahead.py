"""Chunks that are read from the disk before a sender is at them."""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from backends.residency import resident
from backends.spans import Span
from cacheproxy import chunkread
from cacheproxy.chunkread import AHEAD_READS_MAX, READS_MAX, ChunkReader, OpenPart
from cacheproxy.config import CacheSettings
from cacheproxy.core.proof import Identity
from cacheproxy.errors import ChunkLostError
from cacheproxy.hotset import HotFile
from cacheproxy.store.digest import digest_of
from cacheproxy.store.proving import prove, read_proven
from harness.damage import make_cold, rot
from harness.images import random_bytes

SIZE = 300_000
WHOLE = Span(0, SIZE)


class Case:
    """Cold chunk files, and threads that stop at a gate before they read."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files: list[HotFile] = []
        self.reader = ChunkReader(CacheSettings())
        self.leases: Counter[HotFile] = Counter()
        self.reader.hold = self._hold
        self.reader.release = self._release
        self.read: list[bytes] = []  # digests, as they came to the disk
        self.gate = threading.Event()
        self.gate.set()

    def _hold(self, file: HotFile) -> None:
        self.leases[file] += 1

    def _release(self, file: HotFile) -> None:
        self.leases[file] -= 1

    def path(self, seed: int) -> Path:
        return self._directory / str(seed)

    def file(self, seed: int) -> HotFile:
        data = random_bytes(SIZE, seed)
        self.path(seed).write_bytes(data)
        make_cold(self.path(seed))
        fd = os.open(self.path(seed), os.O_RDONLY)
        identity = Identity.of(os.fstat(fd))
        self._files.append(HotFile(digest_of(data), fd, SIZE, identity, self.reader._clock()))
        return self._files[-1]

    def prove(self, fd: int, digest: bytes, size: int) -> bool:
        self.gate.wait()
        self.read.append(digest)
        return prove(fd, digest, size)

    def read_proven(self, fd: int, digest: bytes, size: int) -> bytearray | None:
        self.gate.wait()
        self.read.append(digest)
        return read_proven(fd, digest, size)

    async def send(self, file: HotFile) -> bytes:
        async with aclosing(self.reader.pieces(file, WHOLE)) as pieces:
            return b"".join([bytes(piece) async for piece in pieces])

    async def settled(self) -> None:
        """Wait until no thread reads."""
        while self.reader._reading:
            await asyncio.wait([*self.reader._reading.values()])

    async def close(self) -> None:
        self.gate.set()
        await self.settled()
        self.reader.close()
        assert self.reader.buffered == 0
        assert not +self.leases
        for file in self._files:
            os.close(file.fd)


@pytest.fixture
async def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Case]:
    made = Case(tmp_path)
    monkeypatch.setattr(chunkread, "prove", made.prove)
    monkeypatch.setattr(chunkread, "read_proven", made.read_proven)
    yield made
    await made.close()


async def test_what_was_read_ahead_is_sent_from_memory(case: Case) -> None:
    file = case.file(1)
    file.proven_at = -1e9  # long ago
    assert case.reader.ahead(file, WHOLE)
    assert case.leases[file] == 1
    await case.settled()
    assert case.leases[file] == 0
    async with aclosing(case.reader.pieces(file, WHOLE)) as pieces:
        piece = await anext(pieces)
        assert isinstance(piece, OpenPart)
        assert bytes(piece) == random_bytes(SIZE, 1)
    assert case.read == [file.digest]


async def test_what_is_in_memory_is_not_read_ahead(case: Case) -> None:
    file = case.file(1)
    assert len(case.path(1).read_bytes()) == SIZE
    assert case.reader.ahead(file, WHOLE)
    assert case.read == []
    assert not case.reader._reading


async def test_pages_that_are_read_ahead_are_believed_by_nobody_until_they_are_hashed(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, hashing, go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def stopping(data: bytes | bytearray | memoryview) -> bytes:
        loop.call_soon_threadsafe(hashing.set)
        go_on.wait()
        return digest_of(data)

    monkeypatch.setattr("cacheproxy.store.proving.digest_of", stopping)
    file = case.file(1)
    other = os.open(case.path(1), os.O_RDONLY)  # as of another worker
    try:
        assert case.reader.ahead(file, WHOLE)
        await hashing.wait()
        assert resident(file.fd, 0, SIZE)
        assert not case.reader.part(file, 0, SIZE).hold(SIZE)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
        go_on.set()
        await case.settled()
        fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
        part = case.reader.part(file, 0, SIZE)
        assert part.hold(SIZE)
        part.let_go()
    finally:
        go_on.set()
        os.close(other)


async def test_a_thread_is_left_for_who_waits(case: Case) -> None:
    files = [case.file(seed) for seed in range(READS_MAX + 1)]
    case.gate.clear()
    begun = [case.reader.ahead(file, WHOLE) for file in files]
    assert begun == [True] * AHEAD_READS_MAX + [False] * (len(files) - AHEAD_READS_MAX)
    assert case.reader.ahead(files[0], WHOLE), "it is being read"
    waiting = asyncio.create_task(case.send(files[-1]))
    await asyncio.sleep(0)
    assert len(case.reader._reading) == READS_MAX
    case.gate.set()
    assert await waiting == random_bytes(SIZE, READS_MAX)
    await case.settled()
    assert case.reader.ahead(files[AHEAD_READS_MAX], WHOLE), "there is room again"


async def test_a_sender_who_comes_while_it_is_read_joins(case: Case) -> None:
    file = case.file(1)
    case.gate.clear()
    assert case.reader.ahead(file, WHOLE)
    sending = [asyncio.create_task(case.send(file)) for _ in range(3)]
    await asyncio.sleep(0)
    case.gate.set()
    assert await asyncio.gather(*sending) == [random_bytes(SIZE, 1)] * 3
    assert case.read == [file.digest]


async def test_a_sender_who_leaves_leaves_a_read_that_ends_by_itself(case: Case) -> None:
    file = case.file(1)
    case.gate.clear()
    assert case.reader.ahead(file, WHOLE)
    sending = asyncio.create_task(case.send(file))
    await asyncio.sleep(0)
    sending.cancel()
    await asyncio.wait([sending])
    assert case.leases[file] == 1, "as long as a thread reads it, it is open"
    case.gate.set()
    await case.settled()
    assert case.leases[file] == 0
    assert not case.reader._waiters


async def test_damage_that_is_read_ahead_is_found_by_who_comes_to_it(case: Case) -> None:
    file = case.file(1)
    rot(case.path(1))
    make_cold(case.path(1))
    file.identity = Identity.of(os.fstat(file.fd))  # nothing shows
    assert case.reader.ahead(file, WHOLE)
    await case.settled()
    assert not resident(file.fd, 0, 4096), "nobody finds the damaged pages in memory"
    with pytest.raises(ChunkLostError):
        await case.send(file)
    assert case.read == [file.digest] * 2


async def test_a_disk_that_fails_meanwhile_fails_who_comes_to_it(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> int:
        raise OSError(5, "the disk is sick")

    file = case.file(1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "preadv", fails)
        assert case.reader.ahead(file, WHOLE)
        await case.settled()
        with pytest.raises(ChunkLostError):
            await case.send(file)
    assert await case.send(file) == random_bytes(SIZE, 1)


async def test_what_has_left_memory_again_is_read_again(case: Case) -> None:
    file = case.file(1)
    assert case.reader.ahead(file, WHOLE)
    await case.settled()
    make_cold(case.path(1))
    assert await case.send(file) == random_bytes(SIZE, 1)
    assert case.read == [file.digest] * 2


async def test_memory_that_keeps_nothing_is_gone_round(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hashed once in vain, and once to be sent from where it was hashed."""
    monkeypatch.setattr(chunkread, "resident", lambda *_: False)
    file = case.file(1)
    assert await case.send(file) == random_bytes(SIZE, 1)
    assert case.read == [file.digest] * 2
