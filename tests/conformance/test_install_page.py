"""docs/install-catalog.md is true: its commands are typed, with a real Keystone, database and systemd.

The hosts that the page names are addresses of the loopback of each test's own, where the ports are
the usual ones.
"""

from __future__ import annotations

import asyncio
import random
import re
import shlex
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from harness.databases import Server
from harness.forwarder import forwarding
from harness.keystone import ADMIN, Keystone, running_keystone
from harness.page import Step, steps
from harness.program import REPOSITORY
from harness.systemd import Machine, running_systemd
from registry.cli.parser import parser

PAGE = REPOSITORY / "docs/install-catalog.md"
OTHER = {"mysql": "PostgreSQL", "postgresql": "MariaDB"}  # sections that are left out
PORTS = {"mysql": 3306, "postgresql": 5432}
REGISTRY, PROXY, SOCKET = "cacheproxy-registry.service", "cacheproxy.service", "cacheproxy.socket"
LOGS = "[Service]\nStandardOutput=append:{log}\nStandardError=append:{log}\nProtectHome=no\n"
LISTENS = "[Socket]\nListenStream=\nListenStream={node}:9292\n"
HOSTS = "{node} localhost compute1\n{controller} controller\n"


def address() -> str:
    """Return an address of the loopback that nobody else uses."""
    return f"127.{random.randrange(1, 255)}.{random.randrange(256)}.{random.randrange(1, 255)}"


@pytest.fixture
def bare_keystone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keystone]:
    """Run a Keystone with nobody in it but its administrator."""
    with running_keystone(tmp_path_factory.mktemp("keystone"), ()) as running:
        yield running


@asynccontextmanager
async def controller(directory: Path, keystone: Keystone, server: Server) -> AsyncIterator[Machine]:
    """Boot the machine that the page is followed on, as the page supposes it to be."""
    node, host, log = address(), address(), directory / "service.log"
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(forwarding(keystone.url, host, 5000))
        database = f"tcp://127.0.0.1:{server.port}"
        await stack.enter_async_context(forwarding(database, host, PORTS[server.kind]))
        context = running_systemd(
            directory,
            changes={
                REGISTRY: LOGS.format(log=log),
                PROXY: LOGS.format(log=log),
                SOCKET: LISTENS.format(node=node),
            },
            files={"hosts": HOSTS.format(node=node, controller=host)},
        )
        machine = await asyncio.to_thread(context.__enter__)
        try:
            await asyncio.to_thread(prepare, machine, keystone, server)
            yield machine
        finally:
            await asyncio.to_thread(context.__exit__, None, None, None)


def prepare(machine: Machine, keystone: Keystone, server: Server) -> None:
    """Put there what the page begins with: the sources, `openstack`, its login, the database."""
    sources = machine.directory / "sources"
    sources.mkdir()
    (sources / "systemd").symlink_to(REPOSITORY / "systemd")
    login = keystone.environment(ADMIN) | {"OS_AUTH_URL": "http://controller:5000/v3"}
    (sources / "admin-openrc").write_text(
        "".join(f"export {name}={shlex.quote(value)}\n" for name, value in login.items())
    )
    openstack = Path(sys.prefix).resolve() / "bin/openstack"
    machine.run("ln", "-s", openstack, "/usr/local/bin/openstack")
    place, socket = {
        "mysql": ("/run/mysqld/mysqld.sock", server.directory / "socket"),
        "postgresql": (
            "/run/postgresql/.s.PGSQL.5432",
            server.directory / f".s.PGSQL.{server.port}",
        ),
    }[server.kind]
    machine.run("mkdir", "-p", Path(place).parent)
    machine.run("ln", "-s", socket, place)


def follow(machine: Machine, step: Step) -> str:
    """Do what a step of the page says, and return what was printed."""
    sources = machine.directory / "sources"
    return machine.run("bash", "-eux", "-o", "pipefail", "-c", f"cd {sources}\n{step.script}")


@pytest.fixture(
    scope="module", params=["mariadb", pytest.param("postgres", marks=pytest.mark.long)]
)
def server(request: pytest.FixtureRequest) -> Server:
    """Return a running server of databases."""
    running = request.getfixturevalue(request.param)
    assert isinstance(running, Server)
    return running


async def test_the_page_is_followed(
    tmp_path: Path, bare_keystone: Keystone, server: Server
) -> None:
    followed = [step for step in steps(PAGE) if step.section != OTHER[server.kind]]
    told = {}
    try:
        async with controller(tmp_path, bare_keystone, server) as machine:
            for step in followed:
                told[step.section] = await asyncio.to_thread(follow, machine, step)
            for unit in (REGISTRY, PROXY):
                assert machine.show(unit, "ActiveState") == "active"
            assert re.search(r"\| empty +\| active", told["Does it work?"])
            assert re.search(r'"id": ?"v2\.', told["Does it work?"])
            assert re.search("^disk +normal", told["The proxy in front"], re.MULTILINE)
            log = machine.log.read_text()
            assert re.search(r"registry\.service\.images \[req-\S+\] deleted image", log)
            assert not re.search("Traceback|PASS", log)
            mode = (tmp_path / "etc/cacheproxy/registry.conf").stat().st_mode & 0o777
            assert mode == 0o640
    finally:
        server.drop("IF EXISTS cacheproxy")
        kind = "ROLE" if server.kind == "postgresql" else "USER"
        server.run(f"DROP {kind} IF EXISTS cacheproxy")


def test_the_page_has_a_step_for_each_section() -> None:
    sections = [step.section for step in steps(PAGE)]
    assert set(sections) == {
        *("Before", "MariaDB", "PostgreSQL", "Keystone", "The configuration"),
        *("Tables, and start", "Does it work?", "The proxy in front"),
    }


def test_all_its_commands_can_be_typed() -> None:
    lines = re.findall(r"cacheproxy-registry (--config-file \S+ .+)", PAGE.read_text())
    typed = [parser().parse_args(shlex.split(line)) for line in lines]
    assert {options.command for options in typed} == {"db", "import-glance"}


def test_files_that_it_names_are_there() -> None:
    text = PAGE.read_text()
    for name in re.findall(r"(?<![\w/])systemd/[\w.-]+", text):
        assert (REPOSITORY / name).is_file(), name
    for name in re.findall(r"\]\(([\w.-]+)\)", text):
        assert (REPOSITORY / "docs" / name).is_file(), name
