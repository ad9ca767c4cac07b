"""How sure a worker is of what it sends, in each verify mode, and what it takes meanwhile."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Literal

import pytest

from backends.residency import resident
from backends.spans import Span
from cacheproxy import chunkread
from cacheproxy.chunkread import PIECE_BYTES, READS_MAX, ChunkReader, OpenPart
from cacheproxy.config import CacheSettings
from cacheproxy.core.proof import Identity
from cacheproxy.errors import ChunkLostError, StorageError
from cacheproxy.hotset import HotFile
from cacheproxy.store.digest import digest_of
from cacheproxy.store.proving import prove, read_proven
from harness.damage import make_cold, make_warm, overwrite, rot
from harness.images import random_bytes

SIZE = 3 * PIECE_BYTES + 777
WHOLE = Span(0, SIZE)
PROOF_SECONDS = 10.0
Verify = Literal["disk-read", "always", "never"]


class Case:
    """Chunk files, and readers of every mode, with a clock that the test moves."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.now = 0.0
        self.hashed: list[bytes] = []
        self._files: list[HotFile] = []
        self._readers: list[ChunkReader] = []

    def reader(self, verify: Verify = "disk-read") -> ChunkReader:
        settings = CacheSettings(verify=verify, proof_seconds=PROOF_SECONDS)
        self._readers.append(ChunkReader(settings, lambda: self.now))
        return self._readers[-1]

    def file(self, seed: int = 0) -> HotFile:
        """Return an open and proven chunk file."""
        data = random_bytes(SIZE, seed)
        self.path(seed).write_bytes(data)
        fd = os.open(self.path(seed), os.O_RDONLY)
        self._files.append(HotFile(digest_of(data), fd, SIZE, Identity.of(os.fstat(fd)), self.now))
        return self._files[-1]

    def path(self, seed: int = 0) -> Path:
        return self.directory / str(seed)

    def close(self) -> None:
        for reader in self._readers:
            reader.close()
            assert reader.buffered == 0
        for file in self._files:
            os.close(file.fd)


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    made = Case(tmp_path)

    def noting(fd: int, digest: bytes, size: int) -> bytearray | None:
        made.hashed.append(digest)
        return read_proven(fd, digest, size)

    def noting_only(fd: int, digest: bytes, size: int) -> bool:
        made.hashed.append(digest)
        return prove(fd, digest, size)

    monkeypatch.setattr(chunkread, "read_proven", noting)
    monkeypatch.setattr(chunkread, "prove", noting_only)
    yield made
    made.close()


async def read(reader: ChunkReader, file: HotFile, part: Span = WHOLE) -> bytes:
    async with aclosing(reader.pieces(file, part)) as pieces:
        return b"".join([bytes(piece) async for piece in pieces])


DATA = random_bytes(SIZE)


async def test_what_is_in_memory_and_proven_goes_out_unhashed(case: Case) -> None:
    file, reader = case.file(), case.reader()
    assert await read(reader, file) == DATA
    assert await read(reader, file, Span(5, SIZE - 5)) == DATA[5:-5]
    assert case.hashed == []


async def test_what_comes_from_the_disk_is_hashed_once_for_all_who_send_it(case: Case) -> None:
    file, reader = case.file(), case.reader()
    make_cold(case.path())
    bodies = await asyncio.gather(*(read(reader, file) for _ in range(8)))
    assert bodies == [DATA] * 8
    assert case.hashed == [file.digest]
    assert await read(reader, file) == DATA
    assert case.hashed == [file.digest], "what was hashed as it came into memory"


async def test_one_page_that_is_not_in_memory_has_the_whole_hashed(case: Case) -> None:
    file, reader = case.file(), case.reader()
    make_cold(case.path())
    make_warm(case.path(), 0, SIZE - 4096)
    assert await read(reader, file) == DATA
    assert case.hashed == [file.digest]


async def test_asking_for_what_is_not_in_memory_has_nothing_read(case: Case) -> None:
    """A read that only looks would bring unhashed pages for the next to find."""
    file = case.file()
    make_cold(case.path())
    for _ in range(3):
        assert case.reader().part(file, 0, SIZE).read(SIZE) is None
        assert not resident(file.fd, 0, 4096)


