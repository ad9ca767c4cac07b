"""What comes is seen by all, in order, each at its own pace, and no more is held than is told."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.service.blocks import AHEAD_BYTES, BLOCK_BYTES, Blocks, Reader

PIECE = b"p" * (BLOCK_BYTES // 4)


class Seeing:
    """Sees blocks, `may_see` at a time where that is told."""

    def __init__(self, reader: Reader, may_see: int | None = None) -> None:
        self.blocks: list[int] = []  # how long they were
        self.data = bytearray()
        self.turns = asyncio.Semaphore(1 << 30 if may_see is None else may_see)
        self.task = asyncio.create_task(self._see(reader))

    async def _see(self, reader: Reader) -> None:
        async for block in reader:
            await self.turns.acquire()
            self.blocks.append(len(block))
            self.data += block


async def settled() -> None:
    """Let everybody go as far as possible."""
    for _ in range(50):
        await asyncio.sleep(0)


@given(
    pieces=st.lists(st.binary(max_size=9), max_size=30),
    turns=st.lists(st.integers(0, 2), max_size=30),
)
async def test_all_see_all_in_order(pieces: list[bytes], turns: list[int]) -> None:
    blocks = Blocks(3)
    seeing = [Seeing(reader, 0) for reader in blocks.readers]
    for piece, who in zip(pieces, turns, strict=False):
        await blocks.put(piece)
        seeing[who].turns.release()
        await asyncio.sleep(0)
    for piece in pieces[len(turns) :]:
        await blocks.put(piece)
    blocks.end()
    for each in seeing:
        for _ in pieces:
            each.turns.release()
        await each.task
        assert bytes(each.data) == b"".join(pieces)


async def test_what_comes_while_nobody_has_anything_to_do_is_seen_at_once() -> None:
    blocks = Blocks(2)
    seeing = [Seeing(reader) for reader in blocks.readers]
    for count in (1, 2):
        await blocks.put(b"a")
        await settled()
        assert [each.blocks for each in seeing] == [[1] * count] * 2
    blocks.end()
    await asyncio.gather(*(each.task for each in seeing))


async def test_small_pieces_gather_while_somebody_is_busy() -> None:
    blocks = Blocks(2)
    slow, quick = Seeing(blocks.readers[0], 0), Seeing(blocks.readers[1])
    await blocks.put(b"first")
    await settled()
    for _ in range(5):
        await blocks.put(PIECE)
        await settled()
    assert quick.blocks == [5, BLOCK_BYTES]  # and one piece gathers
    slow.turns.release()
    slow.turns.release()
    await settled()
    assert (slow.blocks, quick.blocks) == ([5, BLOCK_BYTES], [5, BLOCK_BYTES, len(PIECE)])
    slow.turns.release()
    blocks.end()
    await asyncio.gather(slow.task, quick.task)
    assert slow.data == quick.data


async def test_a_slow_reader_holds_up_nobody_before_so_much_waits_for_it() -> None:
    blocks = Blocks(2)
    slow, quick = Seeing(blocks.readers[0], 0), Seeing(blocks.readers[1])
    for _ in range(AHEAD_BYTES // len(PIECE) - 1):
        async with asyncio.timeout(10):
            await blocks.put(PIECE)
    putting = asyncio.create_task(blocks.put(PIECE))
    await settled()
    assert not putting.done()
    assert not slow.blocks
    assert len(quick.data) > AHEAD_BYTES - BLOCK_BYTES
    slow.turns.release()
    await asyncio.wait_for(putting, 10)
    slow.turns = quick.turns
    slow.task.cancel()
    quick.task.cancel()
    await asyncio.wait({slow.task, quick.task})


class Piece(bytearray):
    """Bytes of which it is known whether anybody has them."""


async def test_what_all_have_seen_is_not_held() -> None:
    blocks = Blocks(2)
    slow, quick = Seeing(blocks.readers[0], 0), Seeing(blocks.readers[1])
    given_out: list[weakref.ref[Piece]] = []
    most = 0

    async def put_all() -> None:
        nonlocal most
        for _ in range(40):
            piece = Piece(BLOCK_BYTES)
            given_out.append(weakref.ref(piece))
            most = max(most, sum(each() is not None for each in given_out))
            await blocks.put(cast("Any", piece))
            del piece
        blocks.end()

    putting = asyncio.create_task(put_all())
    for _ in range(40):
        slow.turns.release()
        await settled()
    await asyncio.gather(putting, slow.task, quick.task)
    assert len(slow.data) == len(quick.data) == 40 * BLOCK_BYTES
    assert AHEAD_BYTES // BLOCK_BYTES <= most <= AHEAD_BYTES // BLOCK_BYTES + 2


@pytest.mark.parametrize("gathered", [0, 1])
async def test_the_end(gathered: int) -> None:
    blocks = Blocks(1)
    await blocks.put(b"a" * gathered)
    blocks.end()
    assert [block async for block in blocks.readers[0]] == [b"a"] * gathered
