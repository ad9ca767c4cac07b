"""The catalog as operators run it: its command line, its exit codes, its end."""

from __future__ import annotations

import asyncio
import http.client
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from harness.catalog import CONFIGURATION, running_catalog
from harness.images_api import ImagesApi
from harness.program import REPOSITORY, Program, free_port
from harness.waiting import until
from registry.app import listening
from registry.service.leases import Leases
from registry.upkeep import sync_database

DATA = bytes(range(256)) * 3000


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "registry", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    file = tmp_path / "registry.conf"
    file.write_text(CONFIGURATION.format(port=free_port(), directory=tmp_path))
    return file


def test_help_teaches() -> None:
    answer = run("--help")
    assert answer.returncode == 0
    for word in ("--config-file", "db sync", "serve", "filesystem_store_datadir"):
        assert word in answer.stdout


@pytest.mark.parametrize("arguments", [[], ["serve"], ["--config-file", "x"], ["db", "sync"]])
def test_wrong_usage(arguments: list[str]) -> None:
    answer = run(*arguments)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "usage: cacheproxy-registry" in answer.stderr


def test_sync_twice(configuration: Path) -> None:
    first = run("--config-file", str(configuration), "db", "sync")
    again = run("--config-file", str(configuration), "db", "sync")
    assert (first.returncode, again.returncode) == (0, 0)
    assert re.fullmatch(r"the database is at revision \w+ now \(it was empty\)\n", first.stdout)
    assert re.fullmatch(r"the database is at revision \w+ already\n", again.stdout)


def test_what_a_database_is_at(configuration: Path, tmp_path: Path) -> None:
    def db(action: str) -> tuple[int, str]:
        answer = run("--config-file", str(configuration), "db", action)
        return answer.returncode, answer.stdout

    assert "db sync" in complaint(configuration, "db", "check")
    assert "db sync" in complaint(configuration, "db", "version")
    (tmp_path / "registry.sqlite").touch()
    assert re.fullmatch(r"none; this program is of \d{4}\n", db("version")[1])
    code, said = db("check")
    assert (code, "db sync" in said) == (3, True)
    db("sync")
    code, said = db("check")
    assert (code, "nothing to do" in said) == (0, True)
    said = db("version")[1]
    assert re.fullmatch(r"(\d{4}), for programs from 0013 on; this program is of \1\n", said)


def test_a_database_of_a_later_release(configuration: Path, tmp_path: Path) -> None:
    def db(action: str) -> str:
        answer = run("--config-file", str(configuration), "db", action)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    def change(statement: str) -> None:
        with closing(sqlite3.connect(tmp_path / "registry.sqlite")) as connection, connection:
            connection.execute(statement)

    db("sync")
    change("UPDATE registry_alembic_version SET version_num = '9002'")
    assert re.match("9002, for programs from 0013 on; this program is of", db("version"))
    for action in ("check", "sync"):
        assert re.search(r"9002.*; this program, of \d{4}, still fits", db(action))
    change("UPDATE registry_oldest_program SET revision = '9001'")
    assert re.match("9002, for programs from 9001 on; this program is of", db("version"))
    for command in (("db", "check"), ("db", "sync"), ("serve",)):
        told = complaint(configuration, *command)
        assert re.search("at revision 9002 and needs a program of 9001 or later.*install", told)


def test_deleted_images_are_purged(configuration: Path, tmp_path: Path) -> None:
    run("--config-file", str(configuration), "db", "sync")
    row = "(id, status, visibility, protected, os_hidden, min_disk, min_ram, created_at, updated_at"
    with closing(sqlite3.connect(tmp_path / "registry.sqlite")) as connection:
        for number, (deleted, moment) in enumerate(
            [(1, "2020-01-01"), (1, "2020-01-02"), (0, None), (1, "9999-01-01")]
        ):
            connection.execute(
                f"INSERT INTO images {row}, deleted, deleted_at) VALUES "
                "(?, 'deleted', 'public', 0, 0, 0, 0, '2020-01-01', '2020-01-01', ?, ?)",
                (str(number), deleted, moment),
            )
        connection.commit()

    def purge(*options: str) -> str:
        answer = run("--config-file", str(configuration), "db", "purge", *options)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    def left() -> list[str]:
        with closing(sqlite3.connect(tmp_path / "registry.sqlite")) as connection:
            rows = connection.execute("SELECT id FROM images ORDER BY id")
            return [row[0] for row in rows]

    assert "removed 0 images" in purge("--max-rows", "0")
    assert "removed 1 images" in purge("--max_rows", "1")
    assert left() == ["1", "2", "3"]
    assert "removed 1 images" in purge("--age-in-days", "30")
    assert left() == ["2", "3"]
    assert "OSSN-0075" in run("--config-file", str(configuration), "db", "purge", "--help").stdout


