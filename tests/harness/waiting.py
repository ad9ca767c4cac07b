"""Waiting for other processes, which cannot set an event of ours: the one place that polls.

Inside one process tests wait for events, barriers and counters instead.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

STEP_SECONDS = 0.02


def until(what: str, probe: Callable[[], T], seconds: float = 30.0) -> T:
    """Call `probe` until it returns something true, and return that; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := probe()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain for {what}")
        time.sleep(STEP_SECONDS)
    return found


@overload
async def until_async(what: str, probe: Callable[[], Awaitable[T]], seconds: float = 30.0) -> T: ...


@overload
async def until_async(what: str, probe: Callable[[], T], seconds: float = 30.0) -> T: ...


async def until_async(what: str, probe: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Do the same as `until`, giving way to the event loop between the calls."""
    deadline = time.monotonic() + seconds
    while not (found := await _answer(probe)):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain for {what}")
        await asyncio.sleep(STEP_SECONDS)
    return found


async def _answer(probe: Callable[[], Any]) -> Any:
    found = probe()
    return await found if isinstance(found, Awaitable) else found


async def passing(seconds: float) -> None:
    """Let time itself pass, where it is what is tested: a silence, or the time that an answer took."""
    await asyncio.sleep(seconds)
