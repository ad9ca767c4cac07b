"""What is told when: phases once, what was not heard again, pings only while there is life."""

from __future__ import annotations

import math
import os

import pytest

from backends.notify import Notify
from cacheproxy.processes.servicemanager import (
    EXTEND_EVERY_SECONDS,
    RETRY_SECONDS,
    ServiceManager,
    Standing,
)

SERVING = Standing("serving", "fine", alive=True)


class FakeNotify(Notify):
    def __init__(self) -> None:
        super().__init__("/somewhere")
        self.heard: list[tuple[str, ...]] = []
        self.deaf = False

    def send(self, *assignments: str) -> bool:
        if not self.deaf:
            self.heard.append(assignments)
        return not self.deaf


@pytest.fixture
def notify() -> FakeNotify:
    return FakeNotify()


def test_phases_and_status_are_told_once(notify: FakeNotify) -> None:
    manager = ServiceManager(notify)
    for now, phase in enumerate(
        ("starting", "starting", "serving", "serving", "reloading", "serving", "stopping")
    ):
        manager.tell(Standing(phase, "fine", alive=True), float(now))  # type: ignore[arg-type]  # phases
    assert notify.heard == [
        ("STATUS=fine",),
        ("READY=1",),
        ("RELOADING=1", "MONOTONIC_USEC=4000000"),
        ("READY=1",),
        ("STOPPING=1", "EXTEND_TIMEOUT_USEC=15000000"),
    ]


def test_a_stop_says_that_it_goes_on(notify: FakeNotify) -> None:
    manager = ServiceManager(notify)
    stopping = Standing("stopping", "", alive=True)
    manager.tell(stopping, 100.0)
    assert manager.due == 100.0 + EXTEND_EVERY_SECONDS
    manager.tell(stopping, manager.due - 0.1)
    assert len(notify.heard) == 1
    manager.tell(stopping, manager.due)
    assert notify.heard[1:] == [("EXTEND_TIMEOUT_USEC=15000000",)]


def test_what_was_not_heard_is_said_again(notify: FakeNotify) -> None:
    manager = ServiceManager(notify, watchdog_seconds=30.0)
    notify.deaf = True
    manager.tell(SERVING, 0.0)
    assert manager.due == RETRY_SECONDS
    notify.deaf = False
    manager.tell(SERVING, RETRY_SECONDS / 2)
    assert notify.heard == []
    manager.tell(SERVING, RETRY_SECONDS)
    assert notify.heard == [("READY=1", "STATUS=fine", "WATCHDOG=1")]


def test_the_watchdog_is_fed_thrice_within_its_time_and_only_by_the_living(
    notify: FakeNotify,
) -> None:
    manager = ServiceManager(notify, watchdog_seconds=30.0)
    pings, now = 0, 0.0
    while now < 60.0:
        manager.tell(SERVING, now)
        pings += notify.heard.pop().count("WATCHDOG=1")
        now = manager.due
    assert pings == 6
    manager.tell(Standing("serving", "fine", alive=False), now)
    assert notify.heard == []
    assert manager.due == math.inf
    manager.tell(SERVING, now + 100)
    assert notify.heard == [("WATCHDOG=1",)]


@pytest.mark.parametrize(
    ("variables", "every"),
    [
        ({}, math.inf),
        ({"WATCHDOG_USEC": "30000000"}, 10.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 10.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, math.inf),
        ({"WATCHDOG_USEC": "0"}, math.inf),
        ({"WATCHDOG_USEC": "soon"}, math.inf),
    ],
)
def test_the_environment_says_how_often_and_is_emptied(
    variables: dict[str, str], every: float
) -> None:
    environ = {"NOTIFY_SOCKET": "/nobody/listens", **variables}
    assert ServiceManager.from_environment(environ)._ping_every == every
    assert environ == {}


def test_without_a_manager_nothing_is_due() -> None:
    manager = ServiceManager.from_environment({"WATCHDOG_USEC": "30000000"})
    manager.tell(SERVING, 0.0)
    assert manager.due == math.inf
