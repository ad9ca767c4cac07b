from __future__ import annotations

import asyncio

import pytest

from backends.outlasting import finished


async def test_results_and_errors() -> None:
    async def works() -> int:
        await asyncio.sleep(0)
        return 1

    async def fails() -> int:
        raise ZeroDivisionError

    assert await finished(works(), 60) == 1
    with pytest.raises(ZeroDivisionError):
        await finished(fails(), 60)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancelled_caller_waits(fails: bool) -> None:
    begun, may_end, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        await may_end.wait()
        ended.set()
        if fails:
            raise ZeroDivisionError

    caller = asyncio.create_task(finished(work(), 60))
    await begun.wait()
    for _ in range(3):
        caller.cancel()
        await asyncio.sleep(0)
    assert not caller.done()
    may_end.set()
    await asyncio.wait({caller})
    assert caller.cancelled()
    assert ended.is_set()


async def test_too_long() -> None:
    cut = asyncio.Event()

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cut.set()

    with pytest.raises(TimeoutError):
        await finished(endless(), 0.01)
    assert cut.is_set()
