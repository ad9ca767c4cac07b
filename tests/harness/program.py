"""Programs that tests start: a failing test shows their logs, and their end leaves nothing."""

from __future__ import annotations

import random
import socket
import subprocess
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from os import environ
from pathlib import Path

import psutil
import pytest

from harness.waiting import until

REPOSITORY = Path(__file__).parents[2]
START_SECONDS = 60.0
STOP_SECONDS = 30.0
CHILDREN_SECONDS = 2.0  # after the program's own end
LOG_TAIL_BYTES = 8192
BOUND_TO_US = ("setpriv", "--pdeathsig", "TERM")  # a pytest that is killed leaves nothing running


def _ports() -> range:
    """Return the ports of this process of the run: no other looks for a free one among them.

    They are below the ports that the kernel gives to outgoing connections.
    """
    number = int(environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    processes = int(environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    return range(10_240 + number % processes, 32_768, processes)


PORTS = _ports()
_given: deque[int] = deque(maxlen=256)  # lately, and not used yet, perhaps


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on now, another one each time."""
    while True:
        port = random.choice(PORTS)
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.append(port)
        return port


class Program:
    """A child process and its log, `directory/name.log`."""

    running: list[Program] = []  # noqa: RUF012  # the failure report of any test shows their logs

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        directory: Path,
        environment: Mapping[str, str] | None = None,
        fds: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*BOUND_TO_US, *command],
                cwd=directory,
                env={**environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=fds,
                start_new_session=True,  # a Ctrl-C is for pytest, which ends its children in order
            )
        self.running.append(self)

    def __repr__(self) -> str:
        return f"<{self.name}, pid {self.process.pid}, exit code {self.process.poll()}>"

    def tail(self) -> str:
        """Return the end of the log."""
        return self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")

    def wait_for_port(self, port: int, seconds: float = START_SECONDS) -> None:
        """Wait until somebody listens; fail with the log if the program ended instead."""

        def listens() -> bool:
            if self.process.poll() is not None:
                raise AssertionError(f"{self!r} ended:\n{self.tail()}")
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        until(f"{self!r} to listen on port {port}", listens, seconds)

    def children(self) -> list[psutil.Process]:
        """Return the processes below this one, also theirs."""
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def stop(self, *, codes: Sequence[int] = (0,)) -> None:
        """End it with SIGTERM; fail if that does not end it well, and its children with it."""
        children = self.children()
        complaint = ""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            code = self.process.wait(STOP_SECONDS)
            if code not in codes:
                complaint = f"{self.name} ended with code {code}"
        except subprocess.TimeoutExpired:
            complaint = f"{self.name} did not end within {STOP_SECONDS} s"
            self.process.kill()
            self.process.wait()
        _, left = psutil.wait_procs(children, CHILDREN_SECONDS)
        for child in left:
            complaint = complaint or f"{self.name} left {child} behind"
            child.kill()
        self.running.remove(self)
        if complaint:
            pytest.fail(f"{complaint}:\n{self.tail()}", pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the logs of the programs that run beside a failing test."""
    report = yield
    if report.failed:
        for program in Program.running:
            report.sections.append((f"log of {program.name}", program.tail()))
    return report
