"""A real PostgreSQL; unless it is to keep its promises, a crash makes it forget what was last.

Nothing is written through to the disk: a machine that dies takes everything along.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.databases import PASSWORD, Server, as_user, home_of
from harness.services import run_tool, unavailable

USER = "postgres"
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "dynamic_shared_memory_type": "mmap",  # in its directory: one that is killed leaves nothing
    "listen_addresses": "127.0.0.1",
    "shared_buffers": "32MB",
    "max_wal_size": "256MB",
    "max_connections": "60",
}


def programs() -> Path:
    """Return the directory of the newest server that is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=_version)
    if not found or not shutil.which("psql"):
        unavailable("PostgreSQL is not installed: make packages")
    return found[-1].parent


def _version(program: Path) -> int:
    return int(program.parts[-3])


class Postgres(Server):
    """A running server."""

    kind = "postgresql"

    def __init__(
        self,
        directory: Path,
        *,
        keeps_promises: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare one; `settings` go before those that tests have."""
        super().__init__(directory, keeps_promises=keeps_promises)
        self._settings = {**SETTINGS, **(settings or {})}

    @property
    def command(self) -> tuple[str | Path, ...]:
        settings = {**self._settings, "port": self.port, "unix_socket_directories": self.directory}
        if self.keeps_promises:
            settings["synchronous_commit"] = "on"
        arguments = [f"--{name}={value}" for name, value in settings.items()]
        return (
            *as_user(USER, "INT"),
            programs() / "postgres",
            "-D",
            self.directory / "data",
            *arguments,
        )

    @property
    def client(self) -> tuple[str | Path, ...]:
        connection = f"host=127.0.0.1 port={self.port} user={USER} dbname=postgres"
        return ("psql", connection, "--quiet", "--tuples-only", "--no-align", "--command")

    def initialize(self) -> None:
        """Make what it keeps its databases in."""
        run_tool(
            *as_user(USER),
            *(programs() / "initdb", "-D", self.directory / "data"),
            *("--auth=trust", f"--username={USER}", "--no-sync", "--encoding=UTF8"),
            *("--locale=C.UTF-8", "--no-instructions"),
        )

    def url(self, database: str) -> str:
        return f"postgresql://catalog:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def administrators_url(self, database: str) -> str:
        """Return the URL of a database for whoever may do everything in it."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def create(self) -> str:
        name = super().create()
        self.run(f"ALTER DATABASE {name} OWNER TO catalog")
        return name

    def stop(self) -> None:
        self.program.process.send_signal(signal.SIGINT)  # SIGTERM waits for whoever is connected
        super().stop()

    def drop(self, database: str) -> None:
        self.run(f"DROP DATABASE {database} WITH (FORCE)")


@contextmanager
def running_postgres(
    *, keeps_promises: bool = False, settings: Mapping[str, str] | None = None
) -> Iterator[Postgres]:
    """Run a server of one's own."""
    with home_of(USER) as directory:
        server = Postgres(directory, keeps_promises=keeps_promises, settings=settings)
        server.initialize()
        server.start()
        try:
            server.run(f"CREATE ROLE catalog LOGIN PASSWORD '{PASSWORD}'")
            yield server
        finally:
            server.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Run one server for the whole test run."""
    with running_postgres() as server:
        yield server
