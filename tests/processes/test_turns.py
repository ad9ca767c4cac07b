"""Turns on a shared core: asked for, read back from the kernel, and left alone where that is refused."""

from __future__ import annotations

import errno
import os
import platform
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cacheproxy.processes import turns
from harness.story import story

LINUX = tuple(int(part) for part in platform.release().split(".")[:2])


def in_a_thread(work: Callable[[], None]) -> tuple[int, int]:
    """Do it in a thread of its own; the nice value and the turns that a thread has that it starts then."""
    seen: list[tuple[int, int]] = []

    def look() -> None:
        nice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        seen.append((nice, turns.turn()))

    def main() -> None:
        work()
        inner = threading.Thread(target=look)
        inner.start()
        inner.join()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(main).result()
    return seen[0]


def test_the_keeper_and_its_threads_give_way() -> None:
    nice, turn = in_a_thread(lambda: None)
    assert in_a_thread(turns.give_way) == (min(19, nice + turns.NICE), turn)
    assert in_a_thread(lambda: None) == (nice, turn), "nobody else does"


@pytest.mark.skipif(LINUX < (6, 12), reason="turns of one's own length came with Linux 6.12")
def test_a_worker_and_its_threads_have_short_turns_and_stay_as_nice_as_they_were() -> None:
    nice, turn = in_a_thread(lambda: None)

    def nicer() -> None:
        os.nice(1)
        turns.come_soon()

    assert in_a_thread(nicer) == (min(19, nice + 1), turns.TURN_NANOSECONDS)
    assert in_a_thread(lambda: None) == (nice, turn), "nobody else has"


def test_a_policy_that_the_operator_chose_is_left_alone() -> None:
    chosen: list[int] = []

    def main() -> None:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        turns.come_soon()
        chosen.append(os.sched_getscheduler(0))

    _, turn = in_a_thread(main)
    assert chosen == [os.SCHED_IDLE]
    assert turn == 0


def test_what_is_refused_is_no_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(_: int) -> int:
        raise PermissionError(errno.EPERM, "no")

    monkeypatch.setattr(os, "nice", refused)
    monkeypatch.setattr(turns, "_CALLS", {})
    monkeypatch.setattr(turns, "_CALLS_GENERIC", (-1, -1))
    caplog.set_level("DEBUG", turns.__name__)
    turns.give_way()
    turns.come_soon()
    assert caplog.messages == [
        "the keeper is no nicer than others: [Errno 1] no",
        "turns stay as they are: Function not implemented",
    ]


async def test_in_a_node_the_keeper_gives_way_and_its_workers_come_soon(tmp_path: Path) -> None:
    async with story(tmp_path, workers=2) as told:
        image = told.glance.add(bytes(range(256)) * 8192)
        await told.ask(image.id).ended()
        keeper, *workers = (told.process(name) for name in ("keeper", "worker 0", "worker 1"))
        for worker in workers:
            assert keeper.nice() == min(19, worker.nice() + turns.NICE)
            assert LINUX < (6, 12) or turns.turn(worker.pid) == turns.TURN_NANOSECONDS
