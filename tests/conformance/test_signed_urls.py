"""qemu reads images of the real Glance, with the real Keystone, by signed URLs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from harness import keystone as identity
from harness.clients import client
from harness.glance import WITH_KEYSTONE, _glance
from harness.http import Answer, ask
from harness.images import Disk, random_bytes, run
from harness.images_api import ImagesApi
from harness.keystone import ADMIN, GLANCE, MEMBER, STRANGER, Keystone, User
from harness.node import Node, running_node
from harness.program import REPOSITORY
from harness.story import figure
from harness.waiting import until

ONE_READ = ("-m", "1")  # see test_qemu.py
TIMEOUT_SECONDS = 300
DATA = random_bytes(1_500_000, seed=21)
SIGNED_URLS = "[signed_urls]\nenabled = true\n[upstream]\npermission_seconds = 0\n"
SERVICE_USER = f"""
[service_user]
auth_url = {{keystone}}
username = {GLANCE.name}
password = {GLANCE.password}
project_name = {GLANCE.project}
"""


@dataclass(frozen=True, slots=True)
class Cloud:
    """A Glance that asks Keystone about each token, each time."""

    keystone: Keystone
    url: str

    def token(self, user: User) -> str:
        """Return a token that nobody else uses."""
        return identity._token.__wrapped__(self.keystone.url, user)

    def revoke(self, token: str) -> None:
        """End a token."""
        headers = {"X-Auth-Token": token, "X-Subject-Token": token}
        ask("DELETE", f"{self.keystone.url}/auth/tokens", headers=headers).expect(204)

    def project(self, user: User) -> str:
        """Return the id of a user's project."""
        token = self.keystone.token(user)
        headers = {"X-Auth-Token": token, "X-Subject-Token": token}
        answer = ask("GET", f"{self.keystone.url}/auth/tokens", headers=headers).expect(200)
        return str(answer.json()["token"]["project"]["id"])

    def images(self, user: User) -> ImagesApi:
        """Return the Images API as a user has it, without the proxy."""
        return ImagesApi(self.url, {"X-Auth-Token": self.keystone.token(user)})


