"""Every command of OpenStack's clients: what it prints and leaves behind, at Glance and at ours."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from uuid import uuid4

import pytest

from conformance import metadef_commands
from conformance.glance_commands import COMMANDS as GLANCE_COMMANDS
from conformance.openstack_commands import COMMANDS as OPENSTACK_COMMANDS
from differential.sides import comparable
from harness.glance import FileServer, Glance
from harness.http import ask
from harness.images import random_bytes
from harness.images_api import ImagesApi
from harness.keystone import ADMIN, MEMBER, PARTNER, STRANGER, Keystone
from harness.shell import Shell, running_shell
from harness.widest import running_widest

USERS = {"admin": ADMIN, "member": MEMBER, "stranger": STRANGER}
ABSENT = "00000000-0000-4000-8000-000000000001"
DATA = random_bytes(3000, seed=48)


@dataclass(frozen=True, slots=True)
class Side:
    """Glance or our catalog, and a shell in front of it."""

    url: str
    keystone: Keystone
    shell: Shell

    def run(self, program: str, line: str, names: Mapping[str, str]) -> object:
        """Run a line of a table, and return what must be the same on all sides."""
        found = re.fullmatch(r"(~ )?(?:(\w+): )?(.+)", line)
        assert found
        user = USERS[found[2] or "member"]
        environment = {"OS_AUTH_TOKEN": self.keystone.token(user), "OS_IMAGE_URL": self.url}
        if program == "openstack":
            environment = {
                **self.keystone.environment(user),
                "OS_IMAGE_ENDPOINT_OVERRIDE": self.url,
            }
        arguments = [part.format(**names) for part in shlex.split(found[3])]
        printed = self.shell.run(program, *arguments, environment=environment)
        return printed.code if found[1] else printed.comparable()

    def state(self, names: Mapping[str, str]) -> object:
        """Return what there is of the images, when nothing goes on with them."""
        headers = {"X-Auth-Token": self.keystone.token(ADMIN)}
        found = []
        for name in ("image", "other"):
            if ask("GET", f"{self.url}/v2/images/{names[name]}", headers=headers).status == 200:
                ImagesApi(self.url, headers).settle(names[name])
            for path in ("", "/file", "/members"):
                answer = ask("GET", f"{self.url}/v2/images/{names[name]}{path}", headers=headers)
                found.append(comparable(answer))
        return found


@pytest.fixture(scope="module")
def sides(
    keystone: Keystone, glance_widest: Glance, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Side, Side]]:
    with ExitStack() as stack:
        directory = tmp_path_factory.mktemp("widest")
        node = stack.enter_context(running_widest(directory, keystone))
        made = []
        for url in (glance_widest.url, node.url):
            shell = stack.enter_context(running_shell(tmp_path_factory.mktemp("home")))
            made.append(Side(url, keystone, shell))
        yield made[0], made[1]


@pytest.fixture
def names(keystone: Keystone, files: FileServer, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "data").write_bytes(DATA)
    return {
        **{user.name: keystone.project_id(user) for user in (MEMBER, STRANGER, PARTNER)},
        "image": str(uuid4()),
        "other": str(uuid4()),
        "absent": ABSENT,
        "web": files.url,
        "data": str(tmp_path / "data"),
        "to": str(tmp_path / "to"),
    }


@pytest.mark.parametrize("command", GLANCE_COMMANDS)
def test_glance(sides: tuple[Side, Side], names: dict[str, str], command: str) -> None:
    compare(sides, names, "glance", GLANCE_COMMANDS[command])


@pytest.mark.parametrize("command", OPENSTACK_COMMANDS)
def test_openstack(sides: tuple[Side, Side], names: dict[str, str], command: str) -> None:
    compare(sides, names, "openstack", OPENSTACK_COMMANDS[command])


@pytest.mark.long  # a second for each command, and tempest asks the same in every run
@pytest.mark.parametrize("story", metadef_commands.GLANCE)
def test_definitions_by_glance(
    sides: tuple[Side, Side], names: dict[str, str], story: str, tmp_path: Path
) -> None:
    file = tmp_path / "definitions.json"
    association = {"name": "OS::Nova::Flavor", "prefix": "hw:"}
    document = {
        "namespace": names["image"],
        "visibility": "public",
        "resource_type_associations": [association],
        "properties": {"p": {"title": "P", "type": "string", "default": 5}},
        "tags": [{"name": "t"}],
    }
    file.write_text(json.dumps(document))
    compare(sides, {**names, "definitions": str(file)}, "glance", metadef_commands.GLANCE[story])


@pytest.mark.long
@pytest.mark.parametrize("story", metadef_commands.OPENSTACK)
def test_definitions_by_openstack(
    sides: tuple[Side, Side], names: dict[str, str], story: str
) -> None:
    compare(sides, names, "openstack", metadef_commands.OPENSTACK[story])


def compare(sides: tuple[Side, Side], names: dict[str, str], program: str, lines: str) -> None:
    for line in lines.strip().splitlines():
        theirs, ours = (side.run(program, line.strip(), names) for side in sides)
        assert ours == theirs, line
        theirs, ours = (side.state(names) for side in sides)
        assert ours == theirs, line


def test_no_command_of_glance_is_missing(sides: tuple[Side, Side]) -> None:
    helped = sides[1].shell.run("glance", "help", environment={})
    commands = re.findall(r"^    ([a-z-]+)(?: |$)", helped.out, re.MULTILINE)
    about_images = {name for name in commands if not name.startswith("md-")}
    assert about_images - {"bash-completion", "help"} == set(GLANCE_COMMANDS)
    told = set(re.findall(r"\bmd-[a-z-]+", " ".join(metadef_commands.GLANCE.values())))
    assert set(commands) - about_images == told


def test_no_command_of_openstack_is_missing() -> None:
    commands = {point.name.replace("_", " ") for point in entry_points(group="openstack.image.v2")}
    about_images = {name for name in commands if "metadef" not in name}
    assert about_images == set(OPENSTACK_COMMANDS)
    told = " ".join(metadef_commands.OPENSTACK.values())
    assert all(f"{name} " in told for name in commands - about_images)
