"""A real MariaDB; unless it is to keep its promises, a crash makes it forget the last second."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.databases import PASSWORD, Server, as_user, home_of
from harness.services import run_tool, unavailable


class MariaDB(Server):
    """A running server."""

    kind = "mysql"

    @property
    def command(self) -> tuple[str | Path, ...]:
        # 2: written at each commit, not written through.
        log = 2 if self.keeps_promises else 0
        return (
            *(*as_user(self.user), _found("mariadbd"), "--no-defaults"),
            *(f"--datadir={self.directory}/data", f"--socket={self.socket}"),
            *("--bind-address=127.0.0.1", f"--port={self.port}", "--skip-name-resolve"),
            *(f"--innodb-flush-log-at-trx-commit={log}", "--innodb-flush-method=nosync"),
            *("--skip-log-bin", "--innodb-buffer-pool-size=64M", "--performance-schema=OFF"),
            *("--max-connections=60", f"--pid-file={self.directory}/pid"),
            # Whoever starts removes all temporary tables that lie there, also another server's; that
            # one then dies of a SIGSEGV.
            f"--tmpdir={self.temporary}",
        )

    @property
    def client(self) -> tuple[str | Path, ...]:
        options = ("--no-defaults", "--user=root", f"--socket={self.socket}", "--skip-column-names")
        return (_found("mariadb"), *options, "--batch", "--execute")

    @property
    def user(self) -> str:
        """Whom the server runs as."""
        return "mysql"

    @property
    def socket(self) -> Path:
        """Where the administrator connects."""
        return self.directory / "socket"

    @property
    def temporary(self) -> Path:
        """Where its temporary tables are."""
        return self.directory / "temporary"

    def initialize(self) -> None:
        """Make what it keeps its databases in."""
        self.temporary.mkdir()
        options = ["--no-defaults", f"--datadir={self.directory}/data", "--skip-test-db"]
        options.append(f"--tmpdir={self.temporary}")
        options += ["--auth-root-authentication-method=normal", "--skip-name-resolve"]
        options += ["--innodb-flush-method=nosync", "--innodb-flush-log-at-trx-commit=0"]
        if os.geteuid() == 0:
            (self.directory / "data").mkdir()
            shutil.chown(self.directory / "data", self.user)
            shutil.chown(self.temporary, self.user)
            options.append(f"--user={self.user}")
        run_tool(_found("mariadb-install-db"), *options)

    def url(self, database: str) -> str:
        return f"mysql+pymysql://catalog:{PASSWORD}@127.0.0.1:{self.port}/{database}?charset=utf8"

    def drop(self, database: str) -> None:
        self.run(f"DROP DATABASE {database}")


def _found(program: str) -> str:
    path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    if path is None:
        unavailable("MariaDB is not installed: make packages")
    return path


@contextmanager
def running_mariadb(*, keeps_promises: bool = False) -> Iterator[MariaDB]:
    """Run a server of one's own."""
    _found("mariadbd")
    with home_of("mysql") as directory:
        server = MariaDB(directory, keeps_promises=keeps_promises)
        server.initialize()
        server.start()
        try:
            server.run(f"CREATE USER catalog@'%' IDENTIFIED BY '{PASSWORD}'")
            server.run("GRANT ALL ON `catalog%`.* TO catalog@'%'")
            yield server
        finally:
            server.close()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """Run one server for the whole test run."""
    with running_mariadb() as server:
        yield server