@pytest.fixture(scope="module")
def cloud(keystone: Keystone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    directory = tmp_path_factory.mktemp("glance-without-memory")
    more = WITH_KEYSTONE + "token_cache_time = -1\n"
    with _glance(directory, more, keystone=keystone.url) as url:
        yield Cloud(keystone, url)


@dataclass(frozen=True, slots=True)
class At:
    """A node that gives signed URLs."""

    cloud: Cloud
    node: Node

    def sign(self, image: str, token: str, **body: Any) -> Answer:
        """Ask for a URL, or the renewal of one."""
        url = f"{self.node.url}/cacheproxy/v1/images/{image}/url"
        return ask("POST", url, headers={"X-Auth-Token": token}, document=body or None)

    def url(self, image: str, token: str, **body: Any) -> str:
        """Ask for one, and get it."""
        return str(self.sign(image, token, **body).expect(200, 201).json()["url"])


@contextmanager
def signing(
    directory: Path, cloud: Cloud, *, service_user: bool = True, **more: Any
) -> Iterator[At]:
    """Run a node; its log must hold no token and no signature."""
    settings = SIGNED_URLS
    if service_user:
        settings += SERVICE_USER.format(keystone=cloud.keystone.url)
    with running_node(directory, cloud.url, more=settings, **more) as node:
        yield At(cloud, node)
    log = node.program.log.read_text()
    assert "gAAAA" not in log  # as all of Keystone's tokens begin
    assert "grant=" not in log
    assert "Traceback" not in log


@pytest.fixture(scope="module")
def here(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[At]:
    """Run a node with an account of its own, for all tests that need no other."""
    with signing(tmp_path_factory.mktemp("node"), cloud, workers=2) as node:
        yield node


def at(url: str, driver: str) -> str:
    """Return the name by which qemu opens a URL."""
    file = {"driver": "http", "url": url, "timeout": TIMEOUT_SECONDS}
    return "json:" + json.dumps({"driver": driver, "file": file})


def qemu_fails(url: str) -> str:
    """Have qemu-img fail to open a URL; what it complains of."""
    command = ["qemu-img", "info", at(url, "raw")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    return done.stderr


@pytest.mark.parametrize("driver", ["qcow2", pytest.param("raw", marks=pytest.mark.long)])
def test_qemu_reads_all_of_it(
    cloud: Cloud, here: At, disk: Disk, driver: str, tmp_path: Path
) -> None:
    path: Path = getattr(disk, driver)
    image = cloud.images(MEMBER).add(path, disk_format=driver)
    url = here.url(image, cloud.token(MEMBER))
    before = here.node.metrics()
    for name in ("cold", "warm"):
        told = json.loads(client("qemu-img", "info", "--output=json", at(url, driver)))
        assert told["format"] == driver
        assert told["virtual-size"] == disk.raw.stat().st_size
        client("qemu-img", "convert", *ONE_READ, "-O", "raw", at(url, driver), tmp_path / name)
        assert (tmp_path / name).read_bytes() == disk.raw.read_bytes()
        client("qemu-img", "compare", at(url, driver), str(path))
    after = here.node.metrics()
    fetched = "upstream_bytes_total"
    assert figure(after, fetched) - figure(before, fetched) == path.stat().st_size
    accepted = [
        figure(each, "signed_requests_total", result="accepted") for each in (before, after)
    ]
    assert accepted[1] > accepted[0] + 6


def test_the_lines_that_are_printed(cloud: Cloud, here: At, disk: Disk, tmp_path: Path) -> None:
    """Run as they stand, in a shell."""
    image = cloud.images(MEMBER).add(disk.qcow2, disk_format="qcow2")
    command = [sys.executable, "-m", "cacheproxy", "url", "--config-file"]
    command += [str(here.node.cache.with_name("cacheproxy.conf"))]
    token = cloud.token(MEMBER)
    environment = {"OS_TOKEN": token, "PYTHONPATH": str(REPOSITORY)}
    printed = client(*command, image, environment=environment)
    url = printed.split()[0]
    lines = [line.strip() for line in printed.splitlines() if line.startswith("  qemu-img")]
    assert len(lines) == 3
    for line in lines:
        run("sh", "-ec", f"cd {tmp_path}; {line}")
    assert (tmp_path / "disk.raw").read_bytes() == disk.raw.read_bytes()
    run("qemu-img", "compare", str(tmp_path / "disk.qcow2"), str(disk.raw))
    more = ("--renew", url, "--lifetime", "7200")
    assert client(*command, image, *more, environment=environment).split()[0] == url
    for wrong, said in (([image, "--lifetime", "99999999"], "86400"), (["other"], "404")):
        done = subprocess.run(
            [*command, *wrong],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1
        assert said in done.stderr
        assert token not in done.stderr
    assert figure(here.node.metrics(), "signed_urls_total", result="renewed") >= 1


def test_qemu_is_refused(cloud: Cloud, here: At) -> None:
    images = cloud.images(MEMBER)
    image, other = images.add(DATA), images.add(DATA)
    url = here.url(image, cloud.token(MEMBER))
    brief = here.url(image, cloud.token(MEMBER), lifetime=1)
    client("qemu-img", "info", at(url, "raw"))
    assert "403" in qemu_fails(url.replace(image, other))
    assert "403" in qemu_fails(url[:-10] + ("B" if url[-10] == "A" else "A") + url[-9:])
    until("the URL to expire", lambda: ask("HEAD", brief).status == 403)
    assert "403" in qemu_fails(brief)
    for user, status in ((STRANGER, 404), (identity.READER, 403)):
        here.sign(image, cloud.token(user)).expect(status)
    here.sign(image, "no token").expect(401)


def test_its_token_is_revoked(cloud: Cloud, here: At) -> None:
    """The proxy's own account asks for the project from then on."""
    image = cloud.images(MEMBER).add(DATA)
    token = cloud.token(MEMBER)
    told = here.sign(image, token).expect(201).json()
    assert not told["ends_with_token"]
    url = told["url"]
    assert ask("GET", url).expect(200).body == DATA
    cloud.revoke(token)
    here.sign(image, token).expect(401)
    for _ in range(4):
        assert ask("GET", url).expect(200).body == DATA
    assert here.url(image, cloud.token(MEMBER), url=url) == url
    assert ask("GET", url).expect(200).body == DATA
    # Another project may have the image as well, but not this URL.
    cloud.images(ADMIN).call(
        "PATCH",
        f"/{image}",
        headers={"Content-Type": "application/openstack-images-v2.1-json-patch"},
        document=[{"op": "replace", "path": "/visibility", "value": "public"}],
    ).expect(200)
    refused = here.sign(image, cloud.token(STRANGER), url=url).expect(403)
    assert b"another project" in refused.body


def test_its_token_is_revoked_and_nobody_else_can_ask(cloud: Cloud, tmp_path: Path) -> None:
    image = cloud.images(MEMBER).add(DATA)
    with signing(tmp_path, cloud, service_user=False, workers=2) as here:
        token = cloud.token(MEMBER)
        told = here.sign(image, token).expect(201).json()
        assert told["ends_with_token"]
        url = told["url"]
        assert ask("GET", url).expect(200).body == DATA
        cloud.revoke(token)
        assert b"token" in ask("GET", url).expect(403).body
        assert here.url(image, cloud.token(MEMBER), url=url) == url
        for _ in range(4):
            assert ask("GET", url).expect(200).body == DATA


class RunningQemu:
    """A qemu that has an image open and reads of it when told to."""

    def __init__(self, url: str) -> None:
        self._process = subprocess.Popen(
            ["qemu-io", "-r", at(url, "raw")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def read(self, position: int) -> str:
        """Read a sector; the line that says what came of it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"read {position} 512\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if "failed" in line or "bytes at offset" in line:
                return line.removeprefix("qemu-io> ").strip()
        raise AssertionError("qemu-io ended")

    def end(self) -> None:
        """Close the image."""
        self._process.communicate("quit\n", timeout=60)


def test_a_running_qemu(cloud: Cloud, here: At) -> None:
    """Reads fail once the URL has ended, and succeed again when it was renewed, or may be used."""
    image = cloud.images(MEMBER).add(random_bytes(8 << 20, seed=22))
    admin = cloud.images(ADMIN)
    url = here.url(image, cloud.token(MEMBER), lifetime=8)
    qemu = RunningQemu(url)
    try:
        at_once = "read 512/512 bytes at offset {}".format
        assert qemu.read(0) == at_once(0)
        until("the URL to expire", lambda: ask("HEAD", url).status == 403)
        assert qemu.read(4 << 20) == "read failed: Input/output error"
        here.url(image, cloud.token(MEMBER), url=url)
        assert qemu.read(4 << 20) == at_once(4 << 20)
        admin.call("POST", f"/{image}/actions/deactivate").expect(204)
        assert qemu.read(6 << 20) == "read failed: Input/output error"
        admin.call("POST", f"/{image}/actions/reactivate").expect(204)
        assert qemu.read(6 << 20) == at_once(6 << 20)
    finally:
        qemu.end()


@pytest.mark.parametrize("alive", [True, False], ids=["token", "project"])
def test_the_image_changes(cloud: Cloud, here: At, *, alive: bool) -> None:
    """Deactivated, reactivated, deleted: at once here, as each request asks."""
    images = cloud.images(MEMBER)
    image = images.add(DATA)
    admin = cloud.images(ADMIN)
    token = cloud.token(MEMBER)
    url = here.url(image, token)
    assert ask("GET", url).expect(200).body == DATA
    if not alive:
        cloud.revoke(token)
    admin.call("POST", f"/{image}/actions/deactivate").expect(204)
    assert b"does not let" in ask("GET", url).expect(403).body
    ask("HEAD", url).expect(403)
    assert "403" in qemu_fails(url)
    admin.call("POST", f"/{image}/actions/reactivate").expect(204)
    assert ask("GET", url).expect(200).body == DATA
    images.delete(image)
    assert b"does not let" in ask("GET", url).expect(403).body
    here.sign(image, cloud.token(MEMBER), url=url).expect(404)


def test_a_shared_image(cloud: Cloud, here: At) -> None:
    """Of a project that has accepted it, after its token has ended."""
    images = cloud.images(MEMBER)
    image = images.add(DATA, visibility="shared")
    project = cloud.project(STRANGER)
    images.call("POST", f"/{image}/members", document={"member": project}).expect(200)
    theirs = cloud.images(STRANGER)
    token = cloud.token(STRANGER)
    url = here.url(image, token)
    assert ask("GET", url).expect(200).body == DATA
    cloud.revoke(token)
    ask("GET", url).expect(403)  # pending yet: Glance lets tokens of the project have it
    accepted = {"status": "accepted"}
    theirs.call("PUT", f"/{image}/members/{project}", document=accepted).expect(200)
    assert ask("GET", url).expect(200).body == DATA
    images.call("DELETE", f"/{image}/members/{project}").expect(204)
    ask("GET", url).expect(403)


def test_a_private_image_of_somebody_else(cloud: Cloud, here: At) -> None:
    """An administrator may have it, his project may not: the URL ends with his token."""
    image = cloud.images(MEMBER).add(DATA, visibility="private")
    token = cloud.token(ADMIN)
    url = here.url(image, token)
    assert ask("GET", url).expect(200).body == DATA
    cloud.revoke(token)
    ask("GET", url).expect(403)


@pytest.mark.long  # tests/scripts has one without services
def test_the_proxy_is_restarted(cloud: Cloud, tmp_path: Path) -> None:
    image = cloud.images(MEMBER).add(DATA)
    with signing(tmp_path, cloud) as here:
        url = here.url(image, cloud.token(MEMBER))
        ask("GET", url).expect(200)
        path = url.removeprefix(here.node.url)
    with signing(tmp_path, cloud) as here:
        assert ask("GET", here.node.url + path).expect(200).body == DATA
        client("qemu-img", "info", at(here.node.url + path, "raw"))
    with signing(tmp_path, cloud, service_user=False) as here:
        assert b"[service_user]" in ask("GET", here.node.url + path).expect(403).body


def test_keys_grow_old(cloud: Cloud, tmp_path: Path) -> None:
    image = cloud.images(MEMBER).add(DATA)
    token = cloud.token(MEMBER)
    with signing(tmp_path, cloud) as here:
        first = here.url(image, token)
        keys = here.node.cache / "signed-urls/keys"
        aged(keys, days=31)
        second = here.url(image, token)
        assert second.split("grant=")[1].split(".")[1] != first.split("grant=")[1].split(".")[1]
        ask("GET", first).expect(200)
        ask("GET", second).expect(200)
        aged(keys, days=31)
        third = here.url(image, token)
        assert len(json.loads(keys.read_text())["keys"]) == 2
        until("the first key to be forgotten", lambda: ask("HEAD", first).status == 403)
        ask("GET", second).expect(200)
        ask("GET", third).expect(200)


def aged(keys: Path, days: int) -> None:
    """Have all keys be older than they are."""
    document = json.loads(keys.read_text())
    for key in document["keys"]:
        key["made"] -= days * 86_400
    keys.write_text(json.dumps(document))


def test_keystone_is_away(cloud: Cloud, keystone: Keystone, tmp_path: Path) -> None:
    """Nobody's right can be asked: 503, and nothing is taken for a no."""
    image = cloud.images(MEMBER).add(DATA)
    away = replace(cloud, keystone=replace(keystone, url="http://127.0.0.1:1/v3"))
    with signing(tmp_path, away) as here:
        refused = here.sign(image, cloud.token(MEMBER)).expect(503)
        assert "retry-after" in refused.headers
        assert b"project" in refused.body
