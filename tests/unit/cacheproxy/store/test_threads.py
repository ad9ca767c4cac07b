"""Work in threads: its outcome, its bound, and what is told of its failures."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from cacheproxy.store.threads import Threads


@pytest.fixture
async def threads() -> AsyncIterator[Threads]:
    made = Threads(2, "test")
    yield made
    await made.close()


async def test_results_failures_and_who_is_told(threads: Threads) -> None:
    told: list[BaseException] = []
    threads.on_error = told.append
    assert await threads.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await threads.run(divmod, 7, 0)
    await asyncio.wait([threads.start(divmod, 7, 0)])  # of which nobody asks what became
    assert [type(error) for error in told] == [ZeroDivisionError] * 2
    assert threads.running_since() is None


async def test_no_more_run_at_once_than_there_are_threads(threads: Threads) -> None:
    go_on = threading.Event()
    running = threading.Semaphore(0)

    def work() -> str:
        running.release()
        assert go_on.wait(60)
        return threading.current_thread().name

    jobs = [threads.start(work) for _ in range(6)]
    for _ in range(2):
        await asyncio.to_thread(running.acquire)
    assert threads.running_since() is not None
    assert not running.acquire(blocking=False)
    go_on.set()
    names = await asyncio.gather(*jobs)
    assert {name.rpartition("_")[0] for name in names} == {"test"}
    assert len(set(names)) <= 2


async def test_a_cancelled_caller_leaves_what_comes_to_another(threads: Threads) -> None:
    go_on = threading.Event()
    left: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    caller = asyncio.create_task(
        threads.run(go_on.wait, 60, discard=lambda job: left.set_result(job.result()))
    )
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    go_on.set()
    assert await left
    await threads.idle()


async def test_each_thread_begins_once() -> None:
    begun: list[str] = []
    threads = Threads(1, "first", lambda: begun.append(threading.current_thread().name))
    for _ in range(3):
        await threads.run(int)
    await threads.close()
    assert begun == ["first_0"]
