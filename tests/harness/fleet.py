"""Several instances of one catalog, behind HAProxy, each of which tests kill, stop and freeze."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from harness.catalog import WITH_KEYSTONE
from harness.haproxy import HAProxy, running_haproxy
from harness.images import run
from harness.program import REPOSITORY, Program, free_port

INSTANCES = 3
STORES = ("fast", "cheap")  # uploads go to the first
STAGING = "staging"
LEASE_SECONDS = 4  # dead is who was silent for so long
CONFIGURATION = """
[DEFAULT]
bind_host = 127.0.0.1
enabled_backends = fast:file,cheap:file,staging:file
user_storage_quota = {quota}
wakeup_time = 2
[glance_store]
default_backend = fast
[fast]
filesystem_store_datadir = {directory}/fast
[cheap]
filesystem_store_datadir = {directory}/cheap
[staging]
filesystem_store_datadir = {directory}/staging
[database]
connection = {database}
# All of them together have fewer than the server gives.
max_pool_size = 2
max_overflow = 3
max_retries = -1
retry_interval = 1
[cacheproxy]
staging_store = staging
upload_lease_seconds = {lease}
janitor_interval_seconds = 1
[import_filtering_opts]
allowed_hosts = [127.0.0.1]
allowed_ports = []
"""
KILLED = -signal.SIGKILL


@dataclass
class Instance:
    """One of them; its methods block."""

    directory: Path
    port: int
    program: Program | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        """Where it answers itself."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """What it has told in all of its lives."""
        return self.directory / f"registry-{self.port}.log"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        files = ("registry.conf", f"registry-{self.port}.conf")
        command = [sys.executable, "-m", "registry"]
        for file in files:
            command += ["--config-file", str(self.directory / file)]
        self.program = Program(
            f"registry-{self.port}",
            [*command, "serve"],
            directory=self.directory,
            environment={"PYTHONPATH": str(REPOSITORY)},
        )
        self.program.wait_for_port(self.port)

    def kill(self) -> None:
        """Kill it in the middle of whatever it does."""
        assert self.program is not None
        self.program.process.kill()
        self.stop()

    def stop(self) -> None:
        """Let it end in order, unless it was killed."""
        program, self.program = self.program, None
        assert program is not None
        program.stop(codes=(0, KILLED))

    def close(self) -> None:
        """Let it end in order, whatever a test has done to it."""
        if self.program is not None:
            if self.program.process.poll() is None:
                self.thaw()
            self.stop()

    def freeze(self) -> None:
        """Let it stand still; its connections stay."""
        assert self.program is not None
        psutil.Process(self.program.process.pid).suspend()

    def thaw(self) -> None:
        """Let it go on."""
        assert self.program is not None
        psutil.Process(self.program.process.pid).resume()


@dataclass(frozen=True, slots=True)
class Fleet:
    """The instances, and what stands in front of them."""

    directory: Path
    haproxy: HAProxy
    instances: tuple[Instance, ...]

    @property
    def url(self) -> str:
        """Where clients go."""
        return self.haproxy.url

    def names_in(self, store: str) -> set[str]:
        """Return the names of everything that is in a store."""
        directory = self.directory / store
        return {path.name for path in directory.iterdir()} if directory.exists() else set()

    def configure(self, database: str, keystone: str, quota: str) -> None:
        """Write what they read when they start."""
        text = CONFIGURATION.format(
            directory=self.directory, database=database, quota=quota, lease=LEASE_SECONDS
        )
        file = self.directory / "registry.conf"
        file.write_text(text + WITH_KEYSTONE.format(keystone=keystone))


@contextmanager
def running_fleet(
    directory: Path, database: str, keystone: str, quota: str = "0"
) -> Iterator[Fleet]:
    """Give an empty database its tables, and run instances on it until the context is left."""
    instances = tuple(Instance(directory, free_port()) for _ in range(INSTANCES))
    for instance in instances:
        own = f"[DEFAULT]\nbind_port = {instance.port}\n"
        (directory / f"registry-{instance.port}.conf").write_text(own)
    with running_haproxy(directory, [instance.port for instance in instances]) as haproxy:
        fleet = Fleet(directory, haproxy, instances)
        fleet.configure(database, keystone, quota)
        settings = ("--config-file", str(directory / "registry.conf"))
        python_path = f"PYTHONPATH={REPOSITORY}"
        run("env", python_path, sys.executable, "-m", "registry", *settings, "db", "sync")
        with ExitStack() as stack:
            for instance in instances:
                stack.callback(instance.close)
                instance.start()
            yield fleet
