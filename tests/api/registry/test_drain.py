"""An instance that is stopped: balancers are told first, and what is under way ends or can go on."""

from __future__ import annotations

import hashlib
import http.client
import signal
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from harness.catalog import Catalog, running_catalog
from harness.http import Answer, ask
from harness.images_api import ImagesApi
from harness.instances import running_instance
from harness.waiting import until

MIB = 1 << 20
DATA = bytes(range(256)) * 4 * 1024  # 1 MiB
LARGE = DATA * 64  # more than sockets hold
HALF = len(DATA) // 2
NEVER = "[cacheproxy]\ndrain_notice_seconds = 3600\ndrain_seconds = 3600\n"
SHORT = "[cacheproxy]\ndrain_notice_seconds = 0\ndrain_seconds = 1\n"
BRIEF_NOTICE = "[cacheproxy]\ndrain_notice_seconds = 1\n"
OCTETS = {"Content-Type": "application/octet-stream"}


def health(catalog: Catalog, path: str = "") -> Answer:
    return ask("GET", f"{catalog.url}/healthcheck{path}")


def terminate(catalog: Catalog) -> None:
    catalog.program.process.send_signal(signal.SIGTERM)


def refuses(catalog: Catalog) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(address(catalog)) != 0


def address(catalog: Catalog) -> tuple[str, int]:
    host, _, port = catalog.url.removeprefix("http://").partition(":")
    return host, int(port)


def ended(catalog: Catalog) -> int:
    return catalog.program.process.wait(60)


@contextmanager
def connected(catalog: Catalog) -> Iterator[http.client.HTTPConnection]:
    with closing(http.client.HTTPConnection(*address(catalog), timeout=60)) as connection:
        yield connection


@contextmanager
def beginning(
    catalog: Catalog, image: str, *, length: int | None = len(DATA), **headers: str
) -> Iterator[http.client.HTTPConnection]:
    """Begin an upload of DATA and send half of it; without a length it is sent in chunks."""
    with connected(catalog) as connection:
        connection.putrequest("PUT", f"/v2/images/{image}/file")
        size = {"Transfer-Encoding": "chunked"}
        if length is not None:
            size = {"Content-Length": str(length)}
        for name, value in {**OCTETS, **size, **headers}.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders(DATA[:HALF] if length else chunk(DATA[:HALF]))
        api = ImagesApi(catalog.url)
        until("the upload", lambda: api.show(image)["status"] == "saving")
        yield connection


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def test_who_watches_is_told_while_all_is_answered(tmp_path: Path) -> None:
    with running_catalog(tmp_path, NEVER) as catalog:
        api = ImagesApi(catalog.url)
        image = api.add(DATA)
        with connected(catalog) as idle:
            idle.request("GET", f"/v2/images/{image}")
            idle.getresponse().read()
            assert health(catalog).expect(200).body == b"OK"
            terminate(catalog)
            until("the notice", lambda: health(catalog).status == 503)
            assert health(catalog).body == b"DRAINING"
            health(catalog, "/live").expect(200)
            # Whoever comes is served, and sent elsewhere with the next request.
            assert api.download(api.add(DATA[:HALF])).body == DATA[:HALF]
            answer = api.download(image, "0-99")
            assert (answer.body, answer.headers["connection"]) == (DATA[:100], "close")
            idle.request("GET", f"/v2/images/{image}/file")
            told = idle.getresponse()
            assert (told.read(), told.headers["Connection"]) == (DATA, "close")
        terminate(catalog)  # once more: no waiting
        assert ended(catalog) == 0


def test_where_nobody_watches_nobody_is_told(tmp_path: Path) -> None:
    with (
        running_catalog(tmp_path, NEVER) as catalog,
        socket.create_connection(address(catalog)) as idle,
    ):
        idle.sendall(b"GET /versions HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(MIB).startswith(b"HTTP/1.1 200")
        terminate(catalog)
        assert ended(catalog) == 0
        assert idle.recv(1) == b""  # in order, and not reset


def test_the_second_time_nothing_is_waited_for(tmp_path: Path) -> None:
    with running_catalog(tmp_path, NEVER) as catalog:
        image = ImagesApi(catalog.url).create()
        with beginning(catalog, image) as cut:
            terminate(catalog)
            until("the end of the listening", lambda: refuses(catalog))
            terminate(catalog)
            assert ended(catalog) == 0
            with pytest.raises(ConnectionError):
                cut.getresponse()
        assert list((tmp_path / "images").iterdir()) == []


def test_a_service_manager_is_told_how_long_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with running_catalog(tmp_path, NEVER) as catalog:
            assert b"READY=1" in manager.recv(MIB)
            terminate(catalog)
            stopping, _, extended = manager.recv(MIB).partition(b"\nEXTEND_TIMEOUT_USEC=")
            assert ended(catalog) == 0
    assert stopping == b"STOPPING=1"
    assert int(extended) > (3600 + 3600) * 1_000_000


@pytest.mark.parametrize("length", [len(DATA), None], ids=["length", "chunked"])
def test_what_is_under_way_ends(tmp_path: Path, length: int | None) -> None:
    with running_catalog(tmp_path, BRIEF_NOTICE) as catalog:
        api = ImagesApi(catalog.url)
        large, image = api.add(LARGE), api.create()
        health(catalog).expect(200)
        with (
            connected(catalog) as downloading,
            beginning(catalog, image, length=length) as uploading,
        ):
            downloading.request("GET", f"/v2/images/{large}/file")
            answer = downloading.getresponse()
            begun = answer.read(MIB)
            terminate(catalog)
            until("the end of the listening", lambda: refuses(catalog))
            rest = DATA[HALF:]
            uploading.send(rest if length else chunk(rest) + b"0\r\n\r\n")
            assert uploading.getresponse().status == 204
            assert hashlib.sha512(begun + answer.read()).digest() == hashlib.sha512(LARGE).digest()
        assert ended(catalog) == 0
        assert (tmp_path / "images" / image).read_bytes() == DATA


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Catalog]:
    """Another instance than that which is stopped."""
    with running_instance(tmp_path, "other") as catalog:
        yield catalog


def test_a_long_upload_goes_on_at_another_instance(other: Catalog, tmp_path: Path) -> None:
    there = ImagesApi(other.url)
    kept, lost = there.create(), there.create()
    with (
        running_instance(tmp_path, "one", SHORT) as catalog,
        beginning(catalog, kept, Upload_Complete="?1"),
        beginning(catalog, lost) as cut,
    ):
        terminate(catalog)
        assert ended(catalog) == 0
        with pytest.raises((ConnectionError, http.client.BadStatusLine)):
            cut.getresponse()
    # One has what had come, the other is as if nothing had.
    told = there.call("HEAD", f"/{kept}/upload").expect(204)
    offset = int(told.headers["upload-offset"])
    assert 0 < offset <= HALF
    headers = {
        "Content-Type": "application/partial-upload",
        "Upload-Offset": str(offset),
        "Upload-Complete": "?1",
    }
    there.call("PATCH", f"/{kept}/upload", headers=headers, body=DATA[offset:]).expect(204)
    record = there.show(kept)
    assert (record["status"], record["size"]) == ("active", len(DATA))
    assert record["os_hash_value"] == hashlib.sha512(DATA).hexdigest()
    assert there.download(kept).body == DATA
    assert there.show(lost)["status"] == "queued"
    there.upload(lost, DATA)
    assert sorted(path.name for path in (tmp_path / "images").rglob("*")) == sorted([kept, lost])
