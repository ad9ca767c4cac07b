"""Our catalog and Glance 33 side by side: one worker each, a file store, one Keystone.

Each has a file of SQLite's, or both a database on one PostgreSQL.

Both believe a token for five minutes, Glance in the memory of its process (keystonemiddleware's way
without memcached), so that Keystone is asked once by each.  Both keep their defaults otherwise.
"""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cost import Cost, costing
from bench.daemons import catalog
from bench.glance import server_of
from bench.images import MIB
from bench.load import Answered
from bench.load.calls import Call, Caller, called, until
from bench.rounds import Figures
from bench.scenario import MissingError, Options
from bench.server import LOAD_CORE, SERVER_CORE, Server, pinned
from bench.sides import OURS, Sides

if TYPE_CHECKING:
    from harness.images_api import ImagesApi
    from harness.postgres import Postgres

GLANCE = "glance"
_PSYCOPG2 = Path("/usr/lib/python3/dist-packages/psycopg2")
CONNECTIONS = 4  # Glance has 16 threads, and answers fewer in all with more clients
ROUNDS = 7

RATE, CPU, P50, P99 = "calls/s", "CPU ms/call", "p50 ms", "p99 ms"
BUSY, LOAD_BUSY, MEMORY = "server's core %", "load's core %", "anonymous MiB"
POSTGRES_CPU = "CPU ms/call, PostgreSQL"
MB_RATE, CPU_GB, PEAK = "MB/s", "CPU s/GB", "peak MiB"
COLUMNS = (RATE, CPU, P50, P99, BUSY, LOAD_BUSY, MEMORY)

# What tests configure both with, so that the one finds what the other does.
KEYSTONE = """
[paste_deploy]
flavor = keystone
[keystone_authtoken]
www_authenticate_uri = {url}
auth_url = {url}
auth_type = password
username = glance
password = glance
project_name = service
user_domain_id = default
project_domain_id = default
service_token_roles = service
service_token_roles_required = true
"""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two, and a member of a project who calls it."""

    server: Server
    token: str
    admin: str  # a token
    project: str
    api: ImagesApi
    database: str  # its file, or its name on PostgreSQL
    postgres: Server | None = None

    @property
    def caller(self) -> Caller:
        """What makes the requests."""
        return Caller(self.server, self.token)

    def connected(self) -> sqlite3.Connection:
        """Open its database, for what would take too long by its API."""
        return sqlite3.connect(self.database, timeout=60, isolation_level="DEFERRED")

    def figures(self, answered: Answered, cost: Cost) -> Figures:
        """Say what calls showed."""
        return {
            RATE: answered.rate,
            CPU: 1e3 * cost.cpu_seconds / answered.requests,
            P50: 1e3 * answered.latencies.p50,
            P99: 1e3 * answered.latencies.p99,
            BUSY: 100 * cost.server_busy,
            LOAD_BUSY: 100 * cost.load_busy,
            MEMORY: self.server.anonymous_bytes() / MIB,
        }

    def turn(
        self,
        calls: Callable[[Side, random.Random], Iterator[Call]],
        seconds: float,
        connections: int = CONNECTIONS,
    ) -> Figures:
        """Make such calls for so many seconds."""
        lines = [until(seconds, calls(self, random.Random(n))) for n in range(connections)]
        before = self._postgres_seconds()
        answered, cost = costing(self.server, partial(called, self.server, lines))
        figures = dict(self.figures(answered, cost))
        if self.postgres is not None:
            seconds = self._postgres_seconds() - before
            figures[POSTGRES_CPU] = 1e3 * seconds / answered.requests
        return figures

    def _postgres_seconds(self) -> float:
        return 0.0 if self.postgres is None else self.postgres.cpu_seconds()


@contextmanager
def catalogs(
    home: Path, cores: Sequence[int] = (SERVER_CORE,), postgres: Postgres | None = None
) -> Iterator[Sequence[Side]]:
    """Run both on these cores, ours first; MissingError if they are not installed.

    Keystone is beside the load.
    """
    # The command line says where they are, and only who measures Glance needs pytest.
    from harness.glance import running_glance  # noqa: PLC0415
    from harness.images_api import ImagesApi  # noqa: PLC0415
    from harness.keystone import ADMIN, MEMBER, running_keystone  # noqa: PLC0415
    from harness.services import ENVIRONMENTS  # noqa: PLC0415

    for name in ("keystone", "glance"):
        if not (ENVIRONMENTS / name / "installed").exists():
            raise MissingError(f"{name} is not installed: make services")
    keystone_home, ours, theirs = (home.resolve() / name for name in ("keystone", OURS, GLANCE))
    for directory in (keystone_home, ours, theirs):
        directory.mkdir(parents=True)
    databases = [str(ours / "catalog.db"), str(theirs / "glance.db")]
    where, environment, beside = ["", ""], {}, None
    if postgres is not None:
        beside = Server("postgresql", "", postgres.program.process.pid)
        databases = [postgres.create(), postgres.create()]
        where = [_CONNECTION.format(url=_glance_url(postgres, name)) for name in databases]
        environment = {"PYTHONPATH": str(_driver(home.resolve()))}
        _make_tables(theirs, where[1], environment)
    with ExitStack() as stack:
        with pinned(LOAD_CORE):
            keystone = stack.enter_context(running_keystone(keystone_home))
        with pinned(*cores):
            ours_too = KEYSTONE.format(url=keystone.url) + where[0]
            mine = stack.enter_context(catalog(ours, ours_too))
            glance = stack.enter_context(running_glance(theirs, keystone, where[1], environment))
        token, project = keystone.token(MEMBER), keystone.project_id(MEMBER)
        headers = {"X-Auth-Token": token}
        yield [
            Side(
                *(server, token, keystone.token(ADMIN), project),
                *(ImagesApi(server.url, headers), database, beside),
            )
            for server, database in zip((mine, server_of(glance)), databases, strict=True)
        ]


_CONNECTION = """
[database]
connection = {url}
"""


def _glance_url(postgres: Postgres, database: str) -> str:
    """Name the driver, as SQLAlchemy 2.1 means another one without."""
    return postgres.url(database).replace("postgresql:", "postgresql+psycopg2:")


def _driver(home: Path) -> Path:
    """Return a directory from which Glance imports Debian's psycopg2, and nothing else of Debian's."""
    if not _PSYCOPG2.exists():
        raise MissingError("psycopg2 is not installed: make bench-deps")
    directory = home / "driver"
    directory.mkdir()
    (directory / "psycopg2").symlink_to(_PSYCOPG2)
    return directory


def _make_tables(home: Path, where: str, environment: Mapping[str, str]) -> None:
    """Make Glance's tables with Glance's own tool."""
    from harness.services import python_of  # noqa: PLC0415

    configuration = home / "tables.conf"
    configuration.write_text(where)
    tool = python_of("glance").with_name("glance-manage")
    subprocess.run(
        [tool, "--config-file", configuration, "db_sync"],
        env={**os.environ, **environment, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        check=True,
    )


def compared(
    what: str, sides: Sequence[Side], turn: Callable[[Side], Figures], options: Options
) -> Sides:
    """Measure both in turn."""
    turns = {name: partial(turn, side) for name, side in zip((OURS, GLANCE), sides, strict=True)}
    return Sides.measured(what, turns, options)
