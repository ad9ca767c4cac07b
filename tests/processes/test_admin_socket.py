"""The admin socket's file: who may use it, whose place it takes, and whose it does not."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cacheproxy.admin.address import ADDRESS_BYTES_MAX, address, opened_directory
from cacheproxy.processes import admin_socket
from cacheproxy.processes.admin_socket import BACKLOG, AdminSocket, AdminSocketError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "admin.sock"


@pytest.fixture
def made() -> Iterator[list[AdminSocket]]:
    """Close all of these at the end."""
    sockets: list[AdminSocket] = []
    yield sockets
    for each in sockets:
        each.sock.close()


def stale(path: Path) -> None:
    """Leave what a process leaves that was killed."""
    with socket.socket(socket.AF_UNIX) as sock, opened_directory(path) as directory:
        sock.bind(address(directory, path.name))


def reaches(path: Path, listening: AdminSocket) -> bool:
    """Whether a client that connects to the path comes out at this socket; else BlockingIOError."""
    with socket.socket(socket.AF_UNIX) as client, opened_directory(path) as directory:
        client.connect(address(directory, path.name))
        client.sendall(b"hello")
        while True:  # whoever looked whether somebody listens comes out here, too
            with listening.sock.accept()[0] as served:
                if served.recv(5) == b"hello":
                    return True


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_owner_and_group_may_use_it_whatever_the_umask(
    path: Path, made: list[AdminSocket], umask: int
) -> None:
    before = os.umask(umask)
    try:
        made.append(AdminSocket.listen(path))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert reaches(path, made[0])
    assert [each.name for each in path.parent.iterdir()] == ["admin.sock"]


def test_a_socket_that_nobody_listens_on_is_replaced(path: Path, made: list[AdminSocket]) -> None:
    stale(path)
    stale(path.with_name(".admin.sock.new"))  # of one that was killed while it made its own
    made.append(AdminSocket.listen(path))
    assert reaches(path, made[0])
    assert [each.name for each in path.parent.iterdir()] == ["admin.sock"]


def test_a_living_one_never_is(path: Path, made: list[AdminSocket]) -> None:
    made.append(AdminSocket.listen(path))
    with pytest.raises(AdminSocketError, match="belongs to another process"):
        AdminSocket.listen(path)
    assert reaches(path, made[0])
    assert made[0].there()


def test_nor_is_one_that_answers_nobody(path: Path, made: list[AdminSocket]) -> None:
    made.append(AdminSocket.listen(path))
    waiting = [socket.socket(socket.AF_UNIX) for _ in range(BACKLOG + 2)]
    for each in waiting:
        each.setblocking(False)
        each.connect_ex(str(path))
    with pytest.raises(AdminSocketError, match="belongs to another process"):
        AdminSocket.listen(path)
    for each in waiting:
        each.close()


def test_a_file_of_others_is_let_be(path: Path) -> None:
    path.write_text("important")
    with pytest.raises(AdminSocketError, match="is no socket: remove it"):
        AdminSocket.listen(path)
    assert path.read_text() == "important"


def test_a_path_longer_than_an_address(tmp_path: Path, made: list[AdminSocket]) -> None:
    directory = tmp_path.joinpath(*["d" * 60] * 3)
    directory.mkdir(parents=True)
    path = directory / "admin.sock"
    assert len(os.fsencode(path)) > ADDRESS_BYTES_MAX
    stale(path)
    made.append(AdminSocket.listen(path))
    assert reaches(path, made[0])
    made[0].remove()
    assert list(directory.iterdir()) == []


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(AdminSocketError, match=r"No such file or directory; see \[DEFAULT\]"):
        AdminSocket.listen(tmp_path / "nowhere" / "admin.sock")


def test_of_many_at_once_one_gets_it(path: Path, made: list[AdminSocket]) -> None:
    stale(path)
    together = threading.Barrier(4)

    def listen() -> AdminSocket | None:
        together.wait(10)
        try:
            return AdminSocket.listen(path)
        except AdminSocketError:
            return None

    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(listen) for _ in range(4)]
        made.extend(each for job in jobs if (each := job.result()) is not None)
    assert len(made) == 1
    assert reaches(path, made[0])


def test_a_directory_that_somebody_else_locks_is_not_waited_for_for_ever(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_socket, "LOCK_SECONDS", 0)
    with opened_directory(path) as directory:
        fcntl.flock(directory, fcntl.LOCK_EX)
        with pytest.raises(AdminSocketError, match="holds a lock"):
            AdminSocket.listen(path)
    assert not path.exists()


def test_only_its_own_file_is_removed(path: Path, made: list[AdminSocket]) -> None:
    made.append(AdminSocket.listen(path))
    path.unlink()
    assert not made[0].there()
    made.append(AdminSocket.listen(path))
    made[0].remove()
    assert made[1].there()
    made[1].remove()
    assert not path.exists()
    made[1].remove()  # again: nothing
