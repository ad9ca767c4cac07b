"""Notifications: nobody waits for them, and what becomes of each is counted."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import pytest

from cacheproxy import notifier as module
from cacheproxy.config import NotificationSettings
from cacheproxy.meter import Board
from cacheproxy.metrics import NOTIFICATION_RESULTS, NOTIFICATIONS
from cacheproxy.notifier import Emit, Notice, Notifier
from harness.program import REPOSITORY

SETTINGS = NotificationSettings(transport_url="rabbit://u:secret@bus.example:5672/")
WAIT_SECONDS = 30.0


def notice(number: int) -> Notice:
    return Notice(f"i{number}", "owner", 5, True, "project", "user", "127.0.0.1")


class Bus:
    """Takes notices, once it is open."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.open = threading.Event()
        self.open.set()
        self.busy = threading.Event()
        self.failing = False
        self.connections = 0

    def connect(self, _: NotificationSettings) -> Emit:
        self.connections += 1
        return self.emit

    def emit(self, notice: Notice) -> None:
        self.busy.set()
        assert self.open.wait(WAIT_SECONDS)
        if self.failing:
            raise ConnectionError("rabbit://u:secret@bus.example:5672/")
        self.taken.append(notice.image_id)


def counts(board: Board) -> dict[str, float]:
    return {result: board.total(NOTIFICATIONS, (result,)) for result in NOTIFICATION_RESULTS}


def test_they_are_sent_in_order_by_one_connection() -> None:
    board, bus = Board.create(1), Bus()
    notifier = Notifier(SETTINGS, board.meter(0), bus.connect)
    for number in range(3):
        notifier.send(notice(number))
    notifier.close()
    assert bus.taken == ["i0", "i1", "i2"]
    assert bus.connections == 1
    assert counts(board) == {"sent": 3, "failed": 0, "dropped": 0}
    assert not notifier._thread.is_alive()


def test_what_the_queue_does_not_hold_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUEUED_MAX", 2)
    board, bus = Board.create(1), Bus()
    bus.open.clear()
    notifier = Notifier(SETTINGS, board.meter(0), bus.connect)
    notifier.send(notice(0))
    assert bus.busy.wait(WAIT_SECONDS)
    for number in range(1, 5):
        notifier.send(notice(number))
    bus.open.set()
    notifier.close()
    assert bus.taken == ["i0", "i1", "i2"]
    assert counts(board) == {"sent": 3, "failed": 0, "dropped": 2}


def test_a_bus_that_fails_is_told_once_and_without_its_address(
    caplog: pytest.LogCaptureFixture,
) -> None:
    board, bus = Board.create(1), Bus()
    bus.failing = True
    notifier = Notifier(SETTINGS, board.meter(0), bus.connect)
    for number in range(3):
        notifier.send(notice(number))
    notifier.close()
    assert counts(board) == {"sent": 0, "failed": 3, "dropped": 0}
    assert [record.getMessage() for record in caplog.records] == [
        "notifications cannot be sent: ConnectionError"
    ]


def test_an_end_does_not_wait_for_a_bus_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLOSE_SECONDS", 0.01)
    bus = Bus()
    bus.open.clear()
    notifier = Notifier(SETTINGS, Board.create(1).meter(0), bus.connect)
    notifier.send(notice(0))
    assert bus.busy.wait(WAIT_SECONDS)
    notifier.close()
    assert notifier._thread.is_alive()
    bus.open.set()
    notifier._thread.join(WAIT_SECONDS)
    assert not notifier._thread.is_alive()


def test_the_address_is_not_shown() -> None:
    assert "secret" not in repr(SETTINGS)


# --- oslo.messaging itself ------------------------------------------------------------------------

# A program of its own: what oslo.messaging brings along warns at each fork from then on.
LISTENER = """
import json, queue, sys
import oslo_messaging
from oslo_config import cfg
from cacheproxy.config import NotificationSettings
from cacheproxy.meter import Board
from cacheproxy.notifier import Notice, Notifier

received = queue.Queue()

class Endpoint:
    def info(self, _, publisher, event, payload, __):
        received.put(("info", publisher, event, payload))
    def error(self, _, publisher, event, payload, __):
        received.put(("error", publisher, event, payload))

settings = NotificationSettings(transport_url="kombu+memory:////", publisher_id="image.n1")
conf = cfg.ConfigOpts()
conf([], project="listener", default_config_files=[], default_config_dirs=[])
transport = oslo_messaging.get_notification_transport(conf, url=settings.transport_url)
targets = [oslo_messaging.Target(topic=settings.topic)]
listener = oslo_messaging.get_notification_listener(
    transport, targets, [Endpoint()], executor="threading")
listener.start()
notifier = Notifier(settings, Board.create(1).meter(0))
notifier.send(Notice("i1", "owner", 5, True, "project", "user", "127.0.0.1"))
notifier.send(Notice("i2", None, 3, False, None, None, None))
json.dump([received.get(timeout=30) for _ in range(2)], sys.stdout)
notifier.close()
listener.stop()
listener.wait()
"""


def test_a_listener_of_oslo_messaging_gets_what_glance_sends() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LISTENER],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    received = {priority: told for priority, *told in json.loads(done.stdout)}  # each has a queue
    assert received["info"] == [
        "image.n1",
        "image.send",
        {
            "bytes_sent": 5,
            "image_id": "i1",
            "owner_id": "owner",
            "receiver_tenant_id": "project",
            "receiver_user_id": "user",
            "destination_ip": "127.0.0.1",
        },
    ]
    assert received["error"][2]["bytes_sent"] == 3
