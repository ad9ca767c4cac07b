"""What systemd does for a service, done by a test: sockets that are passed, and news that is heard."""

from __future__ import annotations

import fcntl
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.waiting import until

FIRST_FD = 3
HIGH_FD = 100
BACKLOG = 4096


@dataclass(frozen=True, slots=True)
class Activated:
    """How to start a program that finds its sockets as sd_listen_fds(3) tells."""

    command: Sequence[str | Path]
    environment: Mapping[str, str]
    fds: Sequence[int]


def activated(command: Sequence[str | Path], sockets: Mapping[str, socket.socket]) -> Activated:
    """Pass listening sockets by name; they stay the test's."""
    if not sockets:
        return Activated(command, {}, ())
    fds = [sock.fileno() for sock in sockets.values()]
    assert min(fds) >= FIRST_FD + len(fds), "one would be overwritten before it is passed"
    moves = " ".join(f"{FIRST_FD + position}<&{fd}" for position, fd in enumerate(fds))
    return Activated(
        # The process id is known when the program is about to be there.
        ["bash", "-c", f'LISTEN_PID=$$ exec "$@" {moves}', "bash", *command],
        {"LISTEN_FDS": str(len(fds)), "LISTEN_FDNAMES": ":".join(sockets)},
        fds,
    )


@contextmanager
def listening(host: str = "127.0.0.1") -> Iterator[socket.socket]:
    """Listen as systemd does, with a descriptor that is in nobody's way."""
    with (
        socket.create_server((host, 0), backlog=BACKLOG) as server,
        socket.socket(fileno=fcntl.fcntl(server, fcntl.F_DUPFD_CLOEXEC, HIGH_FD)) as high,
    ):
        yield high


class Manager:
    """Listens for what a service tells."""

    def __init__(self, directory: Path) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        path = directory / "notify"
        self._sock.bind(str(path))
        self.environment = {"NOTIFY_SOCKET": str(path)}
        self.heard: list[str] = []

    def close(self) -> None:
        self._sock.close()

    def hears(self, line: str, times: int = 1) -> bool:
        """Whether it was told this so often, up to now."""
        while True:
            try:
                self.heard += self._sock.recv(4096).decode().split("\n")
            except BlockingIOError:
                return self.heard.count(line) >= times

    def wait_for(self, line: str, times: int = 1) -> None:
        """Wait until it was."""
        until(f"{line!r} to be told {times} times", lambda: self.hears(line, times))
