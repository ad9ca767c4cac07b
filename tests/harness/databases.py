"""What the servers of databases have in common: a user of their own, and a database for each test."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import psutil

from harness.program import Program, free_port
from harness.services import run_tool
from harness.waiting import until

PASSWORD = "secret"
MEMORY = Path("/dev/shm")
HOME_BYTES = 1 << 30


@contextmanager
def home_of(user: str) -> Iterator[Path]:
    """Make a directory that a server's user may reach, as pytest's own are for their owner only.

    In memory where there is room: a table is made six times as fast as on a disk.
    """
    memory = MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > HOME_BYTES else None
    with tempfile.TemporaryDirectory(prefix=f"{user}-", dir=memory) as made:
        if os.geteuid() == 0:
            shutil.chown(made, user)
        yield Path(made)


def as_user(user: str, end: str = "TERM") -> tuple[str, ...]:
    """Return what begins the command of a program that refuses to run as root.

    `end` is the signal that ends it at once, should pytest be killed.
    """
    if os.geteuid() != 0:
        return ()
    return ("setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--pdeathsig", end)


class Server(ABC):
    """A server of databases that tests stop, start and ask."""

    kind: str

    def __init__(self, directory: Path, *, keeps_promises: bool = False) -> None:
        """`keeps_promises`: what it has committed outlives its process, though not the machine."""
        self.directory = directory
        self.keeps_promises = keeps_promises
        self.port = free_port()
        self._numbers = count()
        self._program: Program | None = None

    @property
    @abstractmethod
    def command(self) -> tuple[str | Path, ...]:
        """What runs the server."""

    @property
    @abstractmethod
    def client(self) -> tuple[str | Path, ...]:
        """What runs the statement that is its last argument, as the administrator."""

    @abstractmethod
    def url(self, database: str) -> str:
        """Return the URL of a database, as operators write it."""

    @property
    def program(self) -> Program:
        """The running server."""
        assert self._program is not None
        return self._program

    def start(self) -> None:
        """Start it, and wait until it answers."""
        name = f"{self.kind}-{self.port}"
        self._program = Program(name, self.command, directory=self.directory)
        try:
            self.program.wait_for_port(self.port)
            until(f"{name} to answer", self._answers)
        except BaseException:
            self.stop()
            raise

    def _answers(self) -> bool:
        done = subprocess.run([*self.client, "SELECT 1"], capture_output=True, check=False)
        return done.returncode == 0

    def stop(self) -> None:
        """Stop it in order; whoever is connected loses his connection."""
        program, self._program = self.program, None
        program.stop()

    def kill(self) -> None:
        """Kill it, and all its processes, in the middle of whatever they do."""
        program, self._program = self.program, None
        children = program.children()
        program.process.kill()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(children)
        program.process.wait()
        program.stop(codes=(-signal.SIGKILL,))

    def close(self) -> None:
        """Stop it, unless a test has."""
        if self._program is not None:
            self.stop()

    def run(self, statement: str) -> str:
        """Run a statement as the administrator, and return what its client prints."""
        return run_tool(*self.client, statement)

    def create(self) -> str:
        """Create an empty database, and return its name."""
        name = f"catalog{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name}")
        return name

    @abstractmethod
    def drop(self, database: str) -> None:
        """Remove a database, whoever is connected to it."""
