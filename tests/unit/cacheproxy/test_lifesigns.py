"""Waits for a peer: ended by its answer, by its silence, or by the word that it is gone."""

from __future__ import annotations

import asyncio

import pytest

from cacheproxy.errors import KeeperError
from cacheproxy.processes.lifesigns import LifeSigns


def future() -> asyncio.Future[str]:
    return asyncio.get_running_loop().create_future()


async def test_an_answer() -> None:
    signs = LifeSigns(60)
    signs.heard()
    answer = future()
    asyncio.get_running_loop().call_soon(answer.set_result, "here")
    assert await signs.wait(answer) == "here"
    assert repr(signs) == "<LifeSigns, 0 waiting>"
    assert await signs.wait(answer) == "here"
    signs._timer.cancel()  # type: ignore[union-attr]  # it was set for the wait


async def test_silence_ends_every_wait() -> None:
    signs = LifeSigns(0.05)
    signs.heard()
    waits = [asyncio.create_task(signs.wait(future())) for _ in range(3)]
    for wait in waits:
        with pytest.raises(KeeperError, match="does not answer"):
            await wait
    with pytest.raises(KeeperError, match="does not answer"):  # it has been silent for too long
        await signs.wait(future())
    signs.heard()
    answer = future()
    asyncio.get_running_loop().call_soon(answer.set_result, "again")
    assert await signs.wait(answer) == "again"


async def test_a_sign_of_life_prolongs_a_wait() -> None:
    signs = LifeSigns(0.2)
    signs.heard()
    loop = asyncio.get_running_loop()
    answer = future()
    for tenths in range(1, 5):
        loop.call_later(tenths / 10, signs.heard)
    loop.call_later(0.45, answer.set_result, "late")
    assert await signs.wait(answer) == "late"


async def test_who_is_told_to_give_up_or_cancelled() -> None:
    signs = LifeSigns(60)
    signs.heard()
    waits = [asyncio.create_task(signs.wait(future())) for _ in range(2)]
    await asyncio.sleep(0)
    waits[0].cancel()
    signs.give_up("it was restarted")
    with pytest.raises(asyncio.CancelledError):
        await waits[0]
    with pytest.raises(KeeperError, match="restarted"):
        await waits[1]
    assert repr(signs) == "<LifeSigns, 0 waiting>"
    signs._timer.cancel()  # type: ignore[union-attr]  # it was set for the wait
