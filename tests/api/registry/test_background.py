"""Work behind the requests outlives the process that does it, however that ends."""

from __future__ import annotations

import hashlib
import signal
import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.catalog import CONFIGURATION, THIS_MACHINE
from harness.catalog_database import write_database
from harness.glance import FileServer
from harness.images import random_bytes
from harness.images_api import ImagesApi
from harness.program import REPOSITORY, Program, free_port
from harness.waiting import until

DATA = random_bytes(4 << 20, seed=41)
SLOWLY = "[cacheproxy]\nhash_mebibytes = 1\n"
TOLD = {"os_hash_algo": "sha512", "os_hash_value": hashlib.sha512(DATA).hexdigest()}


@dataclass
class World:
    """A catalog that can be started and killed, and its database."""

    directory: Path
    port: int

    @property
    def api(self) -> ImagesApi:
        return ImagesApi(f"http://127.0.0.1:{self.port}")

    def start(self, more: str = "") -> Program:
        """Start it with options more."""
        file = self.directory / "registry.conf"
        text = CONFIGURATION.format(port=self.port, directory=self.directory)
        file.write_text(text + THIS_MACHINE + more)
        command = [sys.executable, "-m", "registry", "--config-file", str(file)]
        environment = {"PYTHONPATH": str(REPOSITORY)}
        write_database(self.directory / "registry.sqlite")
        program = Program(
            "registry", [*command, "serve"], directory=self.directory, environment=environment
        )
        program.wait_for_port(self.port)
        return program

    def rows(self, statement: str) -> list[tuple[object, ...]]:
        """Return what is in the database; or change it."""
        with closing(sqlite3.connect(self.directory / "registry.sqlite", timeout=30)) as connection:
            found = connection.execute(statement).fetchall()
            connection.commit()
            return found

    def let_leases_end(self) -> None:
        """Let the time pass for which a dead process would hold its jobs."""
        self.rows("UPDATE jobs SET due_at = '2000-01-01 00:00:00.000000' WHERE due_at IS NOT NULL")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, free_port())


def located(world: World, server: FileServer, name: str, **told: object) -> str:
    """Add an image that is on the web."""
    (server.directory / name).write_bytes(DATA)
    image = world.api.create()
    document = {"url": f"{server.url}/{name}", **told}
    world.api.call("POST", f"/{image}/locations", document=document).expect(202)
    return image


def test_a_hash_that_was_killed_is_computed_by_the_next_process(
    world: World, file_server: FileServer
) -> None:
    killed = world.start(SLOWLY)
    image = located(world, file_server, "killed", validation_data=TOLD)
    held = "SELECT claims FROM jobs WHERE kind = 'hash'"
    until("the hashing", lambda: world.rows(held) == [(1,)])
    assert world.api.show(image)["status"] == "importing"
    killed.process.kill()
    killed.stop(codes=(-signal.SIGKILL,))
    again = world.start()
    assert world.api.show(image)["status"] == "importing"
    world.let_leases_end()
    until("the image", lambda: world.api.show(image)["status"] == "active")
    shown = world.api.show(image)
    assert shown["checksum"] == hashlib.md5(DATA).hexdigest()
    assert shown["os_hash_value"] == TOLD["os_hash_value"]
    assert shown["os_manifest"] is not None
    until("the end of the job", lambda: world.rows(held) == [])
    again.stop()


def test_a_deletion_that_was_killed_is_done_by_the_next_process(world: World) -> None:
    killed = world.start("[DEFAULT]\ndelayed_delete = true\nscrub_time = 0\n")
    image = world.api.add(DATA)
    world.api.delete(image)
    killed.process.kill()
    killed.stop(codes=(-signal.SIGKILL,))
    assert {path.name for path in (world.directory / "images").iterdir()} == {image}
    again = world.start("[DEFAULT]\nwakeup_time = 1\n")
    until("the scrubber", lambda: not list((world.directory / "images").iterdir()))
    until("it to be written down", lambda: world.rows("SELECT * FROM discards") == [])
    assert world.rows("SELECT status, deleted FROM images") == [("deleted", 1)]
    assert world.rows("SELECT * FROM image_locations") == []
    again.stop()


def test_a_web_server_that_is_gone_takes_the_image_back(
    world: World, file_server: FileServer
) -> None:
    idle = world.start("[cacheproxy]\nhashes_at_once = 0\n")
    image = located(world, file_server, "gone", validation_data=TOLD)
    idle.stop()
    (file_server.directory / "gone").unlink()
    program = world.start("[DEFAULT]\nhttp_retries = 2\n")
    until("the image to be queued", lambda: world.api.show(image)["status"] == "queued")
    shown = world.api.show(image)
    assert (shown["size"], shown["checksum"], shown["os_hash_value"]) == (None, None, None)
    assert world.rows("SELECT * FROM image_manifest_pages") == []
    assert world.api.download(image).status == 204
    world.api.upload(image, DATA)
    assert world.api.show(image)["status"] == "active"
    ((place,),) = world.rows("SELECT value FROM image_locations")
    assert str(place).startswith("file:")  # that on the web is forgotten
    program.stop()
