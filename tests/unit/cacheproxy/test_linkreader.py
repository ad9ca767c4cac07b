"""A reader at the worker's end: what others have brought is not sent to it again."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from backends.spans import Span
from cacheproxy.core.proof import Identity
from cacheproxy.hotset import HotFile, HotSet
from cacheproxy.meter import Board
from cacheproxy.metrics import LEASES
from cacheproxy.processes import messages
from cacheproxy.processes.linkreader import CHUNKS_AHEAD_MAX, LinkReader

CHUNK = 4096
COUNT = 40
WINDOW = 8


def digest(index: int) -> bytes:
    return index.to_bytes(32, "big")


class LinkFake:
    """Notes what is said to the keeper."""

    def __init__(self) -> None:
        self.board = Board.create(1)
        self.hot = HotSet(100, self.board.meter(0), lambda _: None)
        self.outstanding = 0
        self.granted: list[tuple[int, int, int]] = []
        self.gone: list[int] = []
        self.touched: list[bytes] = []

    async def alive(self, answer: asyncio.Future[None]) -> None:
        await answer

    def grant(self, number: int, stop: int, first: int) -> None:
        self.granted.append((number, stop, first))

    def closed(self, number: int) -> None:
        self.gone.append(number)

    def touch(self, digest: bytes) -> None:
        self.touched.append(digest)

    def file(self, index: int) -> HotFile:
        """Return a leased file of a chunk."""
        there = self.hot.lease(digest(index))
        if there is not None:
            return there
        fd = os.open("/dev/null", os.O_RDONLY)
        return self.hot.add(digest(index), fd, CHUNK, Identity.of(os.fstat(fd)), 1.0)

    def bring(self, reader: LinkReader, index: int) -> None:
        """Have a chunk arrive."""
        reader.arrived(messages.Recipient(1, index, fetched=True), self.file(index))


@pytest.fixture
def link() -> Iterator[LinkFake]:
    made = LinkFake()
    yield made
    assert made.outstanding == 0
    assert made.board.total(LEASES) == 0
    made.hot.clear()


def reader_of(link: LinkFake) -> LinkReader:
    reader = LinkReader(link, 1, Span(0, COUNT * CHUNK), WINDOW)
    reader.opened(messages.Opened(1, proven=True, chunk_bytes=CHUNK), COUNT * CHUNK)
    return reader


async def test_what_is_open_here_is_not_asked_for(link: LinkFake) -> None:
    reader = reader_of(link)
    link.hot.release(link.file(0))
    file, fetched = await reader.chunk(0, digest(0))
    assert (file.digest, fetched) == (digest(0), False)
    assert (link.granted, link.outstanding, link.touched) == ([], 0, [digest(0)])
    link.hot.release(file)
    reader.close()
    assert link.gone == [1]


async def test_the_keeper_is_told_now_and_then_what_it_need_not_send(link: LinkFake) -> None:
    reader = reader_of(link)
    for index in range(WINDOW):
        link.hot.release(link.file(index))
        file, _ = await reader.chunk(index, digest(index))
        link.hot.release(file)
    assert link.granted == [(1, 4, 4), (1, 8, 8)]
    waiting = asyncio.create_task(reader.chunk(WINDOW, None))
    await asyncio.sleep(0)
    assert link.granted[2:] == [(1, 2 * WINDOW, WINDOW)]
    assert link.outstanding == WINDOW
    link.bring(reader, WINDOW)
    file, fetched = await waiting
    assert (file.digest, fetched) == (digest(WINDOW), True)
    link.hot.release(file)
    reader.close()


async def test_what_comes_when_it_was_here_already_is_let_go(link: LinkFake) -> None:
    reader = reader_of(link)
    waiting = asyncio.create_task(reader.chunk(0, None))
    await asyncio.sleep(0)
    link.bring(reader, 0)
    link.hot.release((await waiting)[0])
    link.hot.release(link.file(1))  # another reader's
    file, fetched = await reader.chunk(1, digest(1))
    assert not fetched
    link.hot.release(file)
    link.bring(reader, 1)  # it was on its way: granted before
    link.bring(reader, 2)
    file, _ = await reader.chunk(2, None)
    assert file.digest == digest(2)
    link.hot.release(file)
    assert link.outstanding == WINDOW - 3
    reader.close()


async def test_a_whole_window_that_was_here_leaves_nothing_outstanding(link: LinkFake) -> None:
    reader = reader_of(link)
    waiting = asyncio.create_task(reader.chunk(0, None))
    await asyncio.sleep(0)
    link.bring(reader, 0)
    link.hot.release((await waiting)[0])
    for index in range(1, 2 * WINDOW):
        link.hot.release(link.file(index))
        file, _ = await reader.chunk(index, digest(index))
        link.hot.release(file)
    assert link.outstanding == 0
    for index in range(1, WINDOW):
        link.bring(reader, index)  # late, and written off
    assert link.outstanding == 0
    reader.close()


async def test_readers_grant_no_more_than_a_link_may_queue(link: LinkFake) -> None:
    link.outstanding = CHUNKS_AHEAD_MAX
    reader = reader_of(link)
    waiting = asyncio.create_task(reader.chunk(0, None))
    await asyncio.sleep(0)
    assert link.granted == [(1, 1, 0)]
    link.bring(reader, 0)
    link.hot.release((await waiting)[0])
    reader.close()
    link.outstanding -= CHUNKS_AHEAD_MAX
