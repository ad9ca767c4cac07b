"""The queue in front of whoever tells others: it waits for nobody and drops what does not fit."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from registry.config import load_settings
from registry.domain.image import Image, ImageLocation, Visibility
from registry.domain.notices import Payload, Priority, data_notice, image_notice
from registry.errors import ConfigError
from registry.notifications.notifier import QueuedNotifier

THEN = datetime(2026, 1, 1)  # noqa: DTZ001  # UTC without a zone, as the catalog's times are
SECONDS = 30.0


class Broker:
    """Takes what is sent, as soon as it is let."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Event()
        self.taken: list[str] = []
        self.closed = False

    def send(self, event: str, payload: Payload, priority: Priority) -> None:
        self.entered.set()
        self.open.wait()
        if payload == "bad":
            raise ValueError(payload)
        self.taken.append(f"{event} {priority}")

    def close(self) -> None:
        self.closed = True


@contextmanager
def notifying(broker: Broker, *disabled: str, most: int = 100) -> Iterator[QueuedNotifier]:
    notifier = QueuedNotifier(lambda: broker, disabled, queue_max=most)
    try:
        yield notifier
    finally:
        broker.open.set()
        notifier.close(SECONDS)
        assert broker.closed


def test_events_are_sent_in_order() -> None:
    broker = Broker()
    with notifying(broker) as notifier:
        for number in range(5):
            notifier.emit(f"image.{number}", {}, "error" if number == 2 else "info")
    assert broker.taken == [f"image.{n} {'error' if n == 2 else 'info'}" for n in range(5)]


def test_what_is_disabled_is_not_sent() -> None:
    broker = Broker()
    with notifying(broker, "image.send", "task", "image.member") as notifier:
        for event in ("image.send", "task.create", "image.sent", "image.member.create"):
            notifier.emit(event, {})
    # A group is the first part of a name, as with Glance.
    assert broker.taken == ["image.sent info", "image.member.create info"]


def test_what_does_not_fit_is_dropped_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    broker = Broker()
    counted: list[str] = []
    notifier = QueuedNotifier(lambda: broker, count=counted.append, queue_max=3)
    notifier.emit("image.0", {})
    assert broker.entered.wait(SECONDS)  # and holds the thread up
    for number in range(1, 9):
        notifier.emit(f"image.{number}", {})
    assert counted == ["dropped"] * 5
    assert caplog.text.count("have been dropped") == 1
    broker.open.set()
    notifier.close(SECONDS)
    assert broker.taken == [f"image.{number} info" for number in range(4)]
    assert Counter(counted) == {"dropped": 5, "sent": 4}


def test_what_fails_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    broker = Broker()
    with notifying(broker) as notifier:
        notifier.emit("image.create", "bad")
        notifier.emit("image.delete", {})
    assert broker.taken == ["image.delete info"]
    assert "a notification of image.create was not sent" in caplog.text


def test_an_end_is_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    broker = Broker()
    notifier = QueuedNotifier(lambda: broker)
    with caplog.at_level(logging.ERROR):
        notifier.emit("image.create", {})
        assert broker.entered.wait(SECONDS)
        notifier.close(0.0)
    assert "1 notifications are not sent any more" in caplog.text
    broker.open.set()
    notifier.close(SECONDS)


async def test_what_cannot_be_made_is_told() -> None:
    def make() -> Broker:
        raise ConfigError("no")

    with pytest.raises(ConfigError, match="no"):
        await QueuedNotifier(make).ready()


def test_payloads_hold_no_locations() -> None:
    image = Image(
        id="i",
        created_at=THEN,
        updated_at=THEN,
        visibility=Visibility.PUBLIC,
        locations=(ImageLocation("swift://user:secret@host"),),
        properties={"os_glance_importing_to_stores": "a,b", "os_glance_failed_import": ""},
    )
    told = data_notice(image, "fast")
    assert "secret" not in str(told)
    assert (told["is_public"], told["backend"], told["deleted_at"]) == (True, "fast", None)
    assert told["os_glance_importing_to_stores"] == ["a", "b"]
    assert told["os_glance_failed_import"] == []
    assert image_notice(image, THEN)["deleted_at"] == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("drivers", "told"), [("", False), ("driver = noop", False), ("driver = messagingv2", True)]
)
def test_nobody_is_told_without_a_driver(tmp_path: Path, drivers: str, *, told: bool) -> None:
    file = tmp_path / "registry.conf"
    file.write_text(f"[oslo_messaging_notifications]\n{drivers}\n")
    assert (load_settings([file]).notifications is not None) is told
