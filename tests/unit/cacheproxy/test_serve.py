"""A worker's download when what it held turns out not to be what it needs."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from msgspec.structs import replace

from backends.spans import Span
from cacheproxy import chunkread, serve
from cacheproxy.bypass import Bypass
from cacheproxy.config import CacheSettings
from cacheproxy.core.facts import ImageFacts
from cacheproxy.core.geometry import Grid
from cacheproxy.core.proof import Identity
from cacheproxy.errors import KeeperError, ProofFailedError
from cacheproxy.fill.source import Headers
from cacheproxy.hotset import HotFile, HotSet
from cacheproxy.keeper import Description
from cacheproxy.meter import Board
from cacheproxy.metrics import HOT_FILES, LEASES
from cacheproxy.processes import messages
from cacheproxy.serve import Image, Images
from cacheproxy.store.digest import DIGEST_BYTES, digest_of
from cacheproxy.store.proving import prove
from harness.damage import make_cold

CHUNK = 10
DATA = bytes(range(35))
FACTS = ImageFacts(image_id="i", size=35, checksum=None, hash_algo=None, hash_value=None)
GRID = Grid(35, CHUNK)


@dataclass
class KeeperFake:
    """Sends chunk files of `DATA`; `fails_at` one of them it is away."""

    files: list[int]  # an open chunk file by index
    proofs: list[Identity]
    hot: HotSet
    proven: bool = True
    fails_at: int | None = None
    doubted: list[bytes] = field(default_factory=list)
    opened: int = 0
    adopted: list[ImageFacts] = field(default_factory=list)
    proves: bool | None = None  # what it finds of a published manifest; None: it is away
    described: ImageFacts | None = None  # what it has proven; None: it is away

    def file(self, index: int) -> HotFile:
        fd = os.dup(self.files[index])
        chunk = GRID.chunk(index)
        digest = digest_of(DATA[chunk.start : chunk.stop])
        return self.hot.add(digest, fd, len(chunk), self.proofs[index], time.monotonic())

    async def describe(self, image_id: str) -> Description:
        if self.described is None:
            raise KeeperError(image_id)
        return messages.Described(1, self.described, proven=True)

    async def adopt(self, facts: ImageFacts, headers: Headers) -> Description:
        assert headers == []
        self.adopted.append(facts)
        if self.proves is None:
            raise KeeperError("away")
        return Image(facts, self.proves)

    def read(
        self, facts: ImageFacts, span: Span, headers: Headers, prefer: Sequence[str] = ()
    ) -> ReaderFake:
        assert (facts, headers, prefer) == (FACTS, [], ())
        assert span.stop <= FACTS.size
        self.opened += 1
        return ReaderFake(self)

    async def doubt(self, digest: bytes, size: int) -> None:
        assert size <= CHUNK
        self.doubted.append(digest)

    def hung(self) -> None:
        raise AssertionError("no disk hangs here")

    def touch(self, digest: bytes) -> None:
        assert len(digest) == DIGEST_BYTES


@dataclass
class ReaderFake:
    keeper: KeeperFake

    @property
    def proven(self) -> bool:
        return self.keeper.proven

    async def ready(self) -> Grid:
        return GRID

    async def chunk(self, index: int, known: bytes | None) -> tuple[HotFile, bool]:
        if index == self.keeper.fails_at:
            raise KeeperError("away")
        file = self.keeper.file(index)
        assert known in {None, file.digest}
        return file, False

    def ahead(self, index: int) -> HotFile | None:  # noqa: ARG002  nothing comes before it is due
        return None

    def close(self) -> None:
        pass


class BypassFake(Bypass):
    """The upstream, which has the right bytes."""

    def __init__(self) -> None:
        self.asked: list[Span] = []
        self.data = DATA

    async def stream(
        self, facts: ImageFacts, headers: Headers, span: Span
    ) -> AsyncGenerator[bytes | memoryview]:
        assert (facts, headers) == (FACTS, [])
        self.asked.append(span)
        yield self.data[span.start : span.stop]


class NothingShown:
    async def show(self, image_id: str, headers: Headers) -> ImageFacts | None:
        raise AssertionError((image_id, headers))


class Case:
    def __init__(self, path: Path) -> None:
        self.board = Board.create(1)
        meter = self.board.meter(0)
        hot = HotSet(100, meter, lambda _: None)
        files = []
        for index in range(GRID.count):
            chunk = GRID.chunk(index)
            (path / str(index)).write_bytes(DATA[chunk.start : chunk.stop])
            files.append(os.open(path / str(index), os.O_RDONLY))
        self.keeper = KeeperFake(files, [Identity.of(os.fstat(fd)) for fd in files], hot)
        self.bypass = BypassFake()
        self.images = Images(self.keeper, NothingShown(), self.bypass, CacheSettings(), meter)

    async def close(self) -> None:
        await self.images.close()
        self.keeper.hot.clear()
        for fd in self.keeper.files:
            os.close(fd)

    async def read(self, span: Span) -> tuple[bytes, str]:
        image = Image(FACTS, self.keeper.proven)
        download = await self.images.open(image, span, [])
        try:
            data = b"".join([bytes(piece) async for piece in download.pieces()])
        finally:
            await download.aclose()
            assert self.board.total(LEASES) == 0
        return data, download.result


@dataclass
class Shown:
    facts: ImageFacts | None

    async def show(self, image_id: str, headers: Headers) -> ImageFacts | None:
        assert (image_id, headers) == ("i", [])
        return self.facts


@pytest.fixture
async def case(tmp_path: Path) -> AsyncIterator[Case]:
    made = Case(tmp_path)
    yield made
    await made.close()


async def test_a_repeated_hit_asks_nobody(case: Case) -> None:
    assert await case.read(GRID.whole) == (DATA, "hit")
    assert await case.read(Span(5, 31)) == (DATA[5:31], "hit")
    assert case.keeper.opened == 1


def make_all_cold(path: Path) -> None:
    for index in range(GRID.count):
        make_cold(path / str(index))


async def test_what_comes_next_is_read_while_a_chunk_is_sent(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await case.read(GRID.whole) == (DATA, "hit")
    make_all_cold(tmp_path)
    asked: list[Span] = []
    ahead = case.images.chunks.ahead

    def noting(file: HotFile, part: Span) -> bool:
        asked.append(part)
        return ahead(file, part)

    monkeypatch.setattr(case.images.chunks, "ahead", noting)
    download = await case.images.open(Image(FACTS, proven=True), Span(5, 34), [])
    async with aclosing(download), aclosing(download.pieces()) as pieces:
        first = await anext(pieces)
        # Waited once: one chunk ahead.
        assert asked == [Span(0, 10)]
        rest = [bytes(first), *[bytes(piece) async for piece in pieces]]
    assert b"".join(rest) == DATA[5:34]
    assert asked == [Span(0, 10), Span(0, 10), Span(0, 4)], "nothing that was not asked for"
    assert case.keeper.opened == 1
    assert case.board.total(LEASES) == 0


async def test_a_range_within_a_chunk_reads_nothing_ahead(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await case.read(GRID.whole) == (DATA, "hit")
    make_all_cold(tmp_path)
    monkeypatch.setattr(case.images.chunks, "ahead", lambda *_: pytest.fail("not asked for"))
    assert await case.read(Span(11, 20)) == (DATA[11:20], "hit")


async def test_what_is_in_memory_is_followed_by_no_question(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(case.images.chunks, "ahead", lambda *_: pytest.fail("nobody waited"))
    for _ in range(2):
        assert await case.read(GRID.whole) == (DATA, "hit")


async def test_a_client_that_leaves_leaves_no_lease(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await case.read(GRID.whole) == (DATA, "hit")
    make_all_cold(tmp_path)
    loop, gate, begun = asyncio.get_running_loop(), threading.Event(), asyncio.Queue[None]()

    def slow(fd: int, digest: bytes, size: int) -> bool:
        loop.call_soon_threadsafe(begun.put_nowait, None)
        gate.wait()
        return prove(fd, digest, size)

    monkeypatch.setattr(chunkread, "prove", slow)
    leaving = asyncio.create_task(case.read(GRID.whole))
    for _ in range(2):
        await begun.get()
    leaving.cancel()
    with pytest.raises(AssertionError):  # that no file is leased now: two are being read
        await leaving
    assert case.board.total(LEASES) == 2
    reads = [*case.images.chunks._reading.values()]
    case.keeper.hot.clear()
    gate.set()
    await asyncio.wait(reads)
    assert case.board.total(LEASES) == 0
    assert case.board.total(HOT_FILES) == 0


async def test_chunks_of_an_image_that_was_cut_differently_are_not_mixed(case: Case) -> None:
    assert await case.read(GRID.whole) == (DATA, "hit")
    # The keeper lost its index, and has learnt the image again, in chunks of another size.
    finer = Grid(35, 5)
    case.images.memory.remember(FACTS, finer, 0, digest_of(DATA[:5]))
    assert case.images.memory.hot(FACTS, Span(5, 10)) is None
    assert await case.read(Span(5, 31)) == (DATA[5:31], "hit")
    assert case.keeper.opened == 2


async def test_a_damaged_chunk_is_doubted_and_never_sent(case: Case, tmp_path: Path) -> None:
    assert await case.read(GRID.whole) == (DATA, "hit")
    (tmp_path / "1").write_bytes(bytes(CHUNK))
    assert await case.read(GRID.whole) == (DATA, "bypass")
    assert case.bypass.asked == [Span(10, 35)]
    assert case.keeper.opened == 1 + serve.REOPENS_MAX
    # Once for the hot file, then for each that the keeper, which heeds no doubt here, sends again.
    assert case.keeper.doubted == [digest_of(DATA[10:20])] * (1 + serve.REOPENS_MAX)


async def test_unproven_leftovers_are_compared_before_the_upstream_completes_them(
    case: Case,
) -> None:
    case.keeper.proven = False
    case.keeper.fails_at = 2
    assert await case.read(GRID.whole) == (DATA, "bypass")
    assert case.bypass.asked == [Span(0, 20), Span(20, 35)]
    case.bypass.data = DATA[:13] + b"x" + DATA[14:]
    with pytest.raises(ProofFailedError):
        await case.read(GRID.whole)
    assert case.bypass.asked[2:] == [Span(0, 20)]
    # What nobody takes for the whole goes on at the byte.
    assert await case.read(Span(5, 30)) == (DATA[5:30], "bypass")
    assert case.bypass.asked[3:] == [Span(20, 30)]


async def test_a_proven_download_goes_on_at_the_byte_without_the_keeper(case: Case) -> None:
    case.keeper.fails_at = 3
    assert await case.read(GRID.whole) == (DATA, "bypass")
    assert case.bypass.asked == [Span(30, 35)]


@pytest.mark.parametrize("proves", [True, False, None])
async def test_a_manifest_that_the_record_names_is_looked_at_first(
    case: Case, proves: bool | None
) -> None:
    facts = replace(FACTS, manifest="its name")
    case.keeper.proves = proves
    images = Images(case.keeper, Shown(facts), case.bypass, CacheSettings(), case.board.meter(0))
    assert await images.find("i", []) == Image(facts, proven=bool(proves))
    assert case.keeper.adopted == [facts]


async def test_without_a_name_nobody_is_asked_for_a_manifest(case: Case) -> None:
    for facts in (FACTS, None):
        images = Images(
            case.keeper, Shown(facts), case.bypass, CacheSettings(), case.board.meter(0)
        )
        assert await images.find("i", []) == (facts and Image(facts, proven=False))
    assert case.keeper.adopted == []


class Records:
    """Shows what it is told, and counts."""

    def __init__(self, facts: ImageFacts | None) -> None:
        self.facts = facts
        self.shows = 0

    async def show(self, image_id: str, headers: Headers) -> ImageFacts | None:
        assert (image_id, headers) == ("i", [])
        self.shows += 1
        return self.facts


async def test_an_id_that_is_used_again_gives_nothing_of_the_former_image(case: Case) -> None:
    records = Records(FACTS)
    images = Images(case.keeper, records, case.bypass, CacheSettings(), case.board.meter(0))
    for index in range(GRID.count):
        images.memory.remember(FACTS, GRID, index, bytes(32))
    for _ in range(3):
        assert await images.find("i", []) == Image(FACTS, proven=True)
    assert records.shows == 1
    # Another image has the id now, which claims what the former one was.
    records.facts = replace(FACTS, created_at="later")
    former = replace(FACTS, created_at="then")
    images.memory.remember(former, GRID, 0, bytes(32))
    assert await images.find("i", []) == Image(former, proven=True)  # within the minute
    images.memory.purge("i")  # a change has passed through
    for _ in range(2):
        assert await images.find("i", []) == Image(records.facts, proven=False)
    # One who began before goes on to its end, and leaves nothing.
    images.memory.remember(former, GRID, 1, bytes(32))
    assert images.memory.facts("i") is None
    # Nor does a keeper that has not heard of it.
    case.keeper.described = former
    assert await images.find("i", []) == Image(records.facts, proven=False)


async def test_a_record_that_does_not_come_is_not_waited_for_long(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But it counts when it comes."""
    monkeypatch.setattr(serve, "LOOK_SECONDS", 0.0)
    come = asyncio.Event()

    class Slow(Records):
        async def show(self, image_id: str, headers: Headers) -> ImageFacts | None:
            shown = await super().show(image_id, headers)
            await come.wait()
            return shown

    another = replace(FACTS, created_at="later")
    images = Images(case.keeper, Slow(another), case.bypass, CacheSettings(), case.board.meter(0))
    former = replace(FACTS, created_at="then")
    images.memory.remember(former, GRID, 0, bytes(32))
    assert await images.find("i", []) == Image(former, proven=True)
    come.set()
    await asyncio.gather(*images._looks)
    assert images.memory.facts("i") is None
    images.memory.purge("i")
    case.keeper.described = another
    come.clear()
    assert await images.find("i", []) == Image(another, proven=True)
    assert len(images._looks) == 1
    await images.close()
    assert not images._looks


async def test_a_record_that_is_not_shown_changes_nothing(case: Case) -> None:
    records = Records(None)
    images = Images(case.keeper, records, case.bypass, CacheSettings(), case.board.meter(0))
    images.memory.remember(FACTS, GRID, 0, bytes(32))
    for _ in range(2):
        assert await images.find("i", []) == Image(FACTS, proven=True)
    assert records.shows == 1  # an upstream that is away is not asked each time
