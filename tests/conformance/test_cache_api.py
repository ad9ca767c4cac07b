"""Glance's interface to its cache, answered by the node: the `glance` command, and Glance beside it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.clients import client
from harness.commands import Commands
from harness.glance import Glance
from harness.http import Answer, ask
from harness.images import MIB, random_bytes
from harness.images_api import ImagesApi
from harness.keystone import ADMIN, MEMBER, READER, Keystone
from harness.node import Node, running_node
from harness.waiting import until

NO_IMAGE = "00000000-0000-4000-8000-000000000001"
SIZE = 2 * MIB + 17


@dataclass(frozen=True, slots=True)
class Managed:
    """A node whose cache is managed, or a Glance that has one."""

    url: str
    keystone: Keystone
    images: ImagesApi

    def ask(self, method: str, path: str, user: Any = ADMIN, **headers: str) -> Answer:
        """Call the interface as this user; None: without a token."""
        if user is not None:
            headers["X-Auth-Token"] = self.keystone.token(user)
        return ask(method, f"{self.url}/v2/cache{path}", headers=headers)

    def state(self) -> tuple[list[str], list[str]]:
        """Return what is cached and what is queued."""
        document = self.ask("GET", "").expect(200).json()
        return [each["image_id"] for each in document["cached_images"]], document["queued_images"]

    def wait_for(self, cached: list[str]) -> None:
        """Wait until just these are cached, and nothing is queued."""
        until("what is queued", lambda: self.state() == (sorted(cached), []))

    def uploaded(self, seed: int) -> str:
        """Make an image with data."""
        return self.images.add(random_bytes(SIZE, seed=seed))

    def glance(self, *arguments: str, user: Any = ADMIN) -> str:
        """Run the `glance` command on this very address."""
        identity = {"OS_AUTH_TOKEN": self.keystone.token(user), "OS_IMAGE_URL": self.url}
        return client("glance", *arguments, environment=identity)


LOCAL = "\n[DEFAULT]\ncache_api = local\n"


@pytest.fixture(scope="module")
def node(
    keystone: Keystone, glance: Glance, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Node]:
    more = f"{LOCAL}hang_seconds = 60\n[keystone]\nauth_url = {keystone.url}\n[cache]\nkeeper_wait_seconds = 2\n"
    with running_node(tmp_path_factory.mktemp("cache-api"), glance.url, more=more) as running:
        yield running


@pytest.fixture(scope="module")
def managed(keystone: Keystone, glance: Glance, node: Node) -> Managed:
    return Managed(node.url, keystone, ImagesApi(glance.url, glance.headers))


@pytest.fixture(scope="module")
def own(keystone: Keystone, glance_caching: Glance) -> Managed:
    """Give Glance's own cache."""
    return Managed(
        glance_caching.url, keystone, ImagesApi(glance_caching.url, glance_caching.headers)
    )


def test_the_glance_command_manages_the_node(managed: Managed, node: Node) -> None:
    first, second = managed.uploaded(1), managed.uploaded(2)
    managed.glance("cache-queue", first, second)
    managed.wait_for([first, second])
    fetched = node.metrics()["cacheproxy_upstream_bytes_total"]
    assert fetched == 2 * SIZE
    reader = ImagesApi(node.url, {"X-Auth-Token": managed.keystone.token(MEMBER)})
    assert reader.download(first).body == random_bytes(SIZE, seed=1)
    assert node.metrics()["cacheproxy_upstream_bytes_total"] == fetched
    until("the hit to be counted", lambda: _hits(managed, first) == 1)
    listed = managed.glance("cache-list")
    assert re.search(rf"{first} +\| cached .*\| +{SIZE} +\| +1 ", listed), listed
    assert re.search(rf"{second} +\| cached +\| +N/A .*\| +{SIZE} +\| +0 ", listed), listed
    managed.glance("cache-delete", first)
    assert managed.state() == ([second], [])
    managed.glance("cache-clear")
    assert managed.state() == ([], [])
    assert managed.glance("cache-clean") == ""
    assert managed.glance("cache-prune") == "Pruned 0 file(s), 0 byte(s)."


def _hits(managed: Managed, image_id: str) -> int:
    document = managed.ask("GET", "").expect(200).json()
    hits = {each["image_id"]: each["hits"] for each in document["cached_images"]}
    return int(hits[image_id])


