"""How data is taken in: seen in order, while more of it comes, and ended by whoever fails first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.domain.errors import InvalidRequestError, UploadCutError
from registry.domain.limits import Limits
from registry.service.blocks import AHEAD_BYTES, BLOCK_BYTES
from registry.service.intake import take_in

LIMITS = Limits(0, 0, 0, 0, image_size_cap=1 << 30, limit_param_default=1, api_limit_max=1)
PIECE = b"p" * BLOCK_BYTES


class Keeping:
    """A writer, or an observer, that keeps what it sees, waits before that if told to, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.seen = bytearray()
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self.is_cancelled = False
        self._error = error

    async def write(self, data: bytes) -> None:
        try:
            await self.may_go_on.wait()
        except asyncio.CancelledError:
            self.is_cancelled = True
            raise
        if self._error is not None:
            raise self._error
        self.seen += data

    update = write

    async def finish(self) -> Mapping[str, object]:
        return {"size_seen": len(self.seen)}


class Body:
    """Pieces; how many were asked for; and what comes behind them."""

    def __init__(self, pieces: Sequence[bytes], end: Exception | None = None) -> None:
        self.asked = 0
        self._pieces = pieces
        self._end = end
        self.silent = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            self.asked += 1
            yield piece
        if self._end is not None:
            raise self._end

    async def then_silence(self) -> AsyncIterator[bytes]:
        async for piece in self:
            yield piece
        self.silent.set()
        await asyncio.Event().wait()


async def taken(
    body: AsyncIterator[bytes], writer: Keeping, *observers: Keeping, size: int | None = None
) -> dict[str, object]:
    return await take_in(body, size, LIMITS, cast("Any", writer), cast("Any", observers))


def others() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {cast("asyncio.Task[Any]", asyncio.current_task())}


@given(pieces=st.lists(st.binary(max_size=9)))
async def test_all_is_seen_in_order(pieces: list[bytes]) -> None:
    writer, observer, whole = Keeping(), Keeping(), b"".join(pieces)
    found = await taken(aiter(Body(pieces)), writer, observer, size=len(whole))
    assert (bytes(writer.seen), bytes(observer.seen)) == (whole, whole)
    assert found == {"size_seen": len(whole)}


@pytest.mark.parametrize("who", ["writer", "observer"])
async def test_who_is_slow_holds_up_nobody_before_so_much_waits_for_it(who: str) -> None:
    writer, one, another, body = Keeping(), Keeping(), Keeping(), Body([PIECE] * 40)
    slow = writer if who == "writer" else one
    quick = [each for each in (writer, one, another) if each is not slow]
    slow.may_go_on.clear()
    taking = asyncio.create_task(taken(aiter(body), writer, one, another))
    for _ in range(200):
        await asyncio.sleep(0)
    assert body.asked == AHEAD_BYTES // len(PIECE)
    assert not slow.seen
    assert [len(each.seen) for each in quick] == [AHEAD_BYTES] * 2
    slow.may_go_on.set()
    await taking
    assert [len(each.seen) for each in (slow, *quick)] == [40 * len(PIECE)] * 3


async def test_the_first_error_ends_all_the_others() -> None:
    failure = InvalidRequestError("no")
    failure.__cause__ = cause = OSError("why")
    writer, slow, failing = Keeping(), Keeping(), Keeping(failure)
    writer.may_go_on.clear()
    slow.may_go_on.clear()
    with pytest.raises(InvalidRequestError, match="no") as raised:
        await taken(Body([PIECE]).then_silence(), writer, slow, failing)
    assert (raised.value, raised.value.__cause__) == (failure, cause)
    assert (writer.is_cancelled, slow.is_cancelled) == (True, True)
    assert not others()


@pytest.mark.parametrize("who", ["writer", "observer"])
async def test_who_fails_ends_a_body_that_is_silent(who: str) -> None:
    failure = InvalidRequestError("no")
    writer = Keeping(failure if who == "writer" else None)
    observer = Keeping(failure if who == "observer" else None)
    with pytest.raises(InvalidRequestError, match="no"):
        await taken(Body([PIECE]).then_silence(), writer, observer)
    assert not others()


async def test_a_body_that_breaks_off_ends_the_writing() -> None:
    writer, observer = Keeping(), Keeping()
    writer.may_go_on.clear()
    with pytest.raises(UploadCutError):
        await taken(aiter(Body([PIECE, PIECE], UploadCutError("gone"))), writer, observer)
    assert not others()
    assert not writer.seen


async def test_a_caller_who_leaves_ends_the_writing() -> None:
    writer, observer, body = Keeping(), Keeping(), Body([PIECE])
    writer.may_go_on.clear()
    taking = asyncio.create_task(taken(body.then_silence(), writer, observer))
    await body.silent.wait()
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    assert writer.is_cancelled
    assert not others()


@pytest.mark.parametrize("size", [len(PIECE) - 1, len(PIECE) + 1])
async def test_another_size_than_was_announced(size: int) -> None:
    with pytest.raises(InvalidRequestError):
        await taken(aiter(Body([PIECE])), Keeping(), Keeping(), size=size)
    assert not others()
