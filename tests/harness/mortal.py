"""A catalog that is killed and started again, at one address: what it leaves, and what becomes of that."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from harness.catalog import PLACE
from harness.catalog_database import write_database
from harness.images_api import ImagesApi
from harness.inject.steering import Steering
from harness.program import REPOSITORY, Program, free_port

# Dead is who was silent for a second or two.
QUICK = """
[cacheproxy]
upload_lease_seconds = 2
janitor_interval_seconds = 1
"""
KILLED = -signal.SIGKILL


@dataclass
class MortalCatalog:
    """One instance, without authentication; `steering` kills it at the steps that it knows."""

    directory: Path
    port: int
    command: Sequence[str]
    steering: Steering
    program: Program = field(init=False)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def api(self) -> ImagesApi:
        """Return a client."""
        return ImagesApi(self.url)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        paths = (REPOSITORY / "tests/harness/inject", REPOSITORY / "tests", REPOSITORY)
        self.program = Program(
            f"registry-{self.port}",
            [*self.command, "serve"],
            directory=self.directory,
            environment={
                "PYTHONPATH": ":".join(map(str, paths)),
                "STEERED_BY": str(self.directory / "steering"),
            },
        )
        self.program.wait_for_port(self.port)

    def kill(self) -> None:
        """Kill it now."""
        self.program.process.kill()
        self.stop()

    def stop(self) -> None:
        """Stop it, unless it was killed; its log must tell of no fault."""
        self.program.process.poll()
        self.program.stop(codes=(0, KILLED))
        log = self.program.log.read_text()
        assert "Traceback" not in log, log[log.index("Traceback") - 500 :]


@contextmanager
def mortal_catalog(
    directory: Path, stores: str, steps: Sequence[str] = (), more: str = QUICK
) -> Iterator[MortalCatalog]:
    """Make a database below `directory` and start a catalog on it, with a section about its stores."""
    port = free_port()
    configuration = directory / "registry.conf"
    configuration.write_text(PLACE.format(port=port, directory=directory) + stores + more)
    command = [sys.executable, "-m", "registry", "--config-file", str(configuration)]
    write_database(directory / "registry.sqlite")
    steering = Steering.create(directory / "steering", steps)
    catalog = MortalCatalog(directory, port, command, steering)
    try:
        catalog.start()
        yield catalog
    finally:
        catalog.stop()
        steering.close()
