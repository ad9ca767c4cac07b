"""`import-glance` in front of the real Glance: some hundred images of all kinds, of several projects."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sqlite3
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.catalog import THIS_MACHINE, running_catalog
from harness.catalog_database import write_database
from harness.forwarder import forwarding
from harness.glance import FileServer, Glance, running_keyed_glance
from harness.images_api import ImagesApi
from harness.keystone import ADMIN, MEMBER, PARTNER, STRANGER, Keystone
from harness.program import REPOSITORY
from harness.waiting import until

PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
ROUNDS = 24  # of each of the kinds below
DATA = b"the data of an image"
OURS = "[database]\nconnection = sqlite:///{directory}/registry.sqlite\n"
# Where its data is, Glance tells by its API of locations only.
WITHOUT_LOCATIONS = "[DEFAULT]\nshow_multiple_locations = false\n"


@dataclass(frozen=True, slots=True)
class Scene:
    """A Glance that is taken over, and who may ask it."""

    glance: Glance
    keystone: Keystone
    web: FileServer

    def api(self, user: Any = ADMIN, url: str | None = None) -> ImagesApi:
        headers = {"X-Auth-Token": self.keystone.token(user)}
        return ImagesApi(url or self.glance.url, headers)

    def make(self, number: int) -> None:
        """Make one image of each kind, in several projects' names."""
        admin, member = self.api(), self.api(MEMBER)
        stranger = self.api(STRANGER)
        partners = self.keystone.project_id(PARTNER)
        private = {"visibility": "private"}
        member.create(name=f"queued {number}")
        member.add(DATA, name="Grün ☃", visibility="private", tags=["b", "a", "A"], os_distro="x")
        admin.add(DATA, visibility="public", min_ram=512, min_disk=3, hw_disk_bus="virtio")
        stranger.add(DATA, visibility="community", description="")
        shared = member.add(DATA, visibility="shared", name="shared")
        member.call("POST", f"/{shared}/members", document={"member": partners}).expect(200)
        if number % 3:
            answer = {"status": "accepted" if number % 3 == 1 else "rejected"}
            path = f"/{shared}/members/{partners}"
            self.api(PARTNER).call("PUT", path, document=answer).expect(200)
        off = stranger.add(DATA, name="deactivated", **private)
        admin.call("POST", f"/{off}/actions/deactivate").expect(204)
        member.add(DATA, protected=True, os_hidden=True, name="hidden", **private)
        # A snapshot of a volume, as Nova makes it.
        devices = '[{"snapshot_id": "x"}]'
        member.add(b"", name="snapshot", block_device_mapping=devices, **private)
        staged = member.create(name="staged", **private)
        octets = {"Content-Type": "application/octet-stream"}
        member.call("PUT", f"/{staged}/stage", headers=octets, body=DATA).expect(204)

    def places(self) -> None:
        """Make images behind a web server, and one in two stores."""
        for name in ("one", "two"):
            (self.web.directory / name).write_bytes(DATA)
        self.api().add_located(f"{self.web.url}/one", DATA, name="one")
        image = self.api().add_located(f"{self.web.url}/two", DATA, name="two")
        place = {"url": f"{self.web.url}/one", "metadata": {"store": "web"}}
        add = [{"op": "add", "path": "/locations/-", "value": place}]
        self.api().call("PATCH", f"/{image}", headers=PATCH, document=add).expect(200)

    def records(self, api: ImagesApi) -> dict[str, Any]:
        """Return what an endpoint tells an administrator of all images and their members."""
        found: dict[str, Any] = {}
        for hidden in ("false", "true"):
            path = f"?visibility=all&limit=1000&os_hidden={hidden}"
            for record in api.call("GET", path).expect(200).json()["images"]:
                found[record["id"]] = record
        for image, record in found.items():
            record.pop("os_manifest", None)
            record["tags"].sort()  # in Glance they are in no order
            if record["visibility"] == "shared":
                told = api.call("GET", f"/{image}/members").expect(200).json()
                record["all members"] = told["members"]
            record.get("locations", []).sort(key=lambda place: str(place["url"]))
        return found