@pytest.mark.parametrize("user", [MEMBER, READER])
def test_who_is_no_administrator_is_refused(managed: Managed, user: Any) -> None:
    image = managed.uploaded(3)
    for method, path in CALLS:
        answer = managed.ask(method, path.format(image=image), user)
        assert answer.status == 403, (method, path)
    assert managed.state() == ([], [])


@pytest.mark.parametrize("valid", [True, False])
def test_the_glance_command_of_who_is_no_administrator(managed: Managed, valid: bool) -> None:
    token = managed.keystone.token(MEMBER) if valid else "gAAAAAnonsense"
    for command in ("cache-list", "cache-queue i", "cache-delete i", "cache-clear", "cache-clean"):
        done = subprocess.run(
            [Path(sys.prefix) / "bin/glance", *command.split()],
            env={"PATH": os.environ["PATH"], "OS_AUTH_TOKEN": token, "OS_IMAGE_URL": managed.url},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        told = ("HTTP 403", "You are not permitted") if valid else ("HTTP 401", "Invalid OpenStack")
        assert any(each in done.stderr for each in told), (command, done)


CALLS = [
    ("GET", ""),
    ("DELETE", ""),
    ("PUT", "/{image}"),
    ("DELETE", "/{image}"),
    ("GET", "/nodes/{image}"),
    ("POST", "/clean"),
    ("POST", "/prune"),
]


@pytest.mark.parametrize("token", [None, "gAAAAAnonsense"])
def test_without_a_valid_token(managed: Managed, own: Managed, token: str | None) -> None:
    headers = {} if token is None else {"X-Auth-Token": token}
    for method, path in CALLS:
        ours, theirs = (
            ask(method, f"{each.url}/v2/cache{path.format(image=NO_IMAGE)}", headers=headers)
            for each in (managed, own)
        )
        assert ours.status == theirs.status == 401, (method, path)
        assert ours.headers["www-authenticate"] == theirs.headers["www-authenticate"]


def test_the_same_answers_as_glance(managed: Managed, own: Managed) -> None:
    assert _told(managed) == _told(own)


def _told(managed: Managed) -> list[tuple[str, int, str, Any]]:
    """Return the answers to all calls: status, kind of document, and the document."""
    image, empty = managed.uploaded(5), managed.images.create()
    told: list[tuple[str, int, str, Any]] = []

    def call(method: str, path: str, target: str | None = None) -> None:
        headers = {} if target is None else {"x-image-cache-clear-target": target}
        answer = managed.ask(method, path, **headers)
        assert "x-openstack-request-id" in answer.headers
        kind = answer.headers.get("content-type", "").partition(";")[0]
        document = answer.json() if kind == "application/json" else None
        named = f"{method} {path}".replace(image, "image").replace(empty, "empty")
        told.append((named, answer.status, kind, document))

    call("DELETE", "")
    call("GET", "")
    call("DELETE", f"/{image}")
    call("PUT", f"/{image}")
    managed.wait_for([image])
    call("PUT", f"/{empty}")
    call("PUT", f"/{NO_IMAGE}")
    call("DELETE", f"/{NO_IMAGE}")
    call("DELETE", "", "neither")
    call("DELETE", "", "queue")
    managed.wait_for([image])
    call("POST", "/prune")
    call("POST", "/clean")
    call("POST", "")
    call("GET", f"/{image}")
    call("GET", "/clean")
    call("DELETE", f"/{image}")
    managed.wait_for([])
    call("PUT", f"/{image}")
    managed.wait_for([image])
    call("DELETE", "", "cache")
    call("GET", "")
    return told


def test_what_is_listed(managed: Managed, own: Managed) -> None:
    for each in (managed, own):
        image = each.uploaded(6)
        each.ask("PUT", f"/{image}").expect(202)
        each.wait_for([image])
        (told,) = each.ask("GET", "").expect(200).json()["cached_images"]
        assert told.keys() >= {"image_id", "hits", "last_accessed", "last_modified", "size"}
        assert (told["size"], told["hits"]) == (SIZE, 0)
        assert abs(told["last_modified"] - time.time()) < 3600
        each.ask("DELETE", "").expect(204)


def test_a_deactivated_image_is_not_queued(managed: Managed, own: Managed) -> None:
    for each in (managed, own):
        image = each.uploaded(7)
        each.images.call("POST", f"/{image}/actions/deactivate").expect(204)
        assert each.ask("PUT", f"/{image}").status == 400
        each.images.call("POST", f"/{image}/actions/reactivate").expect(204)


def test_a_node_knows_of_no_others(managed: Managed) -> None:
    assert managed.ask("GET", f"/nodes/{managed.uploaded(8)}").status == 409
    assert managed.ask("GET", f"/nodes/{NO_IMAGE}").status == 404


def test_a_pinned_image_stays(managed: Managed, node: Node) -> None:
    image = managed.uploaded(9)
    managed.ask("PUT", f"/{image}").expect(202)
    managed.wait_for([image])
    commands = Commands(node.cache.parent / "cacheproxy.conf")
    asyncio.run(commands.run("pin", image))
    assert managed.ask("DELETE", f"/{image}").status == 409
    managed.ask("DELETE", "").expect(204)
    assert managed.state() == ([image], [])
    asyncio.run(commands.run("unpin", image))
    managed.ask("DELETE", f"/{image}").expect(204)
    assert managed.state() == ([], [])


def test_while_the_cache_s_process_hangs(managed: Managed, node: Node) -> None:
    image = managed.uploaded(12)
    commands = Commands(node.cache.parent / "cacheproxy.conf")
    status = json.loads(asyncio.run(commands.run("status", "--json")))
    keeper = psutil.Process(status["processes"]["keeper_pid"])
    keeper.suspend()
    try:
        for method, path in (("GET", ""), ("PUT", f"/{image}"), ("DELETE", "")):
            answer = managed.ask(method, path).expect(503)
            assert answer.headers["retry-after"]
        assert managed.ask("GET", "", MEMBER).status == 403
    finally:
        keeper.resume()
    until("the cache to be back", lambda: managed.ask("GET", "").status == 200)
    managed.ask("DELETE", "").expect(204)


def test_what_the_upstream_says_of_its_own_cache_counts(
    keystone: Keystone, glance_caching: Glance, tmp_path: Path
) -> None:
    images = ImagesApi(glance_caching.url, glance_caching.headers)
    with running_node(tmp_path, glance_caching.url, more=LOCAL) as running:
        managed = Managed(running.url, keystone, images)
        image = managed.uploaded(10)
        assert managed.ask("GET", "", MEMBER).status == 403
        assert managed.ask("GET", "", None).status == 401
        managed.ask("PUT", f"/{image}").expect(202)
        managed.wait_for([image])


def test_an_upstream_without_a_cache_lets_nobody_in(
    keystone: Keystone, glance: Glance, tmp_path: Path
) -> None:
    images = ImagesApi(glance.url, glance.headers)
    with running_node(tmp_path, glance.url, more=LOCAL) as running:
        managed = Managed(running.url, keystone, images)
        assert managed.ask("GET", "").status == 404
        assert managed.ask("DELETE", "").status == 404
        assert managed.ask("GET", "", MEMBER).status == 403


BUS = """
[notifications]
transport_url = fake:///
driver = log
publisher_id = image.node1
"""


def test_who_read_what_is_told(keystone: Keystone, glance: Glance, tmp_path: Path) -> None:
    more = f"{BUS}[keystone]\nauth_url = {keystone.url}\n"
    images = ImagesApi(glance.url, glance.headers)
    image = images.add(random_bytes(SIZE, seed=11))
    token = keystone.token(MEMBER)
    with running_node(tmp_path, glance.url, more=more) as node:
        reader = ImagesApi(node.url, {"X-Auth-Token": token})
        assert reader.download(image).status == 200
        until("the notification", lambda: _lines(node, "image.send"))
        until("the line", lambda: _lines(node, f'"GET /v2/images/{image}/file"'))
        (line,) = _lines(node, f'"GET /v2/images/{image}/file"')
        (notified,) = _lines(node, "image.send")
        assert token not in node.program.log.read_text()
    headers = {"X-Auth-Token": token, "X-Subject-Token": token}
    who = ask("GET", f"{keystone.url}/auth/tokens", headers=headers).expect(200).json()["token"]
    project, user = who["project"]["id"], who["user"]["id"]
    assert line.endswith(f" - {project} {user}"), line
    for told in (image, project, user, "image.node1", f'"bytes_sent": {SIZE}'):
        assert told in notified, notified


def _lines(node: Node, text: str) -> list[str]:
    return [line for line in node.program.log.read_text().splitlines() if text in line]
