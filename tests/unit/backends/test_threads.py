from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from backends.errors import UnavailableError
from backends.threads import Threads

WAIT_SECONDS = 10.0  # for what must happen; a failing test ends then


@pytest.fixture
async def threads() -> AsyncIterator[Threads]:
    threads = Threads("test", 2, hang_seconds=WAIT_SECONDS)
    yield threads
    threads.close()


@pytest.fixture
async def impatient() -> AsyncIterator[Threads]:
    threads = Threads("test", 1, hang_seconds=0.05)
    yield threads
    threads.close()


class Gate:
    """A call that stands still until it is let go, and what happened around it."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.gate = threading.Event()
        self.happened: list[str] = []
        self.cleaned = threading.Event()

    def call(self) -> str:
        self.begun.set()
        assert self.gate.wait(WAIT_SECONDS)
        self.happened.append("call")
        return "result"

    def cleanup(self) -> None:
        self.happened.append("cleanup")
        self.cleaned.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.gate.set()


async def happens(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, WAIT_SECONDS)


async def test_calls_run_in_a_thread(threads: Threads) -> None:
    lane = threads.lane()
    assert await lane.run(threading.get_ident) != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        await lane.run(lambda: 1 // 0)
    assert await lane.run(lambda: "next") == "next"
    happened: list[str] = []
    await lane.finish(lambda: happened.append("cleanup"))
    assert happened == ["cleanup"]
    with pytest.raises(RuntimeError):
        await lane.run(os.getpid)


async def test_errors_of_the_cleanup_are_told(threads: Threads) -> None:
    with pytest.raises(ZeroDivisionError):
        await threads.lane().finish(lambda: 1 // 0)


@pytest.mark.parametrize("times", [1, 2])
async def test_a_cancelled_caller_waits_for_its_call(
    threads: Threads, gate: Gate, times: int
) -> None:
    lane = threads.lane()

    async def caller() -> None:
        try:
            await lane.run(gate.call)
        finally:
            await lane.finish(gate.cleanup)

    task = asyncio.create_task(caller())
    await happens(gate.begun)
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    gate.gate.set()
    await asyncio.wait({task})
    assert task.cancelled()
    assert gate.happened == ["call", "cleanup"]


async def test_cancelled_while_it_cleans_up(threads: Threads, gate: Gate) -> None:
    task = asyncio.create_task(threads.lane().finish(gate.call))
    await happens(gate.begun)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    gate.gate.set()
    await asyncio.wait({task})
    assert task.cancelled()
    assert gate.happened == ["call"]


async def test_cancelled_before_a_thread_was_free(threads: Threads, gate: Gate) -> None:
    busy = [asyncio.create_task(threads.lane().run(gate.call)) for _ in range(2)]
    await happens(gate.begun)
    lane = threads.lane()
    waiting = asyncio.create_task(lane.run(lambda: gate.happened.append("never")))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    assert waiting.cancelled()
    gate.gate.set()
    await asyncio.gather(*busy)
    await lane.finish(gate.cleanup)
    assert gate.happened == ["call", "call", "cleanup"]


async def test_a_hanging_call_is_cleaned_up_when_it_ends(impatient: Threads, gate: Gate) -> None:
    lane = impatient.lane()
    with pytest.raises(UnavailableError, match="has not answered"):
        await lane.run(gate.call)
    with pytest.raises(UnavailableError, match="still hangs"):
        await lane.run(gate.call)
    await lane.finish(gate.cleanup)
    assert gate.happened == []
    gate.gate.set()
    await happens(gate.cleaned)
    assert gate.happened == ["call", "cleanup"]


async def test_a_cancelled_caller_does_not_wait_for_ever(impatient: Threads, gate: Gate) -> None:
    lane = impatient.lane()
    task = asyncio.create_task(lane.run(gate.call))
    await happens(gate.begun)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    await lane.finish(gate.cleanup)
    assert gate.happened == []
    gate.gate.set()
    await happens(gate.cleaned)


async def test_nobody_waits_for_threads_that_hang(impatient: Threads, gate: Gate) -> None:
    with pytest.raises(UnavailableError):
        await impatient.lane().run(gate.call)  # the only thread
    lane = impatient.lane()
    with pytest.raises(UnavailableError):
        await lane.run(lambda: gate.happened.append("never"))
    await lane.finish(gate.cleanup)
    assert gate.happened == []
    gate.gate.set()
    await happens(gate.cleaned)
    assert gate.happened == ["call", "cleanup"]


async def test_a_call_that_ends_after_its_loop(gate: Gate, tmp_path: Path) -> None:
    descriptors: list[int] = []

    def opening() -> None:
        gate.call()
        descriptors.append(os.open(tmp_path, os.O_RDONLY))

    def closing() -> None:
        os.close(descriptors.pop())
        gate.cleanup()

    def run_in_a_loop_of_its_own() -> None:
        async def hang() -> None:
            threads = Threads("test", 1, hang_seconds=0.05)
            lane = threads.lane()
            with pytest.raises(UnavailableError):
                await lane.run(opening)
            await lane.finish(closing)
            threads.close()

        asyncio.run(hang())

    await asyncio.to_thread(run_in_a_loop_of_its_own)
    gate.gate.set()
    await happens(gate.cleaned)
    assert descriptors == []
    assert gate.happened == ["call", "cleanup"]


def test_unused_threads_are_not_started() -> None:
    before = threading.active_count()
    Threads("test", 100, 1.0).close()
    assert threading.active_count() == before


async def test_a_long_call_that_goes_on_does_not_hang(gate: Gate) -> None:
    threads = Threads("test", 1, hang_seconds=0.5)
    lane = threads.lane()

    def call() -> str:
        for _ in range(120):
            gate.gate.wait(0.005)
            lane.beat()
        return "result"

    assert await lane.run(call) == "result"
    threads.close()


async def test_threads_that_all_hang_refuse_at_once(gate: Gate) -> None:
    threads = Threads("test", 1, hang_seconds=0.05)
    with pytest.raises(UnavailableError, match="has not answered"):
        await threads.lane().run(gate.call)
    assert threads.hangs
    assert threads.is_stuck
    threads.hang_seconds = WAIT_SECONDS  # whoever waits now, waits for long
    lane = threads.lane()
    async with asyncio.timeout(WAIT_SECONDS / 2):
        with pytest.raises(UnavailableError, match="the file system hangs"):
            await lane.run(os.getpid)
        await lane.finish(gate.cleanup)
    assert gate.happened == []
    gate.gate.set()
    await happens(gate.cleaned)
    assert gate.happened == ["call", "cleanup"]
    assert not threads.hangs
    assert await threads.lane().run(os.getpid) == os.getpid()
    threads.close()


async def test_closed_threads_take_nothing(threads: Threads) -> None:
    assert await threads.lane().run(os.getpid) == os.getpid()
    threads.close()
    with pytest.raises(RuntimeError, match="closed"):
        await threads.lane().run(os.getpid)


def test_a_call_that_hangs_does_not_keep_the_process() -> None:
    program = """
import asyncio, threading
from backends.errors import UnavailableError
from backends.threads import Threads

async def hang():
    try:
        await Threads("test", 2, hang_seconds=0.05).lane().run(threading.Event().wait)
    except UnavailableError:
        print("gave up")

asyncio.run(hang())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout, done.stderr) == ("gave up\n", "")
