"""A server that a measurement started: where it answers, and what it costs the machine."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.scenario import MissingError

if TYPE_CHECKING:
    import psutil

START_SECONDS = 60.0
STOP_SECONDS = 60.0
POLL_SECONDS = 0.01

# What is measured has one core, whatever makes the load and stands in for Glance another one.
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]


def path_of(image_id: str) -> str:
    """Return where every server serves the data of an image."""
    return f"/v2/images/{image_id}/file"


@dataclass(frozen=True)
class Server:
    """A running program and its descendants."""

    name: str
    url: str  # without a path
    pid: int  # of the first process; a child of this one
    metrics_url: str = ""
    log: Path = Path(os.devnull)  # what it says

    def processes(self) -> list[psutil.Process]:
        """Return its process and all descendants that live."""
        import psutil  # noqa: PLC0415  not there for `make run`, which measures nothing

        first = psutil.Process(self.pid)
        return [first, *first.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """Return the processor time so far, user and system, of all of them, the dead too."""
        times = [process.cpu_times() for process in self.processes()]
        return sum(t.user + t.system + t.children_user + t.children_system for t in times)

    def anonymous_bytes(self) -> int:
        """Return the anonymous memory that they use now; a shared page counts once."""
        return sum(
            _kib(Path(f"/proc/{process.pid}/smaps_rollup"), "Pss_Anon:") << 10
            for process in self.processes()
        )

    def peak_bytes(self) -> int:
        """Return the sum of the most that each was resident with; shared pages count in each."""
        return sum(
            _kib(Path(f"/proc/{process.pid}/status"), "VmHWM:") << 10
            for process in self.processes()
        )

    def metrics(self) -> dict[str, float]:
        """Read its figures in Prometheus's format, by name with labels."""
        with urllib.request.urlopen(self.metrics_url, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def ended(self) -> bool:
        """Tell whether its first process is no more."""
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        try:
            return os.waitid(os.P_PID, self.pid, options) is not None
        except ChildProcessError:
            return True


def _kib(page: Path, name: str) -> int:
    for line in page.read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    return 0


@contextmanager
def pinned(*cores: int) -> Iterator[None]:
    """Run on these cores, and what is started meanwhile for its whole life; MissingError if one is not there."""
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, cores)
    except OSError:
        raise MissingError(f"no processor cores {cores}: two are needed") from None
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def running(  # noqa: PLR0913  a program, where it runs and how one sees that it does
    name: str,
    command: Sequence[str | Path],
    home: Path,
    url: str,
    *,
    ready: str = "/versions",
    metrics_url: str = "",
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Run a program until the end of the block; it is up when it answers `ready` with success.

    What it says goes to NAME.log in `home`.  RuntimeError, with the end of that, if it does not
    start.  `pinned` around this decides its cores.
    """
    log = home / f"{name}.log"
    with log.open("wb") as output:
        # In a group of its own: Ctrl-C is for us, and we end it in order.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )
    server = Server(name, url, process.pid, metrics_url, log)
    try:
        _wait_until_up(server, ready)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_until_up(server: Server, ready: str) -> None:
    """Wait until a server answers; RuntimeError with its own words if it does not."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and not server.ended():
        try:
            with urllib.request.urlopen(f"{server.url}{ready}", timeout=2):
                return
        except OSError:
            time.sleep(POLL_SECONDS)
    raise RuntimeError(f"{server.name} did not start:\n{server.log.read_text()[-2000:]}")