@pytest.fixture(scope="module")
def filled(
    keystone: Keystone, file_server: FileServer, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Fill a Glance with images of every kind; return its directory."""
    directory = tmp_path_factory.mktemp("glance-taken")
    with running_keyed_glance(directory, keystone) as glance:
        scene = Scene(glance, keystone, file_server)
        for number in range(ROUNDS):
            scene.make(number)
        scene.places()
    return directory


@pytest.fixture(scope="module")
def scene(keystone: Keystone, file_server: FileServer, filled: Path) -> Iterator[Scene]:
    """Run that Glance."""
    with running_keyed_glance(filled, keystone) as glance:
        yield Scene(glance, keystone, file_server)


@dataclass(frozen=True, slots=True)
class Taking:
    """Our catalog's side: its configuration is Glance's, but for the database."""

    scene: Scene
    directory: Path

    @property
    def command(self) -> list[str]:
        files = (self.scene.glance.directory / "glance-api.conf", self.directory / "ours.conf")
        options = [text for file in files for text in ("--config-file", str(file))]
        return [sys.executable, "-m", "registry", *options]

    @property
    def environment(self) -> dict[str, str]:
        login = self.scene.keystone.environment(ADMIN)
        return {**os.environ, **login, "PYTHONPATH": str(REPOSITORY)}

    def prepare(self) -> None:
        (self.directory / "ours.conf").write_text(OURS.format(directory=self.directory))
        write_database(self.directory / "registry.sqlite")

    def start(self, *options: str, url: str | None = None) -> subprocess.Popen[str]:
        where = ("--glance", url or self.scene.glance.url)
        # Whoever started the tests in the background had them ignore SIGINT.
        heeding = ("env", "--default-signal=INT")
        return subprocess.Popen(
            [*heeding, *self.command, "import-glance", *where, *options],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *options: str, code: int) -> str:
        with self.start(*options) as process:
            out, err = process.communicate(timeout=120)
        assert process.returncode == code, out + err
        assert "images/s" not in err, "there is a bar without a terminal"
        return out

    def count(self) -> int:
        with closing(sqlite3.connect(self.directory / "registry.sqlite")) as database:
            return int(database.execute("SELECT count(*) FROM images").fetchone()[0])


@pytest.fixture
def taking(scene: Scene, tmp_path: Path) -> Taking:
    made = Taking(scene, tmp_path)
    made.prepare()
    return made


def counts(out: str) -> dict[str, int]:
    """Return the figures of the last line of a run that did not verify."""
    line = next(line for line in reversed(out.splitlines()) if "taken over, " in line)
    return {what: int(number) for number, what in re.findall(r"(\d+) ([a-z ]+)", line)}


def ours(taking: Taking, directory: Path, *, without: set[str]) -> None:
    """Serve what was taken over, and compare it with what Glance tells."""
    scene = taking.scene
    configuration = scene.glance.directory / "glance-api.conf"
    with running_catalog(directory, THIS_MACHINE, configuration) as catalog:
        api = scene.api(url=catalog.url)
        there, here = scene.records(scene.api()), scene.records(api)
        assert {image: there[image] for image in there if image not in without} == here
        for image, record in here.items():
            if record["status"] == "active" and record["size"]:
                assert api.download(image).expect(200).body == DATA
                break


def test_all_is_taken_over_once(taking: Taking, tmp_path: Path) -> None:
    scene = taking.scene
    records = scene.records(scene.api())
    staged = {image for image, record in records.items() if record["status"] == "uploading"}
    expected = {
        "taken over": len(records) - len(staged),
        "brought up to date": 0,
        "there already": 0,
        "deleted here": 0,
        "not taken over": len(staged),
    }
    out = taking.run("--dry-run", code=3)
    assert (counts(out), taking.count()) == (expected, 0)
    out = taking.run("--verify", code=3)
    assert counts(out) == expected
    assert f"verified: {len(records)} images in Glance, 0 differences" in out
    for image in staged:
        assert f"{image} (staged): it is uploading in Glance" in out
    ours(taking, tmp_path, without=staged)
    again = counts(taking.run(code=3))
    assert again == expected | {"taken over": 0, "there already": expected["taken over"]}


def test_a_run_that_is_killed_is_gone_on_with(taking: Taking, tmp_path: Path) -> None:
    with taking.start() as process:
        until("a part to be there", lambda: taking.count() > 0)
        process.kill()
    half = taking.count()
    records = taking.scene.records(taking.scene.api())
    assert half < len(records)
    out = taking.run("--verify", code=3)
    assert counts(out)["there already"] == half
    assert "0 differences" in out
    staged = {image for image, record in records.items() if record["status"] == "uploading"}
    ours(taking, tmp_path, without=staged)


def test_a_run_that_is_interrupted_says_how_far_it_came(taking: Taking) -> None:
    with taking.start() as process:
        until("a part to be there", lambda: taking.count() > 20)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in err) == (130, False), err
    assert 0 < counts(out)["taken over"] <= taking.count()


async def test_a_glance_that_dies_and_comes_back(taking: Taking) -> None:
    async with forwarding(taking.scene.glance.url) as way:
        process = await asyncio.to_thread(taking.start, "--verify", url=way.url)
        try:
            await asyncio.to_thread(until, "a part", lambda: taking.count() > 0)
            await way.down()
            said = iter(process.stderr or ())
            await asyncio.to_thread(lambda: next(line for line in said if "Retrying" in line))
            await way.up()
            out, err = await asyncio.to_thread(process.communicate, timeout=120)
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await asyncio.to_thread(process.wait)
    assert process.returncode == 3, out + err
    assert "0 differences" in out


def test_what_has_changed_since(taking: Taking, tmp_path: Path) -> None:
    scene = taking.scene
    taking.run(code=3)
    member, admin = scene.api(MEMBER), scene.api()
    rename = [{"op": "replace", "path": "/name", "value": "renamed"}]
    named: dict[str, list[str]] = {}
    for image, record in sorted(scene.records(admin).items()):
        first = record["name"].split()[0]
        named.setdefault(first if first != "queued" else record["status"], []).append(image)
    queued, shared, both, plain = (
        *(named["queued"][0], named["shared"][0], named["Grün"][0], named["Grün"][1]),
    )
    gone, deleted = named["deactivated"][0], named["deactivated"][1]
    with running_catalog(tmp_path, "", scene.glance.directory / "glance-api.conf") as catalog:
        ours = scene.api(url=catalog.url)
        ours.call("PATCH", f"/{both}", headers=PATCH, document=rename).expect(200)
        ours.call("PATCH", f"/{named['Grün'][2]}", headers=PATCH, document=rename).expect(200)
    with closing(sqlite3.connect(tmp_path / "registry.sqlite")) as database, database:
        database.execute("UPDATE images SET deleted = 1 WHERE id = ?", (deleted,))
    changed = [{"op": "replace", "path": "/name", "value": "in Glance"}]
    for image in (both, plain):
        member.call("PATCH", f"/{image}", headers=PATCH, document=changed).expect(200)
    member.upload(queued, DATA)
    partners = scene.keystone.project_id(PARTNER)
    path = f"/{shared}/members/{partners}"
    answer = scene.api(PARTNER).call("PUT", path, document={"status": "pending"})
    assert answer.status == 200
    admin.delete(gone)
    new = member.add(DATA, name="new")
    out = taking.run(code=3)
    told = counts(out)
    assert told["taken over"] == 1
    assert told["deleted here"] == 1
    assert told["brought up to date"] >= 2
    assert f"{both} (in Glance): it was changed in Glance and here" in out
    assert f"{deleted} (deactivated): it was deleted here" in out
    with running_catalog(tmp_path, "", scene.glance.directory / "glance-api.conf") as catalog:
        ours = scene.api(url=catalog.url)
        there, here = scene.records(admin), scene.records(ours)
        for image in (queued, shared, plain, new):
            assert here[image] == there[image]
        assert (here[both]["name"], here[named["Grün"][2]]["name"]) == ("renamed", "renamed")
        assert gone not in here


def read_terminal(descriptor: int) -> str:
    """Return what is there of what was written to a terminal; nothing at its end."""
    try:
        return os.read(descriptor, 1 << 16).decode(errors="replace")
    except OSError:
        return ""


def test_a_terminal_is_shown_a_bar(taking: Taking) -> None:
    reading, writing = os.openpty()
    termios.tcsetwinsize(writing, (25, 100))
    try:
        where = ("import-glance", "--dry-run", "--glance", taking.scene.glance.url)
        done = subprocess.run(
            [*taking.command, *where],
            env=taking.environment,
            stdout=subprocess.DEVNULL,
            stderr=writing,
            check=False,
        )
        os.close(writing)
        shown = "".join(iter(lambda: read_terminal(reading), ""))
    finally:
        os.close(reading)
    assert done.returncode == 3
    assert re.search(r"taking over: 100%\|.*images/s", shown)


def test_a_user_who_does_not_see_all_is_refused(taking: Taking) -> None:
    login = taking.scene.keystone.environment(MEMBER)
    done = subprocess.run(
        [*taking.command, "import-glance", "--glance", taking.scene.glance.url],
        env={**os.environ, **login, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "only one with the role admin" in done.stderr
    assert taking.count() == 0


def test_locations_that_only_their_api_tells(
    filled: Path, keystone: Keystone, file_server: FileServer, tmp_path: Path
) -> None:
    """The last test: the directory is the other Glance's too."""
    with running_keyed_glance(filled, keystone, WITHOUT_LOCATIONS) as glance:
        taking = Taking(Scene(glance, keystone, file_server), tmp_path)
        taking.prepare()
        out = taking.run("--verify", code=3)
        assert "0 differences" in out
        assert set(re.findall(r"\(staged\): it is (\w+) in Glance", out)) == {"uploading"}
        assert "does not tell" not in out
    with closing(sqlite3.connect(tmp_path / "registry.sqlite")) as database:
        question = "SELECT count(*) FROM images WHERE status = 'active' AND id NOT IN "
        found = database.execute(question + "(SELECT image_id FROM image_locations)")
        assert found.fetchone() == (0,)