async def test_pages_that_are_being_hashed_are_not_believed(case: Case) -> None:
    file, reader = case.file(), case.reader()
    other = os.open(case.path(), os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)  # as another process does that reads it from the disk
    try:
        assert reader.part(file, 0, SIZE).read(SIZE) is None
    finally:
        os.close(other)
    assert await read(reader, file) == DATA
    assert case.hashed == []


@pytest.mark.parametrize("verify", ["disk-read", "always"])
async def test_damage_below_the_file_system_is_found(case: Case, verify: Verify) -> None:
    file, reader = case.file(), case.reader(verify)
    rot(case.path())
    file.identity = Identity.of(os.fstat(file.fd))  # nothing shows
    make_cold(case.path())
    for _ in range(2):
        with pytest.raises(ChunkLostError):
            await read(reader, file)
    assert case.hashed == [file.digest] * 2, "the damaged pages did not stay in memory"


async def test_an_old_proof_is_made_anew(case: Case) -> None:
    file, reader = case.file(), case.reader()
    case.now = PROOF_SECONDS
    assert await read(reader, file) == DATA
    assert case.hashed == []
    case.now = PROOF_SECONDS + 1
    assert await read(reader, file) == DATA
    assert await read(reader, file) == DATA
    assert case.hashed == [file.digest]


async def test_always_means_each_time(case: Case) -> None:
    file, reader = case.file(), case.reader("always")
    for part in (WHOLE, Span(7, 9), WHOLE):
        assert await read(reader, file, part) == DATA[part.start : part.stop]
    assert case.hashed == [file.digest] * 3


async def test_who_comes_later_is_not_sent_what_was_hashed_before(case: Case) -> None:
    file, reader = case.file(), case.reader("always")
    async with aclosing(reader.pieces(file, WHOLE)) as slow:
        sent = [bytes(await anext(slow))]
        assert await read(reader, file) == DATA
        assert case.hashed == [file.digest] * 2
        overwrite(case.path())
        with pytest.raises(ChunkLostError):
            await read(reader, file)
        sent += [bytes(piece) async for piece in slow]
    assert b"".join(sent) == DATA


@pytest.mark.parametrize("verify", ["disk-read", "always", "never"])
async def test_a_file_that_was_removed_is_lost_though_it_is_open(
    case: Case, verify: Verify
) -> None:
    file, reader = case.file(), case.reader(verify)
    case.path().unlink()
    with pytest.raises(ChunkLostError):
        await read(reader, file)


async def test_a_file_overwritten_while_it_is_sent_harms_nobody(case: Case) -> None:
    file, reader = case.file(), case.reader("always")
    async with aclosing(reader.pieces(file, WHOLE)) as pieces:
        sent = [bytes(await anext(pieces))]
        overwrite(case.path())
        sent += [bytes(piece) async for piece in pieces]
    assert b"".join(sent) == DATA
    with pytest.raises(ChunkLostError):
        await read(reader, file)


async def test_without_always_it_ends_the_send(case: Case) -> None:
    file, reader = case.file(), case.reader("disk-read")
    async with aclosing(reader.pieces(file, WHOLE)) as pieces:
        part = await anext(pieces)
        assert isinstance(part, OpenPart)
        assert part.read(PIECE_BYTES) == DATA[:PIECE_BYTES]
        overwrite(case.path())
        assert part.read(PIECE_BYTES) is None
        with pytest.raises(ChunkLostError):
            assert not [piece async for piece in pieces if bytes(piece)]


async def test_never_looks_at_the_file_only(case: Case) -> None:
    file, reader = case.file(), case.reader("never")
    assert await read(reader, file) == DATA
    make_cold(case.path())
    assert await read(reader, file) == DATA
    rot(case.path(), position=0)
    file.identity = Identity.of(os.fstat(file.fd))
    assert (await read(reader, file))[1:] == DATA[1:], "a rotten bit is the file system's affair"
    os.truncate(case.path(), SIZE - 1)
    with pytest.raises(ChunkLostError):
        await read(reader, file)
    assert case.hashed == []


