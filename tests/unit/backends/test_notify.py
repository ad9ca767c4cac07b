"""The datagrams that a service manager gets, at both kinds of address, and without a manager."""

from __future__ import annotations

import socket
import uuid
from pathlib import Path

import pytest

from backends.notify import Notify


@pytest.mark.parametrize("abstract", [False, True])
def test_a_message_is_one_datagram(tmp_path: Path, abstract: bool) -> None:
    name = f"cacheproxy-{uuid.uuid4()}" if abstract else str(tmp_path / "notify")
    environ = {"NOTIFY_SOCKET": f"@{name}" if abstract else name, "HOME": "/"}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}" if abstract else name)
        notify = Notify.from_environment(environ)
        assert notify.send("READY=1", "STATUS=fine")
        assert notify.send("STOPPING=1")
        assert manager.recv(4096) == b"READY=1\nSTATUS=fine"
        assert manager.recv(4096) == b"STOPPING=1"
    assert environ == {"HOME": "/"}
    assert not notify.send("READY=1")  # it is gone


def test_a_manager_that_does_not_read_is_not_waited_for(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        notify = Notify(path)
        sent = 0
        while notify.send("WATCHDOG=1"):
            sent += 1
        assert sent > 0
        manager.recv(4096)
        assert notify.send("WATCHDOG=1")


@pytest.mark.parametrize("address", [None, "", "vsock:2:1234", "relative"])
def test_without_a_manager_nothing_is_left_to_be_said(address: str | None) -> None:
    notify = Notify.from_environment({} if address is None else {"NOTIFY_SOCKET": address})
    assert notify.send("READY=1")
    assert repr(notify) == "<tells nobody>"
