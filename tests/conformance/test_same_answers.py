"""The proxy answers as Glance does, to the letter, but for the differences of docs/differences.md."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from harness.differences import DIFFERENCES, PAGE, Difference, explained, page
from harness.glance import FileServer, Glance
from harness.http import ask
from harness.images import random_bytes
from harness.images_api import ImagesApi
from harness.keystone import ADMIN, GLANCE, MEMBER, READER, STRANGER, Keystone
from harness.node import running_node
from harness.oddities import SIZE, conversation
from harness.recorder import Asked, load
from harness.relay import Reply
from harness.side_by_side import World, compare
from harness.waiting import until

CLIENTS = (
    "nova",
    "cinder",
    *(
        pytest.param(name, marks=pytest.mark.long)
        for name in ("glanceclient", "openstacksdk", "openstack")
    ),
)
MADE = re.compile(r"<new-\d+>")
BUSY = ("pending", "processing")  # states of a task


@pytest.fixture
def worlds(
    keystone: Keystone, glance_wide: Glance, file_server: FileServer, tmp_path: Path
) -> Iterator[tuple[World, World]]:
    """Give Glance itself, and a proxy with nothing in it."""
    (file_server.directory / "located").write_bytes(random_bytes(SIZE, seed=SIZE))
    values = {"<files>": file_server.url, "<service>": keystone.token(GLANCE)}
    for user in (ADMIN, GLANCE, MEMBER, READER, STRANGER):
        values[f"<{user.name}>"] = keystone.token(user)
        values[f"<project-of-{user.name}>"] = keystone.project_id(user)
    with running_node(tmp_path, glance_wide.url) as node:
        yield World(glance_wide.url, 1, dict(values)), World(node.url, 2, dict(values))
    (file_server.directory / "located").unlink()


async def hold(
    asked: Iterable[Asked], worlds: tuple[World, World], glance: Glance, *, as_before: bool
) -> list[Difference]:
    """Hold a conversation in both worlds; fail for all that is not intended, give what is."""
    source = ImagesApi(glance.url, glance.headers)

    def settle(asked: Asked, reply: Reply, world: World) -> None:
        if reply.status == 202 and (made := MADE.search(asked.target)):
            source.settle(world.values[made[0]])
        if reply.status == 201 and asked.target == "/v2/tasks":
            end_task(glance, world)

    seen: list[Difference] = []
    unexplained: list[str] = []
    for each in asked:
        reply, contrasts = await compare(each, *worlds, settle)
        if as_before and reply.status != each.status:
            unexplained.append(f"{each.method} {each.target}: {each.status} became {reply.status}")
        for contrast in contrasts:
            if (row := explained(contrast)) is None:
                unexplained.append(str(contrast))
            else:
                seen.append(row)
    assert not unexplained, "\n".join(unexplained)
    return seen


def end_task(glance: Glance, world: World) -> None:
    """Wait until the task that was made last has ended, well or not."""
    url = f"{glance.url}/v2/tasks/{world.values[f'<new-{world.made}>']}"
    headers = {"X-Auth-Token": world.values["<admin>"]}
    until(f"{url} to end", lambda: ask("GET", url, headers=headers).json()["status"] not in BUSY)


@pytest.mark.parametrize("client", CLIENTS)
async def test_what_real_clients_ask(
    client: str, worlds: tuple[World, World], glance_wide: Glance
) -> None:
    seen = await hold(load(client), worlds, glance_wide, as_before=True)
    assert seen


async def test_what_hardly_anybody_asks(worlds: tuple[World, World], glance_wide: Glance) -> None:
    seen = await hold(conversation(), worlds, glance_wide, as_before=False)
    assert {row.what for row in DIFFERENCES} == {row.what for row in seen}


def test_the_page_is_the_list() -> None:
    assert PAGE.read_text() == page(), "run: PYTHONPATH=tests python -m harness.differences"