async def test_buffers_stay_within_their_bound(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender whose buffer had to go for another's reads and hashes the chunk again."""
    monkeypatch.setattr(chunkread, "BUFFERS_BYTES_MAX", 2 * SIZE)
    reader, files = case.reader("always"), [case.file(seed) for seed in range(4)]
    bodies = [bytearray() for _ in files]
    senders = [reader.pieces(file, WHOLE) for file in files]
    for _ in range(0, SIZE, PIECE_BYTES):
        for number, sender in enumerate(senders):
            bodies[number] += bytes(await anext(sender))
            assert reader.buffered <= 2 * SIZE
    for sender in senders:
        await sender.aclose()
    assert bodies == [random_bytes(SIZE, seed) for seed in range(4)]
    assert reader.buffered == 0
    assert len(case.hashed) > len(files)


async def test_a_disk_that_hangs_is_waited_for_with_patience_but_not_for_ever(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken = threading.Event()
    begun = threading.Semaphore(0)

    def hanging(fd: int, digest: bytes, size: int) -> bytearray | None:
        begun.release()
        woken.wait()
        return read_proven(fd, digest, size)

    monkeypatch.setattr(chunkread, "read_proven", hanging)
    monkeypatch.setattr(chunkread, "READ_SECONDS_MAX", 0.01)
    reader, files = case.reader("always"), [case.file(seed) for seed in range(READS_MAX + 1)]
    told: list[None] = []
    reader.on_hang = lambda: told.append(None)
    for file in files[:READS_MAX]:
        with pytest.raises(StorageError, match="gives no chunk"):
            await read(reader, file)
    assert len(told) == READS_MAX
    with pytest.raises(StorageError, match="hangs"):
        await read(reader, files[READS_MAX])
    for _ in range(READS_MAX):
        begun.acquire()
    monkeypatch.setattr(chunkread, "READ_SECONDS_MAX", 60.0)
    last = reader._reading[files[0]]
    woken.set()
    await asyncio.wait([*reader._reading.values()])
    assert last.done()
    assert [await read(reader, file) for file in files] == [
        random_bytes(SIZE, seed) for seed in range(READS_MAX + 1)
    ]


async def test_who_waits_for_a_disk_that_is_given_up_ends_at_once(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, woken = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def hanging(fd: int, digest: bytes, size: int) -> bytearray | None:
        loop.call_soon_threadsafe(begun.set)
        woken.wait()
        return read_proven(fd, digest, size)

    monkeypatch.setattr(chunkread, "read_proven", hanging)
    reader, file = case.reader("always"), case.file(1)
    reader.on_hang = lambda: pytest.fail("that is known")
    waiting = [asyncio.create_task(read(reader, file)) for _ in range(3)]
    await begun.wait()
    reader.break_off()
    for task in waiting:
        with pytest.raises(StorageError):
            await task
    again = asyncio.create_task(read(reader, file))
    woken.set()
    assert await again == random_bytes(SIZE, 1), "the next one waits for it again"


async def test_a_sender_that_leaves_leaves_nothing(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, woken = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow(fd: int, digest: bytes, size: int) -> bytearray | None:
        loop.call_soon_threadsafe(begun.set)
        woken.wait()
        return read_proven(fd, digest, size)

    monkeypatch.setattr(chunkread, "read_proven", slow)
    file, reader = case.file(), case.reader("always")
    task = asyncio.create_task(read(reader, file))
    await begun.wait()
    task.cancel()
    await asyncio.wait([task])
    (reading,) = reader._reading.values()
    woken.set()
    await asyncio.wait([reading])
    assert reader._reading == {}
    assert reader.buffered == 0


async def test_a_sick_disk_is_not_taken_for_a_client_that_has_left(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> int:
        raise OSError(errno.EIO, "the disk is sick")

    monkeypatch.setattr(os, "sendfile", fails)
    file, reader = case.file(), case.reader()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        part = reader.part(file, 0, SIZE)
        assert part.send(theirs) is None
        assert part.send(theirs, b"head") == len(b"head")
        assert part.position == 0
