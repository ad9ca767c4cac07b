"""A worker's download when what it held turns out not to be what it needs."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from backends.spans import Span
from cacheproxy import serve
from cacheproxy.bypass import Bypass
from cacheproxy.chunkread import NotResidentError
from cacheproxy.config import CacheSettings
from cacheproxy.core.facts import ImageFacts
from cacheproxy.core.geometry import Grid
from cacheproxy.core.proof import Identity
from cacheproxy.errors import KeeperError, ProofFailedError
from cacheproxy.fill.source import Headers
from cacheproxy.hotset import HotFile, HotSet
from cacheproxy.metrics import LEASES, Board
from cacheproxy.serve import Description, Image, Images

CHUNK = 10
DATA = bytes(range(35))
FACTS = ImageFacts(image_id="i", size=35, checksum=None, hash_algo=None, hash_value=None)
GRID = Grid(35, CHUNK)


@dataclass
class KeeperFake:
    """Sends chunk files of `DATA`; `fails_at` one of them it is away."""

    files: list[int]  # an open chunk file by index
    hot: HotSet
    proven: bool = True
    fails_at: int | None = None
    warm_identity: Identity | None = None
    opened: int = 0

    def file(self, index: int) -> HotFile:
        fd = os.dup(self.files[index])
        size = len(GRID.chunk(index))
        return self.hot.add(bytes([index]), fd, size, Identity.of(os.fstat(fd)))

    async def describe(self, image_id: str) -> Description:
        raise KeeperError(image_id)

    def read(self, facts: ImageFacts, span: Span, headers: Headers) -> ReaderFake:
        assert (facts, headers) == (FACTS, [])
        assert span.stop <= FACTS.size
        self.opened += 1
        return ReaderFake(self)

    async def warm(self, digest: bytes, size: int) -> Identity | None:
        assert (len(digest), size) == (1, CHUNK)
        return self.warm_identity

    def touch(self, digest: bytes) -> None:
        assert len(digest) == 1


@dataclass
class ReaderFake:
    keeper: KeeperFake

    @property
    def proven(self) -> bool:
        return self.keeper.proven

    async def ready(self) -> Grid:
        return GRID

    async def chunk(self, index: int) -> tuple[HotFile, bool]:
        if index == self.keeper.fails_at:
            raise KeeperError("away")
        return self.keeper.file(index), False

    def close(self) -> None:
        pass


class BypassFake(Bypass):
    """The upstream, which has the right bytes."""

    def __init__(self) -> None:
        self.asked: list[Span] = []

    async def stream(
        self, facts: ImageFacts, headers: Headers, span: Span
    ) -> AsyncGenerator[bytes | memoryview]:
        assert (facts, headers) == (FACTS, [])
        self.asked.append(span)
        yield DATA[span.start : span.stop]


class NothingShown:
    async def show(self, image_id: str, headers: Headers) -> ImageFacts | None:
        raise AssertionError((image_id, headers))


class Case:
    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self.board = Board.create(1)
        meter = self.board.meter(0)
        hot = HotSet(100, 1000.0, meter, lambda _: None, clock)
        files = []
        for index in range(GRID.count):
            chunk = GRID.chunk(index)
            (path / str(index)).write_bytes(DATA[chunk.start : chunk.stop])
            files.append(os.open(path / str(index), os.O_RDONLY))
        self.keeper = KeeperFake(files, hot)
        self.bypass = BypassFake()
        self.images = Images(self.keeper, NothingShown(), self.bypass, CacheSettings(), meter)

    def close(self) -> None:
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


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    made = Case(tmp_path, lambda: 0.0)
    yield made
    made.close()


async def test_a_repeated_hit_asks_nobody(case: Case) -> None:
    assert await case.read(GRID.whole) == (DATA, "hit")
    assert await case.read(Span(5, 31)) == (DATA[5:31], "hit")
    assert case.keeper.opened == 1


async def test_a_proof_that_runs_out_in_the_middle_shifts_nothing(tmp_path: Path) -> None:
    ticks = itertools.count(0, 150)
    case = Case(tmp_path, lambda: float(next(ticks)))
    for _ in range(4):
        assert await case.read(GRID.whole) == (DATA, "hit")
    assert case.keeper.opened > 1
    case.close()


async def test_pages_are_believed_only_of_the_very_file_that_was_hashed(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: int) -> memoryview:
        raise NotResidentError

    monkeypatch.setattr(serve, "read_resident", gone)
    case.keeper.warm_identity = Identity(device=1, inode=2, size=CHUNK, mtime_ns=3, ctime_ns=4)
    assert await case.read(Span(0, 5)) == (DATA[:5], "bypass")
    assert case.bypass.asked == [Span(0, 5)]
    assert case.keeper.opened == 1 + serve.REOPENS_MAX


async def test_unproven_leftovers_are_not_completed_by_the_upstream(case: Case) -> None:
    case.keeper.proven = False
    case.keeper.fails_at = 2
    with pytest.raises(ProofFailedError):
        await case.read(GRID.whole)
    assert case.bypass.asked == []
    # What nobody takes for the whole goes on at the byte.
    assert await case.read(Span(5, 30)) == (DATA[5:30], "bypass")
    assert case.bypass.asked == [Span(20, 30)]


async def test_a_proven_download_goes_on_at_the_byte_without_the_keeper(case: Case) -> None:
    case.keeper.fails_at = 3
    assert await case.read(GRID.whole) == (DATA, "bypass")
    assert case.bypass.asked == [Span(30, 35)]