def test_a_restored_database_begins_a_new_epoch(configuration: Path, tmp_path: Path) -> None:
    def epoch() -> str:
        with closing(sqlite3.connect(tmp_path / "registry.sqlite")) as connection:
            return str(connection.execute("SELECT epoch FROM change_feed").fetchone()[0])

    assert "db sync" in complaint(configuration, "db", "restored")
    run("--config-file", str(configuration), "db", "sync")
    before = epoch()
    answer = run("--config-file", str(configuration), "db", "restored")
    assert (answer.returncode, "proxies" in answer.stdout) == (0, True)
    assert epoch() != before


def complaint(configuration: Path, *command: str) -> str:
    """Run a command that must fail, and return its one line."""
    answer = run("--config-file", str(configuration), *command)
    assert (answer.returncode, answer.stdout) == (1, "")
    lines = [line for line in answer.stderr.splitlines() if " INFO " not in line]
    assert len(lines) == 1
    assert lines[0].startswith("cacheproxy-registry: ")
    return lines[0]


def test_serving_before_the_sync(configuration: Path, tmp_path: Path) -> None:
    assert "db sync" in complaint(configuration, "serve")
    (tmp_path / "registry.sqlite").touch()
    assert "db sync" in complaint(configuration, "serve")


def test_an_address_in_use(configuration: Path) -> None:
    run("--config-file", str(configuration), "db", "sync")
    port = int(re.findall(r"bind_port = (\d+)", configuration.read_text())[0])
    with socket.create_server(("127.0.0.1", port)):
        assert f"127.0.0.1:{port}" in complaint(configuration, "serve")


def test_a_directory_that_cannot_be_made(configuration: Path, tmp_path: Path) -> None:
    run("--config-file", str(configuration), "db", "sync")
    (tmp_path / "images").touch()
    assert "filesystem_store_datadir" in complaint(configuration, "serve")


def test_a_database_in_no_directory(configuration: Path) -> None:
    text = configuration.read_text().replace("registry.sqlite", "nowhere/registry.sqlite")
    configuration.write_text(text)
    assert "[database] connection" in complaint(configuration, "db", "sync")


def test_a_mistake_about_keystone_is_told(configuration: Path) -> None:
    with configuration.open("a") as file:
        file.write("[paste_deploy]\nflavor = keystone\n")
    assert "[keystone_authtoken] auth_url" in complaint(configuration, "serve")
    with configuration.open("a") as file:
        file.write("[keystone_authtoken]\nauth_url = http://127.0.0.1:1\n")
        file.write("auth_type = v3password\nusername = glance\npassword = sesame\n")
    told = complaint(configuration, "serve")
    assert "[keystone_authtoken]" in told
    assert "domain" in told
    assert "sesame" not in told


