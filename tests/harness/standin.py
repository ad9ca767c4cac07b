"""The real supervisor over stand-in children (`standin_node.py`), as a program, and its clients."""

from __future__ import annotations

import json
import re
import socket
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from harness.activation import activated
from harness.program import REPOSITORY, Program
from harness.waiting import until

STANDIN = REPOSITORY / "tests/processes/standin_node.py"
ANSWER_SECONDS = 20.0


class Client:
    """A connection to a stand-in worker."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.sock = socket.create_connection(address, ANSWER_SECONDS)
        self.lines = self.sock.makefile("r")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, line: str) -> str:
        self.send(line)
        return self.receive()

    def send(self, line: str) -> None:
        self.sock.sendall(f"{line}\n".encode())

    def receive(self) -> str:
        answer = self.lines.readline()
        if not answer:
            raise ConnectionResetError("closed")
        return answer.strip()

    def who(self) -> tuple[int, int]:
        """Return the number and the process id of the worker."""
        number, pid, _ = self.ask("who").split()
        return int(number), int(pid)

    def ended(self) -> bool:
        try:
            self.ask("who")
        except OSError:
            return True
        return False

    def close(self) -> None:
        self.lines.close()
        self.sock.close()


class Node:
    """A running supervisor."""

    def __init__(
        self,
        directory: Path,
        options: Mapping[str, object],
        *,
        environment: Mapping[str, str] | None = None,
        sockets: Mapping[str, socket.socket] | None = None,
    ) -> None:
        """Start it, with `sockets` as systemd would pass them, by name."""
        given = activated([sys.executable, STANDIN, json.dumps(options)], sockets or {})
        self.program = Program(
            "standin",
            given.command,
            directory=directory,
            environment={
                "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}",
                **given.environment,
                **(environment or {}),
            },
            fds=given.fds,
        )
        self.clients = ExitStack()
        self.opened = 0  # clients, ever

    @property
    def log(self) -> str:
        return self.program.log.read_text()

    def wait_for(self, pattern: str) -> re.Match[str]:
        until(f"{pattern!r} in the log", lambda: re.search(pattern, self.log))
        match = re.search(pattern, self.log)
        assert match
        return match

    @property
    def ready(self) -> re.Match[str]:
        return self.wait_for(
            r"ready: images at http://([\d.]+):(\d+) .*metrics at http://([\d.]+):(\d+)"
        )

    def address(self, listener: int = 0) -> tuple[str, int]:
        """Return the address of the images (0) or the metrics (1)."""
        return self.ready[1 + 2 * listener], int(self.ready[2 + 2 * listener])

    def client(self, listener: int = 0) -> Client:
        client = Client(self.address(listener))
        self.opened += 1
        self.clients.callback(client.close)
        return client

    def each_worker(self, count: int) -> list[Client]:
        """Return a client of each worker, by its number."""
        found = {client.who()[0]: client for client in (self.client() for _ in range(count))}
        assert sorted(found) == list(range(count))
        return [found[number] for number in range(count)]

    def pid(self, name: str) -> int:
        """Return the process id of the child's last start."""
        return int(re.findall(rf"{name} started \(process (\d+)\)", self.log)[-1])

    def children(self) -> set[int]:
        return {child.pid for child in self.program.children()}
