"""Our catalog as operators run it: `python -m registry`, on embedded defaults."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.catalog_database import write_database
from harness.images import run
from harness.program import REPOSITORY, Program, free_port

PLACE = """
[DEFAULT]
bind_host = 127.0.0.1
bind_port = {port}
[database]
connection = sqlite:///{directory}/registry.sqlite
"""

STORES = """
[glance_store]
stores = file,http
default_store = file
filesystem_store_datadir = {directory}/images/
"""
CONFIGURATION = PLACE + STORES

# The stores of `harness.glance`.
STORES_OF_GLANCE = """
[DEFAULT]
enabled_backends = fast:file,web:http
show_multiple_locations = true
[glance_store]
default_backend = fast
[fast]
filesystem_store_datadir = {directory}/fast
"""

# Nothing is read from this machine unless it is allowed.
THIS_MACHINE = """
[import_filtering_opts]
allowed_hosts = [127.0.0.1]
allowed_ports = []
"""

WITH_KEYSTONE = """
[paste_deploy]
flavor = keystone
[keystone_authtoken]
www_authenticate_uri = {keystone}
auth_url = {keystone}
auth_type = password
username = glance
password = glance
project_name = service
user_domain_id = default
project_domain_id = default
service_token_roles = service
service_token_roles_required = true
service_type = image
"""


@dataclass(frozen=True, slots=True)
class Catalog:
    """A running catalog, without authentication."""

    url: str
    program: Program


@contextmanager
def running_catalog(directory: Path, more: str = "", *stores: Path) -> Iterator[Catalog]:
    """Create a database below `directory` and serve it; `more` is appended to the configuration.

    `more` may name another database, which is then brought up to date as operators do it.

    `stores` are files that say which stores there are: without any, a file store below `directory`.
    """
    port = free_port()
    configuration = directory / "registry.conf"
    text = PLACE if stores else CONFIGURATION
    configuration.write_text(text.format(port=port, directory=directory) + more)
    command = [sys.executable, "-m", "registry"]
    for file in (*stores, configuration):
        command += ["--config-file", str(file)]
    environment = {"PYTHONPATH": str(REPOSITORY)}
    if "[database]" in more:
        run("env", f"PYTHONPATH={REPOSITORY}", *command, "db", "sync")
    else:
        write_database(directory / "registry.sqlite")
    program = Program(
        f"registry-{port}", [*command, "serve"], directory=directory, environment=environment
    )
    try:
        program.wait_for_port(port)
        yield Catalog(f"http://127.0.0.1:{port}", program)
    finally:
        if program in Program.running:  # a test may have killed and stopped it
            program.stop()


def load_metadefs(directory: Path, *, glance: Path) -> None:
    """Load the metadata definitions that Glance's package ships, into the catalog in a directory.

    `glance` is the interpreter of the environment that has the package.
    """
    command = [sys.executable, "-m", "registry", "--config-file", str(directory / "registry.conf")]
    source = glance.parents[1] / "etc/glance/metadefs"
    python_path = f"PYTHONPATH={REPOSITORY}"
    run("env", python_path, *command, "db", "load-metadefs", "--path", str(source))


@pytest.fixture(scope="session")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    """Run one catalog for the whole test run."""
    with running_catalog(tmp_path_factory.mktemp("catalog")) as running:
        yield running