@contextmanager
def half_an_upload(url: str, image: str) -> Iterator[http.client.HTTPConnection]:
    """Begin an upload of DATA, and send half of it."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    try:
        connection.putrequest("PUT", f"/v2/images/{image}/file")
        connection.putheader("Content-Type", "application/octet-stream")
        connection.putheader("Content-Length", str(len(DATA)))
        connection.endheaders(DATA[: len(DATA) // 2])
        yield connection
    finally:
        connection.close()


def test_sigterm_lets_an_upload_finish(tmp_path: Path) -> None:
    with running_catalog(tmp_path) as catalog:
        api = ImagesApi(catalog.url)
        image = api.create()
        with half_an_upload(catalog.url, image) as connection:
            until("the upload", lambda: api.show(image)["status"] == "saving")
            catalog.program.process.send_signal(signal.SIGTERM)
            until("the drain", lambda: "stopping" in catalog.program.tail())
            connection.send(DATA[len(DATA) // 2 :])
            assert connection.getresponse().status == 204
        assert catalog.program.process.wait(30) == 0
        assert (tmp_path / "images" / image).read_bytes() == DATA


def peak_bytes(process: int) -> int:
    """Return the most memory that a process has had."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) << 10


def test_memory_does_not_grow_with_the_image(tmp_path: Path) -> None:
    with running_catalog(tmp_path) as catalog:
        api = ImagesApi(catalog.url)
        api.download(api.add(DATA))
        before = peak_bytes(catalog.program.process.pid)
        image = api.create()
        api.upload(image, (bytes(1 << 20) for _ in range(256)))
        size = 0
        with urlopen(f"{catalog.url}/v2/images/{image}/file", timeout=60) as answer:
            while piece := answer.read(1 << 20):
                size += len(piece)
        assert size == 256 << 20
        assert peak_bytes(catalog.program.process.pid) - before < 48 << 20


def test_what_was_stored_outlives_a_kill(configuration: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "registry", "--config-file", str(configuration), "serve"]
    port = int(re.findall(r"bind_port = (\d+)", configuration.read_text())[0])
    api = ImagesApi(f"http://127.0.0.1:{port}")
    run("--config-file", str(configuration), "db", "sync")

    def start() -> Program:
        program = Program(
            "registry", command, directory=tmp_path, environment={"PYTHONPATH": str(REPOSITORY)}
        )
        program.wait_for_port(port)
        return program

    killed = start()
    image, unfinished = api.add(DATA), api.create()
    with half_an_upload(api.url, unfinished):
        until("the upload", lambda: api.show(unfinished)["status"] == "saving")
        killed.process.kill()
        killed.stop(codes=(-signal.SIGKILL,))
    again = start()
    assert api.download(image).body == DATA
    assert [file.name for file in (tmp_path / "images").iterdir()] == [image]
    assert api.show(unfinished)["os_manifest"] is None
    with closing(sqlite3.connect(tmp_path / "registry.sqlite")) as connection:
        owners = connection.execute("SELECT image_id FROM image_manifest_pages").fetchall()
        told = connection.execute("SELECT image_id, kind FROM image_changes").fetchall()
    assert (owners, told) == ([(image,)], [(image, "data")])
    api.delete(unfinished)
    again.stop()


def test_a_deleted_image_is_restored_or_scrubbed(tmp_path: Path) -> None:
    with running_catalog(tmp_path, "[DEFAULT]\ndelayed_delete = true\n") as catalog:
        api = ImagesApi(catalog.url)
        kept, gone = api.add(DATA, k="v"), api.add(DATA)
        for image in (kept, gone):
            api.delete(image)
            api.call("GET", f"/{image}").expect(404)
        named = ("--config-file", str(tmp_path / "registry.conf"), "scrub")
        answer = run(*named, "--restore", kept)
        assert (answer.returncode, kept in answer.stdout) == (0, True)
        assert api.show(kept)["k"] == "v"
        assert api.download(kept).body == DATA
        answer = run(*named)
        assert (answer.returncode, answer.stdout) == (0, "data is deleted from 1 places\n")
        assert {path.name for path in (tmp_path / "images").rglob("*")} == {kept}
        answer = run(*named, "--restore", gone)
        assert (answer.returncode, answer.stdout) == (1, "")
        assert "cannot be restored" in answer.stderr


async def test_a_service_whose_background_has_ended_stops(
    settings: Any, stores: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_leases: Leases) -> None:
        raise ZeroDivisionError

    await sync_database(settings)
    monkeypatch.setattr(Leases, "run", broken)
    asked = asyncio.Event()
    with pytest.raises(ZeroDivisionError):
        async with listening(settings, stores, asked.set):
            await asked.wait()
