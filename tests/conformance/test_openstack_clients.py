"""OpenStack's own clients: python-glanceclient, openstacksdk, and the commands of both.

Commands start as they are installed in front of a proxy; in front of an upstream itself they are
forked from one process, as their libraries take seconds to load.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import glanceclient  # type: ignore[import-untyped]  # it has no types
import openstack
import pytest

from harness.clients import Endpoint, client
from harness.images import MIB, Disk, random_bytes
from harness.shell import Shell, running_shell

SIZE = 2 * MIB + 321
OF_ITSELF = "ignore::PendingDeprecationWarning"  # openstacksdk warns itself


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    with running_shell(tmp_path_factory.mktemp("home")) as running:
        yield running


@dataclass(frozen=True, slots=True)
class Commands:
    """Runs commands as whoever the endpoint knows."""

    endpoint: Endpoint
    shell: Shell

    def glance(self, *arguments: str | Path) -> str:
        """Run the `glance` command."""
        token = self.endpoint.headers.get("X-Auth-Token", "nobody asks for one")
        identity = {"OS_AUTH_TOKEN": token, "OS_IMAGE_URL": self.endpoint.url}
        return self._run("glance", *arguments, environment=identity)

    def openstack(self, *arguments: str | Path) -> str:
        """Run the `openstack image` command."""
        environment = self.endpoint.environment
        return self._run("openstack", "image", *arguments, environment=environment)

    def _run(self, program: str, *arguments: str | Path, environment: dict[str, str]) -> str:
        if self.endpoint.node is not None:
            return client(program, *arguments, environment=environment)
        printed = self.shell.run(program, *map(str, arguments), environment=environment)
        assert printed.code == 0, printed
        return printed.out.strip()


@pytest.fixture
def commands(endpoint: Endpoint, shell: Shell) -> Commands:
    return Commands(endpoint, shell)


def field(table: str, name: str) -> str:
    """Return a field of the table that the `glance` command prints."""
    rows = (line.strip("| ").split("|") for line in table.splitlines())
    return next(row[1].strip() for row in rows if row[0].strip() == name)


def test_glance_command(endpoint: Endpoint, commands: Commands, disk: Disk, tmp_path: Path) -> None:
    described = ("--name", "a disk", "--disk-format", "qcow2", "--container-format", "bare")
    shown = commands.glance("image-create", *described, "--file", disk.qcow2)
    image = field(shown, "id")
    data = disk.qcow2.read_bytes()
    assert field(shown, "status") == "active"
    assert endpoint.source.show(image)["os_hash_value"] == hashlib.sha512(data).hexdigest()
    for name, fetched in (("cold", len(data)), ("warm", 0)):
        with endpoint.fetching(fetched):
            commands.glance("image-download", image, "--file", tmp_path / name)
        assert (tmp_path / name).read_bytes() == data
    assert image in commands.glance("image-list")
    commands.glance("image-delete", image)
    assert endpoint.source.call("GET", f"/{image}").status == 404


@pytest.fixture
def library(endpoint: Endpoint) -> Iterator[Any]:
    """Give python-glanceclient's library, as Nova uses it."""
    token = endpoint.headers.get("X-Auth-Token", "nobody asks for one")
    made = glanceclient.Client(endpoint=f"{endpoint.url}/v2", token=token)
    yield made
    made.http_client.session.close()


def test_glanceclient_verifies_what_it_reads(endpoint: Endpoint, library: Any) -> None:
    data = random_bytes(SIZE, seed=11)
    image = library.images.create(name="x", disk_format="raw", container_format="bare").id
    library.images.upload(image, io.BytesIO(data))
    assert endpoint.source.download(image).body == data
    for fetched in (SIZE, 0):
        with endpoint.fetching(fetched):
            assert b"".join(library.images.data(image)) == data
    assert library.images.get(image).os_hash_value == hashlib.sha512(data).hexdigest()
    library.images.update(image, name="y", description="z")
    assert endpoint.source.show(image)["description"] == "z"
    assert library.images.data(library.images.create(name="empty").id).wrapped is None


@pytest.fixture
def sdk(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Give an openstacksdk connection, made from the environment."""
    for name, value in endpoint.environment.items():
        monkeypatch.setenv(name, value)
    with openstack.connect(load_yaml_config=False) as connection:
        yield connection


@pytest.mark.filterwarnings(OF_ITSELF)
def test_sdk(endpoint: Endpoint, sdk: Any, tmp_path: Path) -> None:
    data = random_bytes(SIZE, seed=12)
    described = {"disk_format": "raw", "container_format": "bare"}
    image = sdk.image.create_image("from-sdk", data=io.BytesIO(data), **described)
    assert endpoint.source.show(image.id)["status"] == "active"
    for name, fetched in (("cold", SIZE), ("warm", 0)):
        with endpoint.fetching(fetched), (tmp_path / name).open("wb") as out:
            sdk.image.download_image(image.id, stream=True, output=out)
        assert (tmp_path / name).read_bytes() == data
    assert image.id in [each.id for each in sdk.image.images(name="from-sdk")]
    sdk.image.delete_image(image.id)
    assert endpoint.source.call("GET", f"/{image.id}").status == 404


def test_openstack_command(
    endpoint: Endpoint, commands: Commands, disk: Disk, tmp_path: Path
) -> None:
    run = commands.openstack
    described = ("--disk-format", "qcow2", "--file", disk.qcow2)
    image = run("create", *described, "-f", "value", "-c", "id", "from-command")
    for name, fetched in (("cold", disk.qcow2.stat().st_size), ("warm", 0)):
        with endpoint.fetching(fetched):
            run("save", "--file", tmp_path / name, image)
        assert (tmp_path / name).read_bytes() == disk.qcow2.read_bytes()
    assert image in run("list", "-f", "value", "-c", "ID")
    run("set", "--property", "os_distro=none", "--tag", "blue", image)
    assert endpoint.source.show(image)["tags"] == ["blue"]
    run("delete", image)
    assert endpoint.source.call("GET", f"/{image}").status == 404
